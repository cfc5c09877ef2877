"""The middleware: admitted requests, refusals, and the login page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message
from structlog.testing import capture_logs

from admin.access.sessions import COOKIE
from admin.access.tokens import AdminCredentials
from tests.admin.access.credentials import API_KEY, token
from tests.admin.access.guarded import (
    DATA,
    LOGIN_PAGE,
    SECTION_ORIGIN,
    Behind,
    Clock,
    access_of,
    bad_credentials,
    in_hivesync,
    on_its_own,
    section_of,
)
from tests.admin.client import ROOT, Answer, ask, scope_of

MANY = 10**6
"""Failures that are not limited, where a test is about something else."""

PATHS = [
    "/",
    "/summary",
    "/users",
    "/ai",
    "/queues",
    "/workers",
    "/monetization",
    "/charts/ai-requests",
    "/charts/dau?format=csv",
    "/tables/top-users",
    "/status",
    "/openapi.json",
    "/grafana/",
    "/grafana/d-solo/hivesync-analytics/panel?panelId=1",
    "/grafana/public/build/app.js",
    "/not-there-yet",
    "/login/",
    "/login/x",
    "/sessions",
    "/static",
    "/staticx",
    "/Static/x",
    "/%2e%2e/summary",
    "//static/x",
]
"""Paths of the section, existing and not."""


@pytest.fixture(params=[on_its_own, in_hivesync], ids=["on its own port", "mounted in FastAPI"])
def place(request: pytest.FixtureRequest) -> Callable[[ASGIApp], ASGIApp]:
    """Both ways to serve the section."""
    found: Callable[[ASGIApp], ASGIApp] = request.param
    return found


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep the log of refusals out of the output."""
    with capture_logs():
        yield


def refused(answer: Answer, status: int = 401) -> None:
    """Assert a refusal in the form of a problem, without data."""
    assert answer.status == status
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    assert set(answer.json) <= {"type", "title", "status", "detail"}
    assert answer.json["status"] == status
    assert DATA.encode() not in answer.body
    if status in (401, 403):
        assert str(answer.header("www-authenticate")).startswith('Bearer realm="HiveSync Analytics"')


