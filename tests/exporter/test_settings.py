"""Settings from the environment, `.env` and secret files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from exporter.addresses import Address
from exporter.errors import SettingsError
from exporter.settings import SECRETS, URLS, Settings, read_settings
from tests.waiting import patience

ROOT = Path(__file__).parents[2]

PASSWORD = "hunter2-c0rrect%40horse"
REQUIRED = {
    "HIVESYNC_DATABASE_URL": f"postgresql://reader:{PASSWORD}@db.example:5433/hivesync?sslmode=require",
    "HIVESYNC_REDIS_URL": f"redis://reader:{PASSWORD}@cache.example:6380/2",
}
PRICES = "[models.a]\nprompt = 1\ncompletion = 2\n[instances.b]\nspot = 0.5\n"

Set = Callable[..., None]


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory, and an environment without settings."""
    for name in os.environ:
        if name.upper().startswith("HIVESYNC_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch) -> Set:
    """A function that sets the required variables and those given, without their prefix; None unsets a variable."""

    def set_them(**variables: object) -> None:
        wanted = REQUIRED | {f"HIVESYNC_{name}": value for name, value in variables.items()}
        for name, value in wanted.items():
            if value is not None:
                monkeypatch.setenv(name, str(value))

    return set_them


def problems(env_file: Path | None = None) -> dict[str, str]:
    """The problems of the settings by variable; a variable with two problems has two lines."""
    with pytest.raises(SettingsError) as raised:
        read_settings(env_file)
    lines = str(raised.value).splitlines()
    named = dict(line.split(": ", 1) for line in lines)
    assert len(named) == len(lines)
    return named


def test_every_setting_has_the_documented_default(set_variables: Set) -> None:
    set_variables()
    settings = read_settings()
    assert settings.database_url.get_secret_value() == REQUIRED["HIVESYNC_DATABASE_URL"]
    assert settings.redis_url.get_secret_value() == REQUIRED["HIVESYNC_REDIS_URL"]
    others = {name: value for name, value in settings if name not in ("database_url", "redis_url")}
    assert others == {
        "rollup_database_url": None,
        "ai_events_log": Path("/data/logs/ai-events.log"),
        "preview_log": Path("/data/logs/preview.log"),
        "log_archive_dirs": (),
        "state_dir": Path("/var/lib/hivesync-analytics"),
        "metrics_listen": Address("127.0.0.1", 10177),
        "admin_listen": Address("127.0.0.1", 10178),
        "web_config_file": None,
        "admin_web_config_file": None,
        "admin_jwt_secret": None,
        "admin_jwt_public_key_file": None,
        "admin_jwt_claim": "scope=admin",
        "admin_api_key": None,
        "admin_jwt_audience": None,
        "admin_jwt_issuer": None,
        "admin_session_hours": 8.0,
        "admin_session_follows_token": False,
        "public_url": None,
        "admin_origins": (),
        "admin_trusted_proxies": ("127.0.0.1", "::1"),
        "admin_frame_ancestors": (),
        "prometheus_url": None,
        "grafana_url": None,
        "prices_file": None,
        "ws_session_keys": ("ws_sessions:*",),
        "free_plans": ("free", "admin"),
        "ai_queue_keys": ("ai_queue:*",),
        "preview_queue_keys": ("preview_queue:*",),
        "not_provided": (),
        "dead_letter_keys": (),
        "celery_key_prefix": "",
        "celery_priority_steps": ("0", "3", "6", "9"),
        "celery_priority_separator": r"\x06\x16",
        "celery_unacked_key": "unacked",
        "celery_unacked_index_key": "unacked_index",
        "worker_keys": ("worker:heartbeat:*",),
        "worker_healthy_seconds": 120.0,
        "worker_forgotten_seconds": 86_400.0,
        "collectors": (),
        "refresh_seconds": 15.0,
    }
    assert settings.prices() is None


def test_every_setting_can_be_set(set_variables: Set, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PUBLIC KEY-----")
    (tmp_path / "prices.toml").write_text(PRICES)
    given = {
        "rollup_database_url": "postgresql://writer@db/hivesync",
        "ai_events_log": "/logs/ai",
        "preview_log": "/logs/preview",
        "log_archive_dirs": "/archive,old",
        "state_dir": "/state",
        "metrics_listen": "0.0.0.0:1",
        "admin_listen": "[::1]:2",
        "web_config_file": "/etc/web.yml",
        "admin_web_config_file": "/etc/admin.yml",
        "admin_jwt_secret": "s" * 32,
        "admin_jwt_public_key_file": str(tmp_path / "key.pem"),
        "admin_jwt_claim": "https://hivesync.example/roles=site-admin",
        "admin_api_key": "k" * 32,
        "admin_jwt_audience": "admin-panel",
        "admin_jwt_issuer": "https://hivesync.example",
        "admin_session_hours": "0.5",
        "admin_session_follows_token": "True",
        "public_url": "https://admin.example",
        "admin_origins": "https://admin.example,http://[::1]:8443",
        "admin_trusted_proxies": "10.0.0.7,10.1.0.0/16,fd00::/8",
        "admin_frame_ancestors": "https://panel.example",
        "prometheus_url": "http://prometheus:9090",
        "grafana_url": "https://grafana.example/sub",
        "prices_file": str(tmp_path / "prices.toml"),
        "ws_session_keys": "ws:*,gateway:*",
        "free_plans": "Free,community",
        "ai_queue_keys": "ai_tasks",
        "not_provided": "sessions.device_type,workers",
        "preview_queue_keys": "celery:preview_tasks",
        "dead_letter_keys": "dlq_tasks,celery:dlq",
        "celery_key_prefix": "hive:",
        "celery_priority_steps": "0,5",
        "celery_priority_separator": r":\x16",
        "celery_unacked_key": "held",
        "celery_unacked_index_key": "held_since",
        "worker_keys": "hb:*",
        "worker_healthy_seconds": "60",
        "worker_forgotten_seconds": "3600",
        "collectors": "ai_log,preview_log",
        "refresh_seconds": "2.5",
    }
    assert set(given) | {"database_url", "redis_url"} == set(Settings.model_fields)
    set_variables(**{name.upper(): value for name, value in given.items()})
    settings = read_settings()
    shown = settings.shown()
    assert set(shown) == {f"HIVESYNC_{name.upper()}" for name in Settings.model_fields}
    for name, value in given.items():
        if name not in SECRETS:
            assert shown[f"HIVESYNC_{name.upper()}"] == (
                f"{value}.0" if name.startswith("worker_") and value.isdecimal() else value
            )
    assert settings.ws_session_keys == ("ws:*", "gateway:*")
    prices = settings.prices()
    assert prices is not None
    assert prices.of_tokens("a", 10**6, 10**6) == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("127.0.0.1:10177", Address("127.0.0.1", 10177)),
        (":10177", Address("", 10177)),
        ("metrics.internal:80", Address("metrics.internal", 80)),
        ("[::1]:10177", Address("::1", 10177)),
        ("[::]:0", Address("::", 0)),
        (" 0.0.0.0:65535 ", Address("0.0.0.0", 65535)),
    ],
)
def test_an_address_is_host_and_port(value: str, expected: Address, set_variables: Set) -> None:
    set_variables(METRICS_LISTEN=value)
    assert read_settings().metrics_listen == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("METRICS_LISTEN", "10177"),
        ("METRICS_LISTEN", "localhost"),
        ("METRICS_LISTEN", "localhost:http"),
        ("METRICS_LISTEN", "localhost:"),
        ("METRICS_LISTEN", "localhost:-1"),
        ("METRICS_LISTEN", "localhost:65536"),
        ("ADMIN_LISTEN", "::1:10178"),
        ("ADMIN_LISTEN", "[::1:10178"),
        ("ADMIN_LISTEN", "[::1]"),
        ("REFRESH_SECONDS", "soon"),
        ("REFRESH_SECONDS", "0"),
        ("REFRESH_SECONDS", "-15"),
        ("REFRESH_SECONDS", "nan"),
        ("REFRESH_SECONDS", "601"),
        ("WORKER_HEALTHY_SECONDS", "0"),
        ("WORKER_FORGOTTEN_SECONDS", "-1"),
        ("AI_QUEUE_KEYS", " , "),
        ("WORKER_KEYS", ","),
        ("ADMIN_JWT_CLAIM", "admin"),
        ("ADMIN_JWT_CLAIM", "scope="),
        ("ADMIN_JWT_PUBLIC_KEY_FILE", "/nonexistent/key.pem"),
        ("PRICES_FILE", "/nonexistent/prices.toml"),
    ],
)
def test_a_value_that_is_wrong_is_said_with_its_variable_and_itself(
    variable: str, value: str, set_variables: Set
) -> None:
    set_variables(**{variable: value})
    found = problems()
    assert list(found) == [f"HIVESYNC_{variable}"]
    assert repr(value) in found[f"HIVESYNC_{variable}"] or value in found[f"HIVESYNC_{variable}"]


