"""Login and logout, with and without script."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.types import ASGIApp, Message
from structlog.testing import capture_logs

import admin.access.forms
from admin.access.authentication import Access
from admin.access.sessions import COOKIE, SECURE_COOKIE
from admin.access.tokens import LEEWAY_SECONDS
from tests.admin.access.credentials import API_KEY, bad_tokens, token
from tests.admin.access.guarded import FAILED_PAGE, LOGIN_PAGE, SECTION_ORIGIN, Clock, access_of, section_of
from tests.admin.client import ROOT, Answer, ask, scope_of

OURS = {"Origin": SECTION_ORIGIN}
JSON = OURS | {"Content-Type": "application/json"}
FORM = OURS | {"Content-Type": "application/x-www-form-urlencoded"}


def post(app: ASGIApp, content: object, headers: dict[str, str] = JSON, path: str = "/login", **scope: Any) -> Answer:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return ask(app, path, "POST", headers, body, **scope)


def session_of(answer: Answer) -> str:
    """The value of the session's cookie."""
    cookie = answer.header("set-cookie")
    assert cookie is not None
    assert cookie.endswith(f"; Path={ROOT}; Max-Age=28800; HttpOnly; Secure; SameSite=Strict")
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == COOKIE
    return value


def is_in(app: ASGIApp, session: str) -> bool:
    return ask(app, "/summary", "GET", {"Cookie": f"{COOKIE}={session}"}).status == 200


@pytest.fixture
def access() -> Access:
    return access_of()


@pytest.fixture
def app(access: Access) -> ASGIApp:
    return section_of(access)


def test_a_key_a_token_or_a_code_is_exchanged_for_a_session(app: ASGIApp, access: Access) -> None:
    for content in ({"api_key": API_KEY}, {"token": token()}, {"code": access.codes.issue()}):
        with capture_logs() as events:
            answer = post(app, content)
        assert answer.status == 204
        assert answer.body == b""
        assert answer.header("cache-control") == "no-store"
        assert is_in(app, session_of(answer))
        (event,) = events
        assert (event["event"], event["via"], event["address"]) == ("admin.login.accepted", *content, "192.0.2.7")


def test_a_form_is_redirected_to_the_page(app: ASGIApp) -> None:
    answer = post(app, b"token=&api_key=an+API+key+of+the+tests", FORM)
    assert answer.status == 303
    assert answer.header("location") == "./"  # seen from /admin/analytics/login: the page
    assert is_in(app, session_of(answer))


def test_the_cookie_goes_to_wherever_the_section_is_mounted(access: Access) -> None:
    answer = ask(section_of(access), "/login", "POST", JSON, orjson.dumps({"api_key": API_KEY}), root_path="/x/y")
    assert "; Path=/x/y; " in str(answer.header("set-cookie"))


@pytest.mark.parametrize("name", [name for name, value in bad_tokens().items() if value])
def test_a_bad_token_opens_no_session(app: ASGIApp, name: str) -> None:
    answer = post(app, {"token": bad_tokens()[name]})
    assert answer.status == 401
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("set-cookie") is None


def test_a_token_without_the_scope_is_403(app: ASGIApp) -> None:
    assert post(app, {"token": token(scope="user")}).status == 403
    answer = post(app, f"token={token(scope='user')}".encode(), FORM)
    assert answer.status == 403
    assert answer.body == FAILED_PAGE.encode()


def test_a_refused_form_gets_the_login_page_again(app: ASGIApp) -> None:
    answer = post(app, b"api_key=wrong", FORM)
    assert answer.status == 401
    assert answer.body == FAILED_PAGE.encode()
    assert answer.header("set-cookie") is None
    assert answer.header("www-authenticate")


