"""The section in an application of HiveSync's: its lifespan, its own check, its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse

from admin.access.sessions import COOKIE
from admin.mounting import MountedAnalytics
from exporter.errors import SettingsError
from exporter.settings import Settings, read_environment
from tests.admin.world import API_KEY
from tests.rows import NO_DATABASE, NOWHERE
from tests.scenario import settings_for

SECTION = "/admin/analytics"


class HostUsers:
    """The host's users, as its database holds them at each request."""

    def __init__(self) -> None:
        self.admins = {"ada"}
        self.asked = 0


async def users_of(request: Request) -> HostUsers:
    """The host's own state, which its lifespan made."""
    users: HostUsers = request.app.state.users
    return users


async def require_admin(
    users: Annotated[HostUsers, Depends(users_of)], authorization: Annotated[str | None, Header()] = None
) -> str:
    """The check of HiveSync's own admin routes."""
    users.asked += 1
    if authorization is None:
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    if authorization not in users.admins:
        raise HTTPException(403, "Not an admin")
    return authorization


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    app.state.users = HostUsers()
    app.state.ended = False
    yield {"of_host": "kept"}
    app.state.ended = True


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    return settings_for(NO_DATABASE, NOWHERE, tmp_path, state_dir=tmp_path / "state", admin_api_key=API_KEY)


