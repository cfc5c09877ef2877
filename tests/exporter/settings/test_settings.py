"""Settings from the environment: defaults, values, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.addresses import Address
from exporter.errors import SettingsError
from exporter.settings import SECRETS, URLS, Settings, read_settings
from tests.exporter.settings.given import PASSWORD, PRICES, REQUIRED, Set, problems


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
        "workers_from": "redis",
        "worker_keys": ("worker:heartbeat:*",),
        "worker_kind_keys": (),
        "worker_kinds": ("cpu", "gpu"),
        "worker_default_kind": "cpu",
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
        "workers_from": "postgres",
        "worker_keys": "hb:*,worker:{id}:heartbeat",
        "worker_kind_keys": "worker:{id}:type",
        "worker_kinds": "cpu,gpu,preview,map,ai,cleanup",
        "worker_default_kind": "ai",
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
        ("WORKER_KEYS", "worker:{id}:{id}"),
        ("WORKER_KEYS", "hb:*,worker:{id}:*"),
        ("WORKER_KIND_KEYS", "worker:*:type"),
        ("WORKER_KIND_KEYS", "w?:{id}"),
        ("WORKER_KINDS", "cpu,g pu"),
        ("WORKER_DEFAULT_KIND", "cpu,gpu"),
        ("WORKERS_FROM", "postgresql"),
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


def test_kinds_of_workers_are_words_without_case(set_variables: Set) -> None:
    set_variables(WORKER_KINDS="CPU, Preview,cpu", WORKER_DEFAULT_KIND=" AI ")
    settings = read_settings()
    assert (settings.worker_kinds, settings.worker_default_kind) == (("cpu", "preview"), "ai")
    set_variables(WORKER_KINDS=",".join(map(str, range(201))))
    assert problems()["HIVESYNC_WORKER_KINDS"].startswith("should be at most 200 kinds")


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
