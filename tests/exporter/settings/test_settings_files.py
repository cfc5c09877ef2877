"""Secret files, and the `.env` file."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.settings import SECRETS, read_settings
from tests.exporter.settings.given import REQUIRED, Set, lines, problems

# ---- secret files ----


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_a_file(name: str, set_variables: Set, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_variables()
    monkeypatch.delenv(f"HIVESYNC_{name.upper()}", raising=False)
    value = REQUIRED["HIVESYNC_REDIS_URL" if name == "redis_url" else "HIVESYNC_DATABASE_URL"]
    (tmp_path / "secret").write_text(f"{value}\n")
    monkeypatch.setenv(f"HIVESYNC_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert getattr(read_settings(), name).get_secret_value() == value


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_and_its_file_are_one_too_many(name: str, set_variables: Set, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("redis://elsewhere")
    value = REQUIRED.get(f"HIVESYNC_{name.upper()}", "postgresql://elsewhere")
    set_variables(**{name.upper(): value, f"{name.upper()}_FILE": tmp_path / "secret"})
    variable = f"HIVESYNC_{name.upper()}"
    found = problems()
    assert list(found) == [variable]
    assert f"{variable}_FILE" in found[variable]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"\xff\xfe", "UTF-8"), (b"", "empty"), (b" \n", "empty")],
    ids=["missing", "no UTF-8", "empty", "blank"],
)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secrets_file_that_holds_none_is_said_with_its_path(
    name: str, content: bytes | None, reason: str, set_variables: Set, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_variables()
    monkeypatch.delenv(f"HIVESYNC_{name.upper()}", raising=False)
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(f"HIVESYNC_{name.upper()}_FILE", str(path))
    found = problems()
    assert list(found) == [f"HIVESYNC_{name.upper()}"]
    (message,) = found.values()
    assert f"HIVESYNC_{name.upper()}_FILE" in message
    assert str(path) in message
    assert reason in message


def test_the_public_key_is_a_file_by_nature_and_no_secret(set_variables: Set, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PUBLIC KEY-----")
    set_variables(ADMIN_JWT_PUBLIC_KEY_FILE=tmp_path / "key.pem", ADMIN_JWT_SECRET="x" * 32)
    assert read_settings().admin_jwt_public_key_file == tmp_path / "key.pem"


# ---- .env ----


def test_a_dot_env_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(lines(HIVESYNC_REFRESH_SECONDS="30", SOMETHING_ELSE="1", HIVESYNC_UNKNOWN="1"))
    assert read_settings().refresh_seconds == 30


def test_the_environment_goes_before_the_dot_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(lines(HIVESYNC_REFRESH_SECONDS="30", HIVESYNC_STATE_DIR="/from-file"))
    monkeypatch.setenv("HIVESYNC_REFRESH_SECONDS", "5")
    settings = read_settings()
    assert (settings.refresh_seconds, settings.state_dir) == (5, Path("/from-file"))


def test_a_dot_env_file_may_name_secrets_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k3y" * 6)
    (tmp_path / ".env").write_text(lines(HIVESYNC_ADMIN_API_KEY_FILE=str(tmp_path / "key")))
    key = read_settings().admin_api_key
    assert key is not None
    assert key.get_secret_value() == "k3y" * 6


def test_the_environments_secrets_file_goes_before_that_of_the_dot_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("from-env", "from-file"):
        (tmp_path / name).write_text(f"the key {name}, 16 or more")
    (tmp_path / ".env").write_text(lines(HIVESYNC_ADMIN_API_KEY_FILE=str(tmp_path / "from-file")))
    monkeypatch.setenv("HIVESYNC_ADMIN_API_KEY_FILE", str(tmp_path / "from-env"))
    key = read_settings().admin_api_key
    assert key is not None
    assert key.get_secret_value() == "the key from-env, 16 or more"


def test_another_file_may_stand_in_its_place(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(lines(HIVESYNC_REFRESH_SECONDS="30"))
    (tmp_path / "production.env").write_text(lines(HIVESYNC_REFRESH_SECONDS="60"))
    assert read_settings(tmp_path / "production.env").refresh_seconds == 60


@pytest.mark.parametrize("name", ["missing.env", "."])
def test_a_file_that_was_asked_for_must_be_there(name: str, set_variables: Set, tmp_path: Path) -> None:
    set_variables()
    assert list(problems(tmp_path / name)) == ["--env-file"]


def test_a_dot_env_file_that_is_no_text_is_said(set_variables: Set, tmp_path: Path) -> None:
    set_variables()
    (tmp_path / ".env").write_bytes(b"HIVESYNC_STATE_DIR=\xff\xfe")
    assert list(problems()) == [".env"]
    (tmp_path / "other.env").write_bytes(b"HIVESYNC_STATE_DIR=\xff\xfe")
    assert list(problems(tmp_path / "other.env")) == ["--env-file"]