def test_a_code_is_used_up(app: ASGIApp, access: Access) -> None:
    code = access.codes.issue()
    assert post(app, {"code": code}).status == 204
    assert post(app, {"code": code}).status == 401


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b"null", JSON, 400),
        (b"{}", JSON, 400),
        (b'{"api_key": ""}', JSON, 400),
        (b'{"api_key": 1}', JSON, 400),
        (b'{"api_key": ["x"]}', JSON, 400),
        (b'{"api_key": "x", "token": "y"}', JSON, 400),
        (b'{"password": "x"}', JSON, 400),
        (b"[" * 5000, JSON, 400),
        (b'"\xff"', JSON, 400),
        (b"", FORM, 400),
        (b"api_key=", FORM, 400),
        (b"api_key=\xff", FORM, 400),
        (b"a=1&" * 9, FORM, 400),
        (b'{"api_key": "x"}', OURS, 415),
        (b'{"api_key": "x"}', OURS | {"Content-Type": "text/plain"}, 415),
        (b"x" * 16_385, JSON, 413),
        (b'{"api_key": "' + b"x" * 16_384 + b'"}', JSON, 413),
    ],
)
def test_a_request_without_a_credential_does_not_count(
    app: ASGIApp, body: bytes, headers: dict[str, str], status: int
) -> None:
    for _ in range(11):
        answer = post(app, body, headers)
        assert answer.status == status
        assert answer.header("content-type") == "application/problem+json"
    assert post(app, {"api_key": API_KEY}).status == 204


def test_unusual_text_is_refused_like_any_other(app: ASGIApp) -> None:
    for content in (b'{"api_key": "\\u0000\xc3\xa9"}', b'{"token": "\xf0\x9f\x90\x9d"}', b'{"code": "\\n"}'):
        with capture_logs():
            assert post(app, content).status == 401


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://admin.example:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_origin_cannot_log_in_or_out(app: ASGIApp, access: Access, path: str, headers: dict[str, str]) -> None:
    session = access.sessions.open()
    given = {"Content-Type": "application/json", "Cookie": f"{COOKIE}={session}"} | headers
    answer = post(app, {"api_key": API_KEY}, given, path)
    assert answer.status == 403
    assert answer.header("set-cookie") is None
    assert is_in(app, session)


def test_a_same_origin_request_needs_no_origin_header(app: ASGIApp) -> None:
    headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    assert post(app, {"api_key": API_KEY}, headers).status == 204


def test_after_ten_failed_logins_further_ones_have_to_wait() -> None:
    clock = Clock()
    access = access_of(clock=clock)
    app = section_of(access)
    with capture_logs() as events:
        for number in range(10):
            assert post(app, [{"api_key": "wrong"}, {"code": "wrong"}][number % 2]).status == 401
        for content in ({"api_key": "wrong"}, {"token": "x.y.z"}, {"code": "wrong"}):
            answer = post(app, content)
            assert answer.status == 429
            assert answer.header("retry-after") == "300"
            assert answer.header("set-cookie") is None
    assert [(event["event"], event["reason"]) for event in events[9:11]] == [
        ("admin.login.refused", "code"),
        ("admin.login.refused", "too_many"),
    ]
    assert "wrong" not in repr(events)
    assert post(app, {"api_key": "wrong"}, client=("192.0.2.9", 1)).status == 401
    clock.now += 300
    assert post(app, {"api_key": "wrong"}).status == 401


def test_failed_logins_lock_out_no_right_key_token_or_link() -> None:
    access = access_of()
    app = section_of(access)
    with capture_logs():
        for _ in range(12):
            post(app, {"api_key": "wrong"})
        assert post(app, {"api_key": "wrong"}).status == 429
        for content in ({"api_key": API_KEY}, {"token": token()}, {"code": access.codes.issue()}):
            assert is_in(app, session_of(post(app, content)))


