"""`python -m exporter doctor` as a command: all ok on the demo, its exit status; and the start of the service."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from demo.console import Console
from demo.exporting import PROJECT
from demo.processes import Processes
from servers.valkey import ValkeyServer
from tests.admin.grafana.standing_in import served
from tests.exporter.doctor.house import House
from tests.roles import reading_role
from tests.rows import NO_DATABASE
from tests.running import RunningExporter, run_exporter, seed_database, seed_valkey
from tests.waiting import until

PASSWORD = "x9-secret-password-x9"


@pytest.fixture
def stage() -> Iterator[Processes]:
    """The servers, the traffic and the exporter of a small demo, running."""
    place = Path(tempfile.mkdtemp(prefix="test-doctor-"))
    place.chmod(0o755)
    stage = Processes(place / "demo", Console())
    try:
        stage.start(users=60, days=35, seed=2, speed=20)
        yield stage
    finally:
        stage.stop()
        shutil.rmtree(place, ignore_errors=True)


def environment(house: House) -> dict[str, str]:
    """The variables of a process with the house's settings."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), **house.env}


def examined(environment: dict[str, str], directory: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the findings of the command."""
    done = run_exporter(environment, directory, ["doctor", "--json", *arguments])
    return done.returncode, orjson.loads(done.stdout)["findings"] if done.stdout else []


def test_on_the_world_of_the_demo_all_is_ok(stage: Processes) -> None:
    variables = dict(stage.exporter.environment)

    others: list[dict[str, Any]] = []

    def all_ok() -> bool:
        status, found = examined(variables, stage.directory)
        # A busy machine is slow, which is a finding of its own.
        others[:] = [each for each in found if each["verdict"] != "ok" and each["check"] != "refreshes.time"]
        assert status == 0 or others, found
        return len(found) > 40 and others == []

    try:
        until(all_ok, "nothing but ok, once traffic has written each log", within=120, poll=1)
    except AssertionError:
        pytest.fail(f"not ok: {others}")


def test_a_wrong_finding_ends_with_1_and_no_secret_is_printed(house: House) -> None:
    house.env["HIVESYNC_REDIS_URL"] = f"redis://reader:{PASSWORD}@127.0.0.1:1/0"
    house.env["HIVESYNC_ADMIN_JWT_SECRET"] = PASSWORD
    done = run_exporter(environment(house), house.directory, ["doctor", "--token", f"a.{PASSWORD}.b"])
    assert (done.returncode, done.stderr) == (1, "")
    assert "wrong reachable: redis: refused" in done.stdout
    assert "\033" not in done.stdout
    assert PASSWORD not in done.stdout
    assert {secret for name, secret in house.env.items() if "KEY" in name and secret in done.stdout} <= {
        house.env["HIVESYNC_AI_QUEUE_KEYS"],
        house.env["HIVESYNC_PREVIEW_QUEUE_KEYS"],
    }


def test_looks_alone_end_with_0(house: House) -> None:
    status, found = examined(environment(house) | {"HIVESYNC_COLOUR": "blue"}, house.directory)
    assert {each["verdict"] for each in found} == {"ok", "look"}
    assert status == 0


def test_settings_that_keep_the_service_from_starting_end_with_2(house: House) -> None:
    done = run_exporter(environment(house) | {"HIVESYNC_REDIS_URL": "nowhere"}, house.directory, ["doctor"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "HIVESYNC_REDIS_URL: should begin with redis://" in done.stderr
    key = house.directory / "key.pem"
    key.write_text("no key")
    with_key = environment(house) | {"HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE": str(key)}
    done = run_exporter(with_key, house.directory, ["doctor"])
    assert done.returncode == 2
    assert "HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE: holds no public key" in done.stderr


def test_the_start_of_the_service_logs_wrong_findings_once(
    tmp_path: Path, database: str, connection: psycopg.Connection, valkey_server: ValkeyServer, valkey: redis.Redis
) -> None:
    seed_database(connection)
    seed_valkey(valkey_server.url)
    with reading_role(connection) as role:
        connection.execute(f"GRANT DELETE ON users TO {role}".encode())
        url = make_conninfo(database, user=role)
        with RunningExporter(tmp_path, database_url=url, redis_url=valkey_server.url) as exporter:
            exporter.refreshed(3)
            found = until(lambda: [each for each in exporter.events() if each["event"] == "doctor.found"])
    assert [(each["check"], each["mend"]) for each in found] == [
        ("rights.writes", f"REVOKE DELETE ON users FROM {role};")
    ]


def test_a_start_without_postgresql_logs_no_findings_of_its_own(
    tmp_path: Path, valkey_server: ValkeyServer, valkey: redis.Redis
) -> None:
    with RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=valkey_server.url) as exporter:
        exporter.refreshed(3)
        assert [each for each in exporter.events() if each["event"] == "doctor.found"] == []


class Proxy:
    """A reverse proxy before the admin port that keeps or changes the Host, and may add a credential."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.keeps_host = True
        self.added: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = {name: value for name, value in request.headers.items() if name in ("origin", "content-type")}
        headers |= {"host": request.headers["host"]} if self.keeps_host else {}
        async with httpx2.AsyncClient() as client:
            answer = await client.request(
                request.method,
                self.origin + request.url.path,
                headers=headers | self.added,
                content=await request.body() or None,
            )
        await Response(answer.content, answer.status_code, {"content-type": "text/html"})(scope, receive, send)


def test_the_section_is_examined_through_its_public_url(
    tmp_path: Path, house: House, valkey_server: ValkeyServer
) -> None:
    with RunningExporter(tmp_path / "running", database_url=NO_DATABASE, redis_url=valkey_server.url) as exporter:
        until(lambda: httpx2.get(exporter.page).status_code == 401)
        proxy = Proxy(exporter.page.removesuffix("/admin/analytics/"))
        with served(proxy) as (host, port):
            house.public_url = f"http://{host}:{port}"

            def mends() -> list[str]:
                return [each.mend.partition("\n")[0] for each in house.new_findings("admin")]

            assert mends() == []
            proxy.keeps_host = False
            assert mends() == ["proxy_set_header Host $http_host;"]
            proxy.keeps_host, proxy.added = True, {"x-api-key": exporter.variables["HIVESYNC_ADMIN_API_KEY"]}
            assert mends() == ["remove proxy_set_header Authorization and X-API-Key"]
            proxy.origin, proxy.added = exporter.url, {}
            assert mends() == ["location /admin/analytics/ {"]
        assert [each.mend for each in house.new_findings("admin")] == [
            "forward /admin/analytics/ to HIVESYNC_ADMIN_LISTEN"
        ]