ACCESS = access_of(failures=MANY)
BAD = bad_credentials(ACCESS.sessions.open())
"""Invalid credentials, some beside a session that is valid in ACCESS."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get")


def within(app: ASGIApp, path: str, *arguments: Any, **scope: Any) -> Answer:
    """A request to the mounted section."""
    return ask(app, ROOT + path, *arguments, root_path="", **scope)


@pytest.mark.parametrize("name", BAD)
def test_no_path_is_open_without_a_valid_credential(name: str, place: Callable[[ASGIApp], ASGIApp]) -> None:
    behind = Behind()
    app = place(section_of(ACCESS, behind))
    assert len(PATHS) > 20
    for path in PATHS:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            refused(within(app, path, method, BAD[name]))
    assert behind.scope is None


@pytest.mark.parametrize("path", PATHS)
def test_a_valid_token_without_the_scope_is_forbidden(path: str, place: Callable[[ASGIApp], ASGIApp]) -> None:
    app = place(section_of(access_of()))
    for claim in ("user", "administrator", ["user"], None):
        for method in METHODS:
            refused(within(app, path, method, {"Authorization": f"Bearer {token(scope=claim)}"}), 403)


def test_the_bare_mount_point_is_closed_too() -> None:
    for path in ("", "/"):
        refused(ask(section_of(access_of()), path))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {token()}"},
        {"X-API-Key": API_KEY},
        {"Cookie": "a session"},
        {"Authorization": f"Bearer {token()}", "Cookie": f"{COOKIE}=nonsense"},
        {"X-API-Key": API_KEY, "Cookie": f"{COOKIE}=nonsense"},
    ],
    ids=["token", "API key", "session", "token beside a bad session", "API key beside a bad session"],
)
def test_an_admin_may_access_every_path(headers: dict[str, str], place: Callable[[ASGIApp], ASGIApp]) -> None:
    behind, access = Behind(), access_of()
    app = place(section_of(access, behind))
    if headers.get("Cookie") == "a session":
        headers = {"Cookie": f"{COOKIE}={access.sessions.open()}"}
    for path in PATHS:
        assert within(app, path, "GET", headers).body == DATA.encode() or path == "/sessions", path
        assert within(app, path, "HEAD", headers).status == 200
    assert behind.scope is not None
    assert behind.scope["state"]["admin"].via in ("token", "api_key", "session")


def test_every_invalid_credential_gets_the_same_response() -> None:
    app = section_of(ACCESS)
    answers = {
        (answer.body, answer.header("www-authenticate")) for answer in (ask(app, "/ai", "GET", BAD[n]) for n in BAD)
    }
    assert len({body for body, _ in answers}) == 1
    assert {challenge for _, challenge in answers} == {
        'Bearer realm="HiveSync Analytics"',
        'Bearer realm="HiveSync Analytics", error="invalid_token"',
    }


def test_the_section_supports_get_and_head_alone() -> None:
    app = section_of(access_of())
    for method in METHODS[2:]:
        for path in ("/summary", "/", "/openapi.json", "/grafana/d-solo/x/y", "/grafana/api/ds/queries", "/grafana/"):
            answer = ask(app, path, method, {"X-API-Key": API_KEY})
            refused(answer, 405)
            assert answer.header("allow") == "GET, HEAD"


@pytest.mark.parametrize("path", ["/grafana/api/ds/query?ds_type=prometheus", "/grafana/api/frontend-metrics"])
def test_queries_to_grafana_may_be_posts(path: str) -> None:
    answer = ask(section_of(access_of()), path, "POST", {"X-API-Key": API_KEY})
    assert answer.body == DATA.encode()


@pytest.mark.parametrize(
    "path",
    ["/grafana/api/ds%2fquery", "/grafana/api/%64s/query", "/grafana/./api/ds/query", "/x/../grafana/api/ds/query"],
)
def test_a_query_with_another_spelling_is_refused(path: str) -> None:
    refused(ask(section_of(access_of()), path, "POST", {"X-API-Key": API_KEY}), 405)


def test_a_session_may_query_grafana_from_its_own_origin_only() -> None:
    access = access_of()
    cookie = {"Cookie": f"{COOKIE}={access.sessions.open()}"}
    app = section_of(access)
    for headers in ({}, {"Origin": "https://neighbour.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        refused_for_origin = ask(app, "/grafana/api/ds/query", "POST", cookie | headers)
        assert refused_for_origin.status == 403
        assert DATA.encode() not in refused_for_origin.body
    assert ask(app, "/grafana/api/ds/query", "POST", cookie | {"Origin": SECTION_ORIGIN}).status == 200
    assert ask(app, "/grafana/d-solo/x/y", "GET", cookie | {"Origin": "https://neighbour.example"}).status == 200


def test_the_files_of_the_login_are_open_and_read_only(place: Callable[[ASGIApp], ASGIApp]) -> None:
    app = place(section_of(access_of()))
    assert within(app, "/login").body == LOGIN_PAGE.encode()
    assert within(app, "/static/styles/tokens.css").status == 200
    for method in ("PUT", "DELETE", "PATCH"):
        assert within(app, "/login", method).header("allow") == "GET, HEAD, POST"
        assert within(app, "/static/x.js", method).header("allow") == "GET, HEAD"
    assert within(app, "/static/x.js", "POST").status == 405
    assert within(app, "/logout").header("allow") == "POST"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["", "/", "/?range=7d"])
def test_a_browser_that_opens_the_page_gets_the_login_page(path: str) -> None:
    for headers in ({}, {"Cookie": f"{COOKIE}=expired"}):
        answer = ask(section_of(access_of()), path, "GET", {"Accept": BROWSER, **headers})
        assert answer.status == 401
        assert answer.body == LOGIN_PAGE.encode()
        assert answer.header("cache-control") == "no-store"
        assert answer.header("www-authenticate")


def test_programs_and_other_paths_get_no_login_page() -> None:
    app = section_of(access_of())
    for accept in ("*/*", "application/json", "text/*", "text/htmlx", ""):
        refused(ask(app, "/", "GET", {"Accept": accept}))
    for path in ("/summary", "/grafana/d-solo/x/y", "/login/"):
        refused(ask(app, path, "GET", {"Accept": BROWSER}))
    refused(ask(app, "/", "GET", {"Accept": BROWSER, "Authorization": "Bearer x"}))
    refused(ask(app, "/", "POST", {"Accept": BROWSER}))


def test_without_a_configured_credential_every_request_is_503() -> None:
    behind = Behind()
    access = access_of(AdminCredentials())
    app = section_of(access, behind)
    session = {"Cookie": f"{COOKIE}={access.sessions.open()}"}
    for path in (*PATHS, "/login", "/static/x.js"):
        for headers in ({}, session, {"X-API-Key": ""}, {"Accept": BROWSER}):
            answer = ask(app, path, "GET", headers)
            refused(answer, 503)
            assert "HIVESYNC_ADMIN_API_KEY" in answer.json["detail"]
    assert behind.scope is None


def test_after_ten_invalid_credentials_an_address_gets_429_for_further_ones() -> None:
    clock = Clock()
    app = section_of(access_of(clock=clock))
    wrong = [{"X-API-Key": "wrong"}, {"Authorization": "Bearer x.y.z"}]
    for number in range(10):
        refused(ask(app, "/summary", "GET", wrong[number % 2]))
    for headers in wrong:
        answer = ask(app, "/summary", "GET", headers)
        refused(answer, 429)
        assert answer.header("retry-after") == "300"
    refused(ask(app, "/summary", "GET", {"X-API-Key": "wrong"}, client=("192.0.2.8", 1)))
    clock.now += 300
    refused(ask(app, "/summary", "GET", {"X-API-Key": "wrong"}))


def test_the_right_credential_is_never_locked_out_by_wrong_ones() -> None:
    """Behind a proxy that is not trusted, all of the world has one address."""
    access = access_of()
    app = section_of(access)
    cookie = f"{COOKIE}={access.sessions.open()}"
    for _ in range(20):
        ask(app, "/summary", "GET", {"X-API-Key": "wrong"})
    assert ask(app, "/summary", "GET", {"X-API-Key": "wrong"}).status == 429
    for headers in (
        {"X-API-Key": API_KEY},
        {"Authorization": f"Bearer {token()}"},
        {"Cookie": cookie},
        {"Cookie": cookie, "X-API-Key": API_KEY},
    ):
        assert ask(app, "/summary", "GET", headers).status == 200
    assert ask(app, "/summary", "GET", {"Authorization": f"Bearer {token(scope='user')}"}).status == 403


@pytest.mark.parametrize("name", ["none", "expired", "an empty session", "a tampered session", "not yet valid"])
def test_ended_sessions_and_expired_tokens_do_not_count(name: str) -> None:
    app = section_of(access_of())
    for _ in range(30):
        refused(ask(app, "/summary", "GET", BAD[name]))
    assert ask(app, "/summary", "GET", {"X-API-Key": API_KEY}).status == 200


def test_refusals_are_logged_without_the_credential() -> None:
    app = section_of(access_of(failures=2))
    with capture_logs() as events:
        ask(app, "/summary")
        ask(app, "/summary", "GET", {"Authorization": f"Bearer {token(scope='user')}"})
        ask(app, "/summary", "GET", {"Authorization": "Bearer secret-of-somebody.x.y"})
        ask(app, "/summary", "GET", {"X-API-Key": "secret-of-somebody"})
        ask(app, "/summary", "GET", {"X-API-Key": "secret-of-somebody"})
    assert [(event["event"], event["address"], event["reason"]) for event in events] == [
        ("admin.access.refused", "192.0.2.7", "not_admin"),
        ("admin.access.refused", "192.0.2.7", "malformed"),
        ("admin.access.refused", "192.0.2.7", "api_key"),
        ("admin.access.refused", "192.0.2.7", "too_many"),
    ]
    assert "secret-of-somebody" not in repr(events)


def test_websockets_are_closed_before_they_are_open(place: Callable[[ASGIApp], ASGIApp]) -> None:
    behind = Behind()
    app = place(section_of(access_of(), behind))
    for path in ("/grafana/api/live/ws", "/summary", "/static/x", "/login"):
        scope = scope_of(ROOT + path, headers={"X-API-Key": API_KEY}, root_path="") | {"type": "websocket"}
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
        assert [message["type"] for message in sent] == ["websocket.close"]
    assert behind.scope is None