def test_patterns_are_separated_by_commas(set_variables: Set) -> None:
    set_variables(AI_QUEUE_KEYS=" ai_tasks, ai:*,,")
    assert read_settings().ai_queue_keys == ("ai_tasks", "ai:*")


def test_what_is_required_and_not_set_is_said() -> None:
    assert problems() == dict.fromkeys(REQUIRED, "is not set and has no default")


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_is_empty_is_not_set(name: str, set_variables: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(STATE_DIR="")
    monkeypatch.setenv(name, "")
    assert problems() == {name: "is not set and has no default"}


def test_all_problems_are_said_at_once(set_variables: Set, tmp_path: Path) -> None:
    """Problems of secret files included."""
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "empty").write_text("\n")
    set_variables(
        DATABASE_URL=f"mysql://u:{PASSWORD}@h/d",
        REDIS_URL=None,
        ROLLUP_DATABASE_URL="postgresql://w@h/d",
        ROLLUP_DATABASE_URL_FILE=tmp_path / "secret",
        ADMIN_JWT_SECRET_FILE=tmp_path / "missing",
        ADMIN_API_KEY_FILE=tmp_path / "empty",
        METRICS_LISTEN="nowhere",
        REFRESH_SECONDS="soon",
        PRICES_FILE=tmp_path,
    )
    assert set(problems()) == {
        "HIVESYNC_DATABASE_URL",
        "HIVESYNC_REDIS_URL",
        "HIVESYNC_ROLLUP_DATABASE_URL",
        "HIVESYNC_ADMIN_JWT_SECRET",
        "HIVESYNC_ADMIN_API_KEY",
        "HIVESYNC_METRICS_LISTEN",
        "HIVESYNC_REFRESH_SECONDS",
        "HIVESYNC_PRICES_FILE",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [("[models.a]\nprompt = -1\ncompletion = 1", "models.a.prompt"), ("[models", "is not valid TOML")],
)
def test_a_bad_price_file_is_said_with_its_variable(
    content: str, message: str, set_variables: Set, tmp_path: Path
) -> None:
    (tmp_path / "prices.toml").write_text(content)
    set_variables(PRICES_FILE=tmp_path / "prices.toml")
    found = problems()
    assert list(found) == ["HIVESYNC_PRICES_FILE"]
    assert message in found["HIVESYNC_PRICES_FILE"]


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


