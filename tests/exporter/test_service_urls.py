"""The real exporter with URLs that hold passwords, valid and invalid: started or refused, and no part of them
printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis

from servers.valkey import ValkeyServer
from tests.redis_tls import RedisServer, make_certificates
from tests.running import RunningExporter, is_up, run_exporter

SECRET = "Zx9+k/Q7mM="
REQUIRED = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h/0"}


def started(directory: Path, **variables: str) -> tuple[int, str]:
    """Exit status and output of an exporter with these settings, which must prevent its start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
    given = {f"HIVESYNC_{name}": value for name, value in (REQUIRED | variables).items()}
    pythonpath = {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = run_exporter({**inherited, **pythonpath, **given}, directory)
    return ended.returncode, ended.stdout + ended.stderr


URLS = {
    "DATABASE_URL": "postgresql://exp:{}@127.0.0.1:5432/hs",
    "ROLLUP_DATABASE_URL": "postgresql://exp:{}@127.0.0.1:5432/hs",
    "REDIS_URL": "redis://:{}@127.0.0.1:6379/0",
    "PROMETHEUS_URL": "http://u:{}@127.0.0.1:9090",
    "GRAFANA_URL": "http://u:{}@127.0.0.1:3000",
}


@pytest.mark.parametrize("secret", [SECRET, "57/s3cret", "s3cr et", "s3cr\net"])
def test_an_unescaped_password_ends_the_start_with_the_remedy(secret: str, tmp_path: Path) -> None:
    status, said = started(tmp_path, **{variable: url.format(secret) for variable, url in URLS.items()})
    first, *rest = said.splitlines()
    assert (status, first) == (2, "hivesync-analytics cannot start:")
    problems = dict(line.split(": ", 1) for line in rest)
    assert set(problems) == {f"HIVESYNC_{variable}" for variable in URLS}
    assert all("write / as %2F" in problem for problem in problems.values())
    assert not [part for part in ("Zx9", "Q7mM", "57", "s3cr", "127.0.0.1") if part in said]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"GRAFANA_URL": "u:s3cret@grafana"}, "HIVESYNC_GRAFANA_URL: should begin with http:// or https://"),
        ({"GRAFANA_URL": "s3cret"}, "HIVESYNC_GRAFANA_URL: should begin with http:// or https://"),
        ({"ADMIN_ORIGINS": "https://u:s3cret@admin.example"}, "HIVESYNC_ADMIN_ORIGINS: each should be an origin"),
        ({"ADMIN_LISTEN": "u:s3cret@127.0.0.1"}, "HIVESYNC_ADMIN_LISTEN: should be host:port"),
        ({"REDIS_URL": "redis://h/0?colour=s3cret"}, "HIVESYNC_REDIS_URL: option colour: is not known"),
        (
            {"REDIS_URL": "", "REDIS_URL_FILE": "redis://:s3cret@h/0"},
            "HIVESYNC_REDIS_URL: cannot read the file (HIVESYNC_REDIS_URL_FILE)",
        ),
        (
            {"ADMIN_API_KEY_FILE": "s3cret"},
            "HIVESYNC_ADMIN_API_KEY: cannot read the file (HIVESYNC_ADMIN_API_KEY_FILE)",
        ),
    ],
)
def test_a_wrong_setting_is_named_and_a_secret_in_it_not_repeated(
    variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    status, said = started(tmp_path, **variables)
    assert status == 2
    assert named in said
    assert "s3cret" not in said


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_a_newline_within_a_secrets_file_is_refused(name: str, tmp_path: Path) -> None:
    """A newline at the end of the file is no part of the URL, as the tests of the settings show."""
    (tmp_path / "secret").write_text(REQUIRED[name] + "\n" + REQUIRED[name] + "\n")
    status, said = started(tmp_path, **{name: "", f"{name}_FILE": str(tmp_path / "secret")})
    assert status == 2
    assert "a newline" in said


def test_escaped_passwords_open_everything_and_are_printed_nowhere(
    tmp_path: Path, database: str, connection: psycopg.Connection, valkey_server: ValkeyServer, valkey: redis.Redis
) -> None:
    role, password = f"reader_{os.urandom(4).hex()}", quote(SECRET, safe="")
    connection.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{SECRET}'".encode())
    valkey.config_set("requirepass", SECRET)
    server = database.partition("@")[2]
    where = f"127.0.0.1:{valkey_server.port}/0"
    try:
        with RunningExporter(
            tmp_path,
            database_url=f"postgresql://{role}:{password}@{server}",
            redis_url=f"redis://:{password}@{where}",
            prometheus_url=f"http://u:{password}@[::1]:9090/prefix",
            grafana_url=f"http://u:{password}@127.0.0.1:9",
        ) as exporter:
            exporter.wait_for(lambda samples: is_up(samples, "postgres") and is_up(samples, "redis"))
            (start,) = (event["settings"] for event in exporter.events() if event["event"] == "service.starting")
            said = exporter.log.read_text()
    finally:
        valkey.config_set("requirepass", valkey_server.password)
        connection.execute(f"DROP ROLE {role}".encode())
    assert start["HIVESYNC_DATABASE_URL"] == f"postgresql://{server}"
    assert start["HIVESYNC_REDIS_URL"] == f"redis://{where}"
    assert start["HIVESYNC_PROMETHEUS_URL"] == "http://[::1]:9090/prefix"
    assert start["HIVESYNC_GRAFANA_URL"] == "http://127.0.0.1:9"
    assert SECRET not in said
    assert password not in said


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", make_certificates(tmp_path)) as server:
        yield server


@pytest.mark.redis
def test_a_certificate_that_is_not_known_has_redis_down_and_said_so(
    tmp_path: Path, database: str, tls: RedisServer
) -> None:
    url = tls.url_of(rest="/0?socket_connect_timeout=20&socket_timeout=20")  # a handshake on a busy machine takes long
    with RunningExporter(tmp_path / "exporter", database_url=database, redis_url=url) as exporter:

        def kinds() -> list[str]:
            return [event["kind"] for event in exporter.events() if event.get("source") == "redis"]

        exporter.wait_for(lambda samples: is_up(samples, "redis") is False and kinds())
        said = kinds()
    assert said == ["tls"]


@pytest.mark.redis
@pytest.mark.parametrize("query", ["?ssl_cert_reqs=CERT_NONE", "?ssl_cert_reqs=CERT_NONE&decode_responses=True"])
def test_a_url_as_celery_has_it_is_understood(query: str, tmp_path: Path, database: str, tls: RedisServer) -> None:
    with redis.Redis(port=tls.plain_port) as client:
        client.rpush("ai_queue:default", "a job", "another")
    url = tls.url_of(rest=f"/0{query}")
    with RunningExporter(tmp_path / "exporter", database_url=database, redis_url=url) as exporter:
        exporter.wait_for(lambda samples: samples.get('hivesync_queue_depth{name="default",queue="ai"}') == 2)
