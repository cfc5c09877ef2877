"""The section as a whole: middleware before all routes, the admin port, and the mount in another application."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from admin.app import AnalyticsSection
from admin.mounting import MountedAnalytics
from admin.site import build_site
from exporter.errors import StateError
from exporter.httpd.server import serve
from exporter.view import View
from servers.ports import LOOPBACK, free_port
from servers.valkey import ValkeyServer
from tests.admin.world import API_KEY, CHARTS, DATA, TABLES, World
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter, get, run_exporter
from tests.scenario import settings_for
from tests.waiting import patience, until_async

SECURITY = (
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
)


def test_only_login_logout_and_files_need_no_credential(world: World) -> None:
    """Holds for all routes, new ones included."""
    open_to_all = {"/login", "/logout", "/static"}
    closed = {route.path for route in world.section.api.routes if isinstance(route, Route | Mount)} - open_to_all
    assert closed - set(DATA) == {"/", "/openapi.json", "/runbooks/{name}", "/sessions", "/sessions/end"}
    closed |= {*DATA, *world.get("/openapi.json").json["paths"], "/grafana/", "/nowhere"}
    for path in closed:
        answer = world.without_credentials(path)
        assert (answer.status, answer.header("content-type")) == (401, "application/problem+json"), path
        assert answer.json.keys() <= {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    "path", [*DATA, "/", "/openapi.json", "/nowhere", "/login", "/static/nowhere", "/charts/dau?range=x"]
)
def test_every_answer_has_the_security_headers(path: str, world: World) -> None:
    for answer in (world.get(path), world.without_credentials(path), world.get(path, method="DELETE")):
        assert all(answer.header(name) for name in SECURITY), answer
        assert "unsafe" not in (answer.header("content-security-policy") or "")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_the_api_supports_get_and_head_alone(method: str, world: World) -> None:
    for path in (*DATA, "/", "/openapi.json"):
        answer = world.get(path, method=method)
        assert (answer.status, answer.header("content-type")) == (405, "application/problem+json"), path
        assert answer.header("allow") == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/summary/", "/tables", "/tables/users", "/charts/", "//summary", "/docs"]
)
def test_an_unknown_path_is_404(path: str, world: World) -> None:
    answer = world.get(path)
    assert (answer.status, answer.header("content-type")) == (404, "application/problem+json")


def test_without_a_credential_the_response_names_the_settings(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path, admin_api_key=None) as world:
        world.refresh()
        for path in (*DATA, "/", "/login"):
            answer = world.get(path)
            assert (answer.status, answer.header("content-type")) == (503, "application/problem+json")
            assert "HIVESYNC_ADMIN_API_KEY" in answer.json["detail"]


# OpenAPI -----------------------------------------------------------------------------------------------------------


def test_the_openapi_document_has_every_path_and_describes_every_value(world: World) -> None:
    document = world.get("/openapi.json").json
    assert set(document["paths"]) == set(DATA)
    for path, methods in document["paths"].items():
        assert methods.keys() == {"get"}
        answers = methods["get"]["responses"]
        assert {"200", "401", "403", "422", "429"} <= answers.keys(), path
        assert ("text/csv" in answers["200"]["content"]) == (path in (*CHARTS, *TABLES))


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """The real exporter, with every source down."""
    folder = tmp_path_factory.mktemp("app")
    with RunningExporter(folder, database_url=NO_DATABASE, redis_url=NOWHERE, admin_api_key=API_KEY) as running:
        yield running


def test_every_response_conforms_to_the_openapi_document(exporter: RunningExporter) -> None:
    """Schemathesis generates valid and invalid requests from the document, and checks the responses against it."""
    asked: set[str] = set()
    key = {"X-API-Key": API_KEY}
    schema = schemathesis.openapi.from_dict(orjson.loads(get(f"{exporter.page}openapi.json", key)[2]))
    for operation in (result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)):

        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        @settings(max_examples=25, database=None)
        def conforms(case: schemathesis.Case[Any]) -> None:
            asked.add(case.path)
            case.call_and_validate(base_url=exporter.page.rstrip("/"), headers=key)

        conforms()
    assert asked == set(DATA)


# The admin port ------------------------------------------------------------------------------------------------------


def test_the_port_leads_to_the_section(exporter: RunningExporter) -> None:
    port = exporter.page.removesuffix("/admin/analytics/")
    for path in ("/", "/admin/analytics"):
        status, headers, _ = get(f"{port}{path}")
        assert (status, headers["location"]) == (307, "/admin/analytics/")
    for path in ("/metrics", "/admin", "/-/healthy"):
        status, headers, _ = get(f"{port}{path}")
        assert (status, headers["content-type"]) == (404, "application/problem+json")


def test_a_login_link_is_valid_once(exporter: RunningExporter) -> None:
    asked = exporter.command_line("login-link")
    assert (asked.returncode, asked.stderr) == (0, "")
    page, code = asked.stdout.strip().split("login#code=")
    assert page == exporter.page
    origin = page.removesuffix("/admin/analytics/")
    with httpx2.Client() as client:
        for expected in (204, 401):
            answer = client.post(f"{page}login", json={"code": code}, headers={"Origin": origin})
            assert answer.status_code == expected
            if expected == 204:
                cookie = answer.headers["set-cookie"].partition(";")[0]
                assert client.get(f"{page}summary", headers={"Cookie": cookie}).status_code == 200
    assert code not in exporter.log.read_text()


def test_without_an_exporter_there_is_no_login_link(exporter: RunningExporter, tmp_path: Path) -> None:
    environment = {**exporter.environment, "HIVESYNC_STATE_DIR": str(tmp_path)}
    asked = run_exporter(environment, tmp_path, ["login-link"])
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr.startswith(f"hivesync-analytics: no exporter is running on {tmp_path}: start it")
    assert "HIVESYNC_STATE_DIR or in the settings of --env-file" in asked.stderr


def test_without_a_credential_a_login_link_is_refused_with_the_settings(tmp_path: Path) -> None:
    section = AnalyticsSection(
        settings_for(NO_DATABASE, NOWHERE, tmp_path, state_dir=tmp_path), tmp_path, lambda: View((), ())
    )
    with pytest.raises(StateError, match=r"no login is possible: set one of .*HIVESYNC_ADMIN_API_KEY, and restart"):
        section.login_link(settings_for(NO_DATABASE, NOWHERE, tmp_path))


def test_a_port_in_use_is_an_error_at_start(exporter: RunningExporter, tmp_path: Path) -> None:
    taken = exporter.page.removeprefix("http://").partition("/")[0]
    environment = {
        **exporter.environment,
        "HIVESYNC_STATE_DIR": str(tmp_path),
        "HIVESYNC_METRICS_LISTEN": f"{LOOPBACK}:{free_port()}",
        "HIVESYNC_ADMIN_LISTEN": taken,
    }
    asked = run_exporter(environment, tmp_path)
    assert asked.returncode == 2
    assert f"HIVESYNC_ADMIN_LISTEN: cannot listen on {taken}" in asked.stderr


def test_an_invalid_key_is_an_error_at_start(tmp_path: Path) -> None:
    """The section is loaded after the other parts have started."""
    (tmp_path / "key.pem").write_text("not a key")
    exporter = RunningExporter(
        tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE, admin_jwt_public_key_file=tmp_path / "key.pem"
    )
    asked = run_exporter(exporter.environment, tmp_path)
    assert asked.returncode == 2
    assert asked.stderr.endswith("HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE: holds no public key (PEM)\n")


def test_an_internal_error_is_500_and_one_log_line(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """The message of the error is neither in the response nor in the log: it may hold data."""
    with World(database, valkey_server.url, tmp_path) as world, socket.create_server((LOOPBACK, 0)) as listener:

        async def fails() -> None:
            raise ZeroDivisionError("ada@example.org")

        world.section.api.add_api_route("/fails", fails)
        world.section.api.router.routes.insert(0, world.section.api.router.routes.pop())

        async def asked() -> httpx2.Response:
            serving = asyncio.create_task(serve(build_site(world.section.app), listener, "admin"))
            url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/admin/analytics/fails"
            async with httpx2.AsyncClient() as client:
                answer = await client.get(url, headers={"X-API-Key": API_KEY})
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            return answer

        with capture_logs() as logged:
            answer = asyncio.run(asked())
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "ada" not in answer.text
    assert all(name in answer.headers for name in SECURITY)
    assert [(line["event"], line["port"], line["kind"]) for line in logged] == [
        ("http.answer.failed", "admin", "ZeroDivisionError")
    ]
    assert "ada" not in str(logged)


@pytest.mark.parametrize(("trusted", "addresses"), [(("127.0.0.1",), {"192.0.2.1", "192.0.2.2"}), ((), {LOOPBACK})])
def test_the_client_address_is_taken_from_trusted_proxies_alone(trusted: tuple[str, ...], addresses: set[str]) -> None:
    seen: set[str] = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.add(scope["client"][0])
        await Response(scope["scheme"])(scope, receive, send)

    async def asked() -> set[str]:
        with socket.create_server((LOOPBACK, 0)) as listener:
            serving = asyncio.create_task(serve(app, listener, "admin", trusted_proxies=trusted))
            async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{listener.getsockname()[1]}") as client:
                answers = [
                    await client.get("/", headers={"X-Forwarded-For": address, "X-Forwarded-Proto": "https"})
                    for address in ("192.0.2.1", "192.0.2.2")
                ]
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return {answer.text for answer in answers}

    assert asyncio.run(asked()) == {"https" if trusted else "http"}
    assert seen == addresses


def test_it_stops_at_once_despite_an_open_connection(tmp_path: Path) -> None:
    with RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE, admin_api_key=API_KEY) as exporter:
        with httpx2.Client() as client:  # keeps its connection open
            assert client.get(f"{exporter.page}status", headers={"X-API-Key": API_KEY}).status_code == 200
            status, seconds = exporter.terminate()
        assert status == 0
        assert seconds < patience(5)
        assert exporter.events()[-1]["event"] == "service.stopped"


# Mounted -------------------------------------------------------------------------------------------------------------


def test_it_can_be_mounted_in_an_application_of_fastapi(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """As in the README."""
    configured = settings_for(
        database, valkey_server.url, tmp_path, state_dir=tmp_path / "state", admin_api_key=API_KEY
    )
    analytics = MountedAnalytics(configured)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with analytics.running():
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/admin/analytics", analytics)
    key = {"X-API-Key": API_KEY}

    async def asked() -> None:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://hivesync.test/admin/analytics") as client:
            assert (await client.get("/summary", headers=key)).status_code == 503
            async with app.router.lifespan_context(app):
                assert (await client.get("/summary")).status_code == 401

                async def shown() -> bool:
                    return (await client.get("/summary", headers=key)).json()["paid_users"]["value"] is not None

                await until_async(shown, "the number of paid users")
                page = await client.get("/", headers=key)
                assert page.status_code == 200
                links = re.findall(r'(?:src|href)="(/[^"]*)"', page.text)
                assert links
                assert [link for link in links if not link.startswith("/admin/analytics/")] == []
            assert (await client.get("/summary", headers=key)).status_code == 503

    asyncio.run(asked())