def test_concurrent_attempts_are_all_counted() -> None:
    """A hundred bodies arrive before the first is checked."""
    app = section_of(access_of())
    everything = asyncio.Event()
    waiting = 0
    statuses: list[int] = []

    async def attempt() -> None:
        async def receive() -> Message:
            nonlocal waiting
            waiting += 1
            if waiting == 100:
                everything.set()
            await everything.wait()
            return {"type": "http.request", "body": b'{"api_key": "wrong"}', "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await app(scope_of("/login", "POST", JSON), receive, send)

    async def attempts() -> None:
        await asyncio.gather(*(attempt() for _ in range(100)))

    with capture_logs():
        asyncio.run(attempts())
    assert sorted(statuses) == [401] * 10 + [429] * 90


def test_an_endless_body_times_out(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.access.forms, "BODY_SECONDS", 0.01)
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        if not receive.__dict__.setdefault("begun", False):
            receive.__dict__["begun"] = True
            return {"type": "http.request", "body": b'{"api', "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope_of("/login", "POST", JSON), receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408


def test_a_client_that_disconnects_breaks_nothing(app: ASGIApp) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope_of("/login", "POST", JSON), receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 400


def test_a_logout_ends_the_session_on_both_sides(tmp_path: Path) -> None:
    access = access_of(state=tmp_path)
    app = section_of(access)
    other, session = (session_of(post(app, {"api_key": API_KEY})) for _ in range(2))
    answer = post(app, {}, JSON | {"Cookie": f"{COOKIE}={session}"}, "/logout")
    assert answer.status == 204
    assert answer.header("set-cookie") == (f"{COOKIE}=; Path={ROOT}; Max-Age=0; HttpOnly; Secure; SameSite=Strict")
    assert answer.header("clear-site-data") == '"cache"'
    assert not is_in(app, session)
    assert is_in(app, other)
    restarted = section_of(access_of(state=tmp_path))
    assert not is_in(restarted, session)
    assert is_in(restarted, other)


def test_a_logout_by_form_leads_to_the_login(app: ASGIApp, access: Access) -> None:
    session = access.sessions.open()
    answer = post(app, b"", FORM | {"Cookie": f"{COOKIE}={session}"}, "/logout")
    assert answer.status == 303
    assert answer.header("location") == "login"
    assert not is_in(app, session)


def test_a_logout_without_a_session_works_too(app: ASGIApp) -> None:
    assert post(app, {}, JSON, "/logout").status == 204


def test_the_login_page_needs_no_credential(app: ASGIApp, access: Access) -> None:
    for headers in ({}, {"Cookie": f"{COOKIE}={access.sessions.open()}"}, {"Authorization": "Bearer x"}):
        answer = ask(app, "/login", "GET", headers)
        assert answer.status == 200
        assert answer.body == LOGIN_PAGE.encode()
        assert answer.header("cache-control") == "no-store"


def test_four_foreign_cookies_lock_no_browser_out_and_a_logout_ends_them_all(app: ASGIApp, access: Access) -> None:
    ours, second = access.sessions.open(), access.sessions.open()
    foreign = "; ".join(f"{COOKIE}={'x' * 64}" for _ in range(50))
    headers = {"Cookie": f"{foreign}; {COOKIE}={ours}; {COOKIE}=; {COOKIE}={second}"}
    assert ask(app, "/summary", "GET", headers).status == 200
    with capture_logs() as events:
        assert post(app, {}, JSON | headers, "/logout").status == 204
    assert [event["event"] for event in events] == ["admin.logout", "admin.logout"]
    assert ask(app, "/summary", "GET", headers).status == 401


def test_a_login_replaces_the_session_of_the_browser(app: ASGIApp, access: Access) -> None:
    before = session_of(post(app, {"api_key": API_KEY}))
    after = session_of(post(app, {"api_key": API_KEY}, JSON | {"Cookie": f"{COOKIE}={before}"}))
    assert not is_in(app, before)
    assert is_in(app, after)
    assert len(access.sessions.all()) == 1


@pytest.mark.parametrize(
    ("public_url", "scheme", "secure"),
    [
        (None, "https", True),
        ("https://admin.example", "http", True),
        ("https://admin.example:8443", "http", False),
        ("http://admin.example", "http", False),
        (None, "http", False),
    ],
)
def test_over_https_the_cookie_has_a_name_that_no_plain_page_can_set(
    public_url: str | None, scheme: str, secure: bool
) -> None:
    access = access_of(public_url=public_url)
    app = section_of(access)
    set_cookie = str(post(app, {"api_key": API_KEY}, scheme=scheme).header("set-cookie"))
    name, _, value = set_cookie.partition(";")[0].partition("=")
    assert name == (SECURE_COOKIE if secure else COOKIE)
    for given, status in ((name, 200), (COOKIE if secure else SECURE_COOKIE, 401)):
        assert ask(app, "/summary", "GET", {"Cookie": f"{given}={value}"}, scheme=scheme).status == status


@pytest.mark.parametrize(("follows", "hours"), [(True, 1.0), (False, 8.0)])
def test_a_session_may_end_with_the_token_that_opened_it(follows: bool, hours: float) -> None:
    clock = Clock(time.time())
    access = access_of(clock=clock, follows_token=follows)
    app = section_of(access)
    answer = post(app, {"token": token(exp=int(clock.now) + 3600)})
    session = str(answer.header("set-cookie")).partition(";")[0].partition("=")[2]
    clock.now += hours * 3600 - 1
    assert is_in(app, session)
    clock.now += 2 + LEEWAY_SECONDS
    assert not is_in(app, session)
    other = post(app, {"api_key": API_KEY})
    assert "Max-Age=28800" in str(other.header("set-cookie"))