def with_host(
    settings: Settings, allow: Any, use: Callable[[FastAPI, httpx2.AsyncClient], Awaitable[None]], **options: Any
) -> None:
    """Run a host with the section mounted, and use it."""
    app = FastAPI(lifespan=lifespan, **options)

    @app.get("/state")
    async def state(request: Request) -> JSONResponse:
        return JSONResponse(request.state.of_host)

    @app.get("/{path:path}")
    async def anything(path: str) -> JSONResponse:
        return JSONResponse(f"the host's own {path}")

    MountedAnalytics(settings, allow=allow).mount(app)

    async def run() -> None:
        async with app.router.lifespan_context(app) as scope_state:
            assert scope_state == {"of_host": "kept"}
            transport = httpx2.ASGITransport(with_state(app, scope_state), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://hivesync.test") as client:
                await use(app, client)
            assert not app.state.ended
        assert app.state.ended

    asyncio.run(run())


def with_state(app: FastAPI, state: Any) -> Any:
    """The application with the state of its lifespan, as servers give it."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return wrapped


def of(user: str) -> dict[str, str]:
    return {"Authorization": user}


def test_the_check_and_the_lifespan_of_the_host_are_kept(configured: Settings) -> None:
    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        for path in ("/summary", "/", "/openapi.json", "/grafana/", "/nowhere"):
            missing = await client.get(SECTION + path)
            assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer"), path
            assert missing.headers["content-type"] == "application/problem+json"
            assert missing.json()["detail"] == "Not authenticated"
            refused = await client.get(SECTION + path, headers=of("eve"))
            assert (refused.status_code, refused.json()["detail"]) == (403, "Not an admin"), path
        allowed = await client.get(f"{SECTION}/summary", headers=of("ada"))
        assert allowed.status_code == 200
        assert "online_users" in allowed.json()
        page = await client.get(f"{SECTION}/", headers=of("ada"))
        assert page.status_code == 200
        assert "logout" not in page.text
        assert (await client.get("/state")).json() == "kept"
        assert (await client.get("/elsewhere")).json() == "the host's own elsewhere"

    with_host(configured, require_admin, use)


def test_a_demoted_admin_is_out_at_the_next_request(configured: Settings) -> None:
    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        users: HostUsers = app.state.users
        first = await client.get(f"{SECTION}/summary", headers=of("ada"))
        assert first.status_code == 200
        users.admins.clear()
        again = {**of("ada"), "If-None-Match": first.headers["etag"]}
        assert (await client.get(f"{SECTION}/summary", headers=again)).status_code == 403
        users.admins.add("ada")
        assert (await client.get(f"{SECTION}/summary", headers=of("ada"))).status_code == 200
        assert users.asked == 3

    with_host(configured, require_admin, use)


def test_own_credentials_and_cookies_are_not_consulted(configured: Settings) -> None:
    """Neither the API key in the settings, nor a session of the same state directory."""

    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        assert (await client.get(f"{SECTION}/summary", headers={"X-API-Key": API_KEY})).status_code == 401
        assert (await client.post(f"{SECTION}/login", json={"api_key": API_KEY})).status_code == 404
        for path in ("/logout", "/sessions/end"):
            assert (await client.post(f"{SECTION}{path}", headers=of("ada"))).status_code == 404
        assert (await client.get(f"{SECTION}/sessions", headers=of("ada"))).status_code == 404
        cookie = {"Cookie": f"{COOKIE}={session}"}
        assert (await client.get(f"{SECTION}/summary", headers=cookie)).status_code == 401

    own = MountedAnalytics(configured)

    async def log_in() -> str:
        async with own.running():
            transport = httpx2.ASGITransport(own)
            async with httpx2.AsyncClient(transport=transport, base_url="http://hivesync.test") as client:
                headers = {"Origin": "http://hivesync.test"}
                answer = await client.post("/login", json={"api_key": API_KEY}, headers=headers)
                value = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
                assert (await client.get("/summary", headers={"Cookie": f"{COOKIE}={value}"})).status_code == 200
                return value

    session = asyncio.run(log_in())
    with_host(configured, require_admin, use)


async def true(request: Request) -> bool:
    return request.headers.get("authorization") == "ada"


async def without_annotation(request):  # type: ignore[no-untyped-def]  # as hosts may write it
    return request.headers.get("authorization") == "ada"


def in_a_thread(request: Request) -> str | None:
    return "ada" if request.headers.get("authorization") == "ada" else None


async def with_cleanup(request: Request) -> AsyncIterator[bool]:
    yield request.headers.get("authorization") == "ada"


class Guard:
    async def __call__(self, request: Request) -> dict[str, str]:
        return {"user": "ada"} if request.headers.get("authorization") == "ada" else {}


@pytest.mark.parametrize(
    "allow",
    [true, without_annotation, lambda request: true(request), in_a_thread, with_cleanup, Guard(), Depends(true)],
    ids=["async", "no annotation", "lambda", "thread", "yield", "object", "Depends"],
)
def test_a_check_of_any_form_refuses_by_a_false_value(allow: Any, configured: Settings) -> None:
    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        assert (await client.get(f"{SECTION}/summary", headers=of("ada"))).status_code == 200
        refused = await client.get(f"{SECTION}/summary", headers=of("eve"))
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")

    with_host(configured, allow, use)


def test_an_exception_in_the_check_is_a_refusal(configured: Settings) -> None:
    class Gone(Exception):
        pass

    failures: dict[str, Exception] = {
        "zero": ZeroDivisionError("ada@example.org"),
        "gone": Gone(),
        "odd": HTTPException(499, "odd"),
        "away": HTTPException(307, headers={"Location": "/login"}),
    }

    async def check(request: Request) -> bool:
        raise failures[request.headers["authorization"]]

    async def gone(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse("the host's own", 410)

    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        answers = {name: await client.get(f"{SECTION}/summary", headers=of(name)) for name in failures}
        assert {name: answer.status_code for name, answer in answers.items()} == {
            "zero": 500,
            "gone": 410,
            "odd": 499,
            "away": 307,
        }
        assert answers["away"].headers["location"] == "/login"
        assert not any("online_users" in answer.text or "ada" in answer.text for answer in answers.values())

    with_host(configured, check, use, exception_handlers={Gone: gone})


def test_a_missing_header_that_the_check_requires_is_401(configured: Settings) -> None:
    async def check(x_token: Annotated[str, Header()]) -> bool:
        return x_token == "ada"

    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        assert (await client.get(f"{SECTION}/summary")).status_code == 401
        assert (await client.get(f"{SECTION}/summary", headers={"X-Token": "ada"})).status_code == 200

    with_host(configured, check, use)


def test_the_host_can_replace_dependencies_of_its_check(configured: Settings) -> None:
    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        other = HostUsers()
        other.admins = {"eve"}
        app.dependency_overrides[users_of] = lambda: other
        assert (await client.get(f"{SECTION}/summary", headers=of("eve"))).status_code == 200
        assert (await client.get(f"{SECTION}/summary", headers=of("ada"))).status_code == 403

    with_host(configured, require_admin, use)


def test_with_a_check_the_section_is_read_only_all_the_same(configured: Settings) -> None:
    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        for method in ("POST", "PUT", "DELETE", "BREW"):
            assert (await client.request(method, f"{SECTION}/summary")).status_code == 401, method
            assert (await client.request(method, f"{SECTION}/summary", headers=of("ada"))).status_code == 405, method
        query = f"{SECTION}/grafana/api/ds/query"
        cookie = {**of("ada"), "Cookie": "session=host"}
        foreign = await client.post(query, headers={**cookie, "Origin": "https://evil.example"}, content=b"{}")
        assert foreign.status_code == 403
        for headers in (of("ada"), {**cookie, "Origin": "http://hivesync.test"}):
            assert (await client.post(query, headers=headers, content=b"{}")).status_code == 404, "there is no Grafana"
        static = f"{SECTION}/static/modules/main.js"
        assert (await client.get(static)).status_code == 200
        assert (await client.post(static)).status_code == 405

    with_host(configured, require_admin, use)


def test_a_refused_document_is_a_page_without_a_login(configured: Settings) -> None:
    shown = {"Sec-Fetch-Dest": "document"}

    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        for headers, status, detail in (
            (shown, 401, "Not authenticated"),
            ({**shown, **of("eve")}, 403, "Not an admin"),
        ):
            refused = await client.get(f"{SECTION}/", headers=headers)
            assert (refused.status_code, refused.headers["content-type"]) == (status, "text/html; charset=utf-8")
            assert detail in refused.text
            assert f'href="{SECTION}/"' in refused.text
            assert f"{SECTION}/login" not in refused.text
            assert "frame-ancestors" in refused.headers["content-security-policy"]

    with_host(configured, require_admin, use)


def test_the_public_url_is_an_origin_of_the_mounted_section(configured: Settings) -> None:
    """Behind a proxy that changes the Host."""
    settings = configured.model_copy(update={"public_url": "https://admin.example"})

    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        headers = {**of("ada"), "Cookie": "session=host", "Origin": "https://admin.example"}
        query = f"{SECTION}/grafana/api/ds/query"
        assert (await client.post(query, headers=headers, content=b"{}")).status_code == 404, "there is no Grafana"

    with_host(settings, require_admin, use)


def test_a_section_that_does_not_run_says_so_to_browsers_and_programs(configured: Settings) -> None:
    async def ask() -> None:
        transport = httpx2.ASGITransport(MountedAnalytics(configured))
        async with httpx2.AsyncClient(transport=transport, base_url="http://hivesync.test") as client:
            program = await client.get("/summary")
            assert (program.status_code, program.headers["content-type"]) == (503, "application/problem+json")
            page = await client.get("/", headers={"Sec-Fetch-Dest": "document"})
            assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
            assert "frame-ancestors" in page.headers["content-security-policy"]

    asyncio.run(ask())


def test_without_a_check_the_section_has_its_own_access(configured: Settings) -> None:
    async def use(app: FastAPI, client: httpx2.AsyncClient) -> None:
        assert (await client.get(f"{SECTION}/summary", headers={"X-API-Key": API_KEY})).status_code == 200
        assert (await client.get(f"{SECTION}/summary", headers=of("ada"))).status_code == 401
        assert "logout" in (await client.get(f"{SECTION}/", headers={"X-API-Key": API_KEY})).text

    with_host(configured, None, use)


def test_an_object_that_cannot_be_called_is_no_check(configured: Settings) -> None:
    with pytest.raises(TypeError, match="allow should be a dependency of FastAPI or an async callable, not str"):
        MountedAnalytics(configured, allow="admin")  # type: ignore[arg-type]


def test_the_host_s_env_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        "HIVESYNC_DATABASE_URL=postgresql://host@db/host\nHIVESYNC_REFRESH_SECONDS=soon\nHIVESYNC_OTHER=x\n"
    )
    for name in ("DATABASE_URL", "REFRESH_SECONDS", "STATE_DIR"):
        monkeypatch.delenv(f"HIVESYNC_{name}", raising=False)
    monkeypatch.setenv("HIVESYNC_REDIS_URL", "redis://environment/0")
    with pytest.raises(SettingsError) as missing:
        read_environment()
    assert str(missing.value) == "HIVESYNC_DATABASE_URL: is not set and has no default"
    settings = read_environment(database_url="postgresql://given@db/given", state_dir=tmp_path)
    assert settings.database_url.get_secret_value() == "postgresql://given@db/given"
    assert settings.redis_url.get_secret_value() == "redis://environment/0"
    assert (settings.state_dir, settings.refresh_seconds) == (tmp_path, 15)
