"""Settings as they are shown: secrets in messages, and the errors of the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.settings import read_settings
from tests.exporter.settings.given import PASSWORD, REQUIRED, Set, problems
from tests.waiting import patience

ROOT = Path(__file__).parents[3]

# ---- secrets in messages ----

LEAKS = re.compile("hunter2|c0rrect|horse|s3cret")


def test_no_secret_is_shown(set_variables: Set) -> None:
    set_variables(
        ROLLUP_DATABASE_URL=f"host=db user=writer password={PASSWORD} dbname=hivesync sslpassword=s3cret",
        ADMIN_JWT_SECRET="s3cret-of-tokens",
        ADMIN_API_KEY="s3cret-key-of-an-admin",
    )
    settings = read_settings()
    shown = settings.shown()
    assert shown["HIVESYNC_DATABASE_URL"] == "postgresql://db.example:5433/hivesync"
    assert shown["HIVESYNC_ROLLUP_DATABASE_URL"] == "postgresql://db/hivesync"
    assert shown["HIVESYNC_REDIS_URL"] == "redis://cache.example:6380/2"
    assert shown["HIVESYNC_ADMIN_JWT_SECRET"] == shown["HIVESYNC_ADMIN_API_KEY"] == "********"
    for printed in (str(shown), repr(settings), str(settings), settings.model_dump_json()):
        assert not LEAKS.search(printed)


@pytest.mark.parametrize(
    "url",
    [f"unix://reader:{PASSWORD}@/run/redis.sock?db=3", f"unix:///run/redis.sock?db=3&password={PASSWORD}"],
)
def test_no_secret_of_a_unix_socket_is_shown(url: str, set_variables: Set) -> None:
    set_variables(REDIS_URL=url)
    shown = read_settings().shown()["HIVESYNC_REDIS_URL"]
    assert not LEAKS.search(shown)
    assert "/run/redis.sock" in shown


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", f"mysql://reader:{PASSWORD}@db/hivesync"),
        ("DATABASE_URL", f"postgresql://reader:{PASSWORD}%zz@db/hivesync"),
        ("DATABASE_URL", f"postgresql://reader:{PASSWORD}@s3cret@db/hivesync"),
        ("DATABASE_URL", f"postgresql://reader:{PASSWORD}@[::1/hivesync"),
        ("DATABASE_URL", f"host=db password={PASSWORD} colour=blue"),
        ("DATABASE_URL", PASSWORD),
        ("ROLLUP_DATABASE_URL", f"http://reader:{PASSWORD}@db/hivesync"),
        ("REDIS_URL", f"http://reader:{PASSWORD}@cache/0"),
        ("REDIS_URL", f"redis://reader:{PASSWORD}@[::1/0"),
        ("REDIS_URL", f"redis://reader:{PASSWORD}@cache:port/0"),
        ("REDIS_URL", f"redis://reader:{PASSWORD}@cache/0?db=first"),
        ("REDIS_URL", PASSWORD),
    ],
)
def test_a_url_that_cannot_be_read_is_said_and_not_repeated(variable: str, value: str, set_variables: Set) -> None:
    set_variables(**{variable: value})
    found = problems()
    assert list(found) == [f"HIVESYNC_{variable}"]
    assert not LEAKS.search(str(found))


def test_a_password_in_the_url_of_prometheus_or_grafana_is_not_shown(set_variables: Set) -> None:
    set_variables(
        PROMETHEUS_URL=f"https://reader:{PASSWORD}@prometheus:9090/prefix", GRAFANA_URL="http://s3cret@grafana:3000"
    )
    shown = read_settings().shown()
    assert shown["HIVESYNC_PROMETHEUS_URL"] == "https://prometheus:9090/prefix"
    assert shown["HIVESYNC_GRAFANA_URL"] == "http://grafana:3000"
    assert not LEAKS.search(repr(read_settings()))
    set_variables(PROMETHEUS_URL=f"ftp://reader:{PASSWORD}@prometheus")
    found = problems()
    assert list(found) == ["HIVESYNC_PROMETHEUS_URL"]
    assert not LEAKS.search(str(found))


# ---- the command ----


def exporter(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command with these settings only, which must prevent its start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=patience(),
        check=False,
    )


def messages(ended: subprocess.CompletedProcess[str]) -> Mapping[str, str]:
    assert ended.returncode == 2
    assert ended.stdout == ""
    first, *rest = ended.stderr.splitlines()
    assert first == "hivesync-analytics cannot start:"
    return dict(line.split(": ", 1) for line in rest)


@pytest.mark.parametrize("command", [[], ["verify"]])
def test_bad_settings_end_the_command_with_status_2_and_the_variables_names(command: list[str]) -> None:
    ended = exporter(*command, HIVESYNC_DATABASE_URL=f"mysql://u:{PASSWORD}@h/d", HIVESYNC_REFRESH_SECONDS="soon")
    assert set(messages(ended)) == {"HIVESYNC_DATABASE_URL", "HIVESYNC_REDIS_URL", "HIVESYNC_REFRESH_SECONDS"}
    assert not LEAKS.search(ended.stderr)


def test_a_missing_env_file_ends_the_command_with_status_2() -> None:
    assert messages(exporter("--env-file", "/nonexistent/.env", **REQUIRED)) == {
        "--env-file": "/nonexistent/.env is not there"
    }


def test_a_bad_price_file_ends_the_command_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("[models")
    ended = exporter(**REQUIRED, HIVESYNC_PRICES_FILE=str(tmp_path / "prices.toml"))
    assert "is not valid TOML" in messages(ended)["HIVESYNC_PRICES_FILE"]
