"""tools/secrets.sh: creates missing secrets, keeps existing ones, and prints none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.accounts import IS_ROOT, NOBODY, as_nobody
from tests.compose.stack import COMPOSE, OVERLAY, ROOT, stack

SCRIPT = ROOT / "tools" / "secrets.sh"


def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    ended = subprocess.run([SCRIPT, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def test_the_demo_has_every_secret_there_is(tmp_path: Path) -> None:
    assert run("--demo", cwd=tmp_path) == (0, "", "")
    made = tmp_path / ".demo" / "secrets"
    wanted = stack(COMPOSE, OVERLAY)["secrets"].keys()
    assert wanted <= {path.name for path in made.iterdir()}
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o444}
    assert all(path.read_text().endswith("\n") for path in made.iterdir())


def test_passwords_and_urls_of_the_demo_belong_together(tmp_path: Path) -> None:
    run("--demo", cwd=tmp_path)
    values = {path.name: path.read_text().strip() for path in (tmp_path / ".demo" / "secrets").iterdir()}
    assert f":{values['exporter_db_password']}@" in values["database_url"]
    assert f":{values['exporter_db_password']}@" in values["replica_database_url"]
    assert f":{values['rollup_db_password']}@" in values["rollup_database_url"]
    assert f":{values['postgres_db_password']}@" in values["owner_database_url"]
    assert values["valkey_conf"] == f"requirepass {values['redis_password']}"
    assert f":{values['redis_password']}@" in values["redis_url"]
    passwords = [value for name, value in values.items() if name.endswith(("password", "key", "jwt_secret"))]
    assert len(passwords) >= 7
    assert len(set(passwords)) == len(passwords)
    assert min(map(len, passwords)) >= 48


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    run("--demo", cwd=tmp_path)
    made = tmp_path / ".demo" / "secrets"
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    (made / "alert_webhook_url").chmod(0o644)
    (made / "alert_webhook_url").write_text("https://chat.example/hook\n")
    before["alert_webhook_url"] = b"https://chat.example/hook\n"
    run("--demo", cwd=tmp_path)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_what_only_hivesync_knows_is_asked_for(tmp_path: Path) -> None:
    status, printed, said = run(cwd=tmp_path)
    assert (status, printed) == (1, "")
    made = {path.name: path.read_text().strip() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == {"admin_api_key", "grafana_secret_key"}
    assert [name for name, value in made.items() if value in said or len(value) < 48] == []
    asked = [line.split(":")[0].strip() for line in said.splitlines()[1:-1]]
    needed = {
        name
        for service in stack(COMPOSE)["services"].values()
        if "profiles" not in service
        for name in service.get("secrets", [])
    }
    assert set(asked) == needed - made.keys()
    for name in asked:
        (tmp_path / "secrets" / name).write_text("given\n")
    assert run(cwd=tmp_path) == (0, "", "")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_directory_that_is_there_is_closed_to_other_users(umask: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    made.chmod(0o777)
    ended = subprocess.run([SCRIPT, "--demo", made], cwd=tmp_path, umask=umask, check=False)
    assert ended.returncode == 0
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o444}


if IS_ROOT:

    def test_a_secret_that_another_user_left_there_is_refused(tmp_path: Path) -> None:
        planted = tmp_path / "secrets" / "admin_api_key"
        planted.parent.mkdir()
        planted.write_text("known to another user\n")
        os.chown(planted, NOBODY, NOBODY)
        status, printed, said = run("--demo", "secrets", cwd=tmp_path)
        assert (status, printed) == (1, "")
        assert "another user owns, and knows, files in secrets" in said
        assert said.splitlines()[-1] == "secrets/admin_api_key"
        assert [path.name for path in planted.parent.iterdir()] == ["admin_api_key"]

    def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        tmp_path.chmod(0o755)
        ended = as_nobody(tmp_path, ["/bin/sh", Path(shutil.copy(SCRIPT, tmp_path)), secrets])
        assert ended.returncode == 1
        assert f"{secrets} cannot be closed to other users: run this as its owner" in ended.stderr
        assert list(secrets.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--help",), ("-x",)])
def test_what_it_does_not_know_it_does_not_do(arguments: tuple[str, ...], tmp_path: Path) -> None:
    status, _, said = run(*arguments, cwd=tmp_path)
    assert status == 2
    assert said.startswith("usage: ")
    assert list(tmp_path.iterdir()) == []