def lines(**variables: str) -> str:
    return "".join(f"{name}='{value}'\n" for name, value in (REQUIRED | variables).items())


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


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://:3000", "http://grafana:0", "http://grafana:x", "http://[::1", "https://a:99999"],
)
def test_an_address_on_the_web_names_a_host_and_a_port_that_can_be(url: str, set_variables: Set) -> None:
    set_variables(GRAFANA_URL=url)
    assert "should name a host" in problems()["HIVESYNC_GRAFANA_URL"]


def test_every_url_is_read_and_shown_as_one() -> None:
    assert set(URLS) == {name for name in Settings.model_fields if name.endswith("_url")}


@pytest.mark.parametrize(
    "origin",
    ["https://u:pw@admin.example", "admin.example", "https://admin.example/", "https://admin.example/path", "null"],
)
def test_an_origin_is_a_scheme_a_host_and_no_more(origin: str, set_variables: Set) -> None:
    set_variables(ADMIN_ORIGINS=f"https://good.example,{origin}")
    assert set(problems()) == {"HIVESYNC_ADMIN_ORIGINS"}


@pytest.mark.parametrize("proxy", ["nginx", "10.0.0.0/33", "10.0.0.7/8", "*"])
def test_a_trusted_proxy_is_an_address_or_a_network(proxy: str, set_variables: Set) -> None:
    set_variables(ADMIN_TRUSTED_PROXIES=f"127.0.0.1,{proxy}")
    assert "should be an address or a network" in problems()["HIVESYNC_ADMIN_TRUSTED_PROXIES"]


@pytest.mark.parametrize("directories", ["{tmp}/file", "{tmp},{tmp}/file"])
def test_an_archive_directory_that_is_a_file_is_said(directories: str, set_variables: Set, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    set_variables(log_archive_dirs=directories.format(tmp=tmp_path))
    with pytest.raises(SettingsError, match=r"HIVESYNC_LOG_ARCHIVE_DIRS: .*/file should be a directory"):
        read_settings()
