"""The proxy, with real servers on both sides: what arrives at Grafana, what comes back, and what does neither."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from admin.proxy import GrafanaProxy, Limits
from admin.session import COOKIE
from tests.admin.asking import ROOT, scope_of
from tests.admin.credentials import token
from tests.admin.standing_in import (
    PATIENCE_SECONDS,
    QUICK,
    Section,
    StandIn,
    analytics,
    answered,
    raw_server,
    standing_in,
)
from tests.running import until

PANEL = "/grafana/d-solo/hivesync-analytics/panel"
QUERY = "/grafana/api/ds/query"
LIMIT = Limits().body_bytes


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    """Something in Grafana's place."""
    with standing_in() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def section(server: StandIn) -> Iterator[Section]:
    """The section before it."""
    with analytics(server.url) as section:
        yield section


@pytest.fixture
def grafana(server: StandIn) -> StandIn:
    """It, as if nothing had arrived yet."""
    server.begin_anew()
    return server


# What arrives


def test_a_request_arrives_as_it_was_sent_in_a_viewers_name(grafana: StandIn, section: Section) -> None:
    target = f"{PANEL}?orgId=1&panelId=11&from=now-24h&q=a%20b%2Fc&x=..%2f..&empty=&%C3%A9"
    answer = section.ask(target, headers={"Accept": "text/html", "User-Agent": "a browser", "X-Grafana-Org-Id": "1"})
    assert answer.status == 200
    (arrived,) = grafana.arrived
    assert (arrived.method, arrived.target, arrived.body) == ("GET", ROOT + target, b"")
    assert sorted(arrived.headers) == [
        ("accept", "text/html"),
        ("host", section.host),
        ("user-agent", "a browser"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", section.host),
        ("x-forwarded-proto", "http"),
        ("x-grafana-org-id", "1"),
        ("x-webauth-role", "Viewer"),
        ("x-webauth-user", "hivesync-analytics-viewer"),
    ]


def test_nobody_can_say_who_he_is(grafana: StandIn, section: Section) -> None:
    spoofed = [
        ("X-WEBAUTH-USER", "admin"),
        ("X-Webauth-User", "admin"),
        ("x-webauth-role", "Admin"),
        ("X-WebAuth-Groups", "admins"),
        ("X_WEBAUTH_USER", "admin"),
        ("X-WEBAUTH_ROLE", "Admin"),
        ("Cookie", f"grafana_session=abc; {COOKIE}=def"),
        ("Cookie", "grafana_session_expiry=1"),
        ("X-API-Key", "glsa_abc"),
        ("X-DS-Authorization", "Bearer x"),
        ("X-JWT-Assertion", "x.y.z"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Anything", "x"),
        ("Forwarded", "for=10.0.0.1"),
        ("X-Real-IP", "10.0.0.1"),
        ("X-Original-URL", "/api/admin/users"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Proxy-Authorization", "Basic x"),
    ]
    answer = section.ask(PANEL, headers=[*spoofed, ("Authorization", f"Bearer {token()}")], key=None)
    assert answer.status == 200
    (arrived,) = grafana.arrived
    names = [name for name, _ in arrived.headers]
    assert sorted(names) == [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-webauth-role",
        "x-webauth-user",
    ]
    assert arrived.header("x-webauth-user") == "hivesync-analytics-viewer"
    assert arrived.header("x-webauth-role") == "Viewer"
    assert arrived.header("x-forwarded-host") == section.host


def test_what_belongs_to_one_connection_stays_on_it(grafana: StandIn, section: Section) -> None:
    headers = [
        ("Connection", "keep-alive, X-Private, X-WEBAUTH-USER, Host, content-length"),
        ("Keep-Alive", "timeout=5"),
        ("X-Private", "x"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Proxy-Connection", "keep-alive"),
        ("X-Public", "y"),
    ]
    section.ask(QUERY, "POST", headers, b"{}")
    (arrived,) = grafana.arrived
    names = {name for name, _ in arrived.headers}
    assert not names & {"connection", "keep-alive", "x-private", "te", "trailer", "proxy-connection"}
    assert arrived.header("x-public") == "y"
    assert arrived.header("x-webauth-user") == "hivesync-analytics-viewer"
    assert arrived.header("host") == section.host
    assert arrived.body == b"{}"


def test_a_question_arrives_with_its_body(grafana: StandIn, section: Section) -> None:
    body = b'{"queries": [{"refId": "A", "expr": "hivesync_online_users"}]}'
    section.ask(f"{QUERY}?ds_type=prometheus&requestId=Q1", "POST", {"Content-Type": "application/json"}, body)
    (arrived,) = grafana.arrived
    assert (arrived.method, arrived.target) == ("POST", f"{ROOT}{QUERY}?ds_type=prometheus&requestId=Q1")
    assert arrived.body == body
    assert arrived.header("content-type") == "application/json"
    assert arrived.header("content-length") == str(len(body))


def test_a_body_goes_on_while_it_is_still_being_sent(grafana: StandIn, section: Section) -> None:
    begun = threading.Event()
    parts: list[bytes] = []

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            begun.set()
        await PlainTextResponse("read")(scope, receive, send)

    grafana.raw = read
    connection = section.connect()
    section.send(connection, QUERY, "POST", {"Transfer-Encoding": "chunked"})
    connection.send(b"5\r\nfirst\r\n")
    assert begun.wait(PATIENCE_SECONDS)
    connection.send(b"4\r\nlast\r\n0\r\n\r\n")
    assert answered(connection.getresponse()).status == 200
    connection.close()
    assert b"".join(parts) == b"firstlast"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_that_means_nothing_does_not_go_on(grafana: StandIn, section: Section, method: str) -> None:
    section.ask(PANEL, method, body=b"x" * 100)
    (arrived,) = grafana.arrived
    assert arrived.body == b""
    assert arrived.header("content-length") is None
    assert arrived.header("transfer-encoding") is None


# What does not arrive


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/grafana/login", "GET", 403),
        ("/grafana/logout", "GET", 403),
        ("/grafana/api/admin/users", "GET", 403),
        ("/grafana/api/datasources", "GET", 403),
        ("/grafana/explore", "GET", 403),
        ("/grafana/public/../api/admin/users", "GET", 403),
        ("/grafana/public/%2e%2e/api/admin/users", "GET", 403),
        ("/grafana/public/..%2fapi%2fadmin%2fusers", "GET", 403),
        ("/grafana/public/..%5capi", "GET", 403),
        ("/grafana/public/%252e%252e/api", "GET", 403),
        ("/grafana/public//build/x.js", "GET", 403),
        ("/grafana//api/annotations", "GET", 403),
        ("/grafana/public/%00", "GET", 403),
        ("/%67rafana/api/annotations", "GET", 403),
        ("/x/../grafana/api/annotations", "GET", 404),
        ("/grafana/api/dashboards/uid/x", "POST", 405),
        ("/grafana/api/dashboards/db", "POST", 405),
        ("/grafana/api/annotations", "PUT", 405),
        ("/grafana/api/annotations", "DELETE", 405),
        ("/grafana/api/ds/query", "PATCH", 405),
        ("/grafana/api/ds/query", "GET", 405),
    ],
)
def test_nothing_else_arrives(grafana: StandIn, section: Section, path: str, method: str, status: int) -> None:
    answer = section.ask(path, method)
    assert answer.status == status
    assert answer.header("content-type") in ("application/problem+json", "text/plain; charset=utf-8")
    assert grafana.arrived == []


@pytest.mark.parametrize("key", [None, "wrong"])
def test_nothing_arrives_from_who_is_no_admin(grafana: StandIn, section: Section, key: str | None) -> None:
    for path, method in ((PANEL, "GET"), (QUERY, "POST"), ("/grafana/public/x.js", "GET"), ("/grafana/login", "GET")):
        assert section.ask(path, method, key=key).status == 401
    assert section.ask(PANEL, headers={"Authorization": f"Bearer {token(scope='user')}"}, key=None).status == 403
    assert grafana.arrived == []


def test_telemetry_is_answered_here(grafana: StandIn, section: Section) -> None:
    answer = section.ask("/grafana/api/frontend-metrics", "POST", body=b'{"events": []}')
    assert (answer.status, answer.body) == (204, b"")
    assert grafana.arrived == []


def test_a_websocket_is_refused(grafana: StandIn, section: Section) -> None:
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert section.ask("/grafana/api/live/ws", headers=handshake).status == 403
    assert grafana.arrived == []
    section.ask(PANEL, headers=handshake)
    assert grafana.arrived[0].header("upgrade") is None


def test_a_websocket_of_the_server_is_closed_before_it_is_open() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("/grafana/api/live/ws") | {"type": "websocket"}
    asyncio.run(GrafanaProxy("http://127.0.0.1:9")(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_body_of_a_megabyte_is_enough(grafana: StandIn, section: Section) -> None:
    assert section.ask(QUERY, "POST", body=b"x" * LIMIT).status == 200
    assert len(grafana.arrived[0].body) == LIMIT
    answer = section.ask(QUERY, "POST", body=b"x" * (LIMIT + 1))
    assert answer.status == 413
    assert answer.header("content-type") == "application/problem+json"
    assert len(grafana.arrived) == 1


def test_a_body_that_does_not_say_how_long_it_is_ends_at_a_megabyte(grafana: StandIn, section: Section) -> None:
    connection = section.connect()
    section.send(connection, QUERY, "POST", {"Transfer-Encoding": "chunked"})
    part = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    try:
        for _ in range(32):
            connection.send(part)
        connection.send(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert connection.getresponse().status == 413
    connection.close()
    assert grafana.arrived == []


def test_a_body_that_stops_coming_is_not_waited_for(grafana: StandIn) -> None:
    with analytics(grafana.url, QUICK) as section:
        connection = section.connect()
        section.send(connection, QUERY, "POST", {"Content-Length": "10"})
        connection.send(b"x")
        assert connection.getresponse().status == 408
        connection.close()
    assert grafana.arrived == []


@pytest.mark.parametrize("hosts", [[], ["a.example", "b.example"]])
def test_a_request_is_for_one_host(grafana: StandIn, hosts: list[str]) -> None:
    scope = scope_of(PANEL)
    scope["headers"] = [(b"host", host.encode()) for host in hosts]
    scope["root_path"] += "/grafana"
    assert asyncio.run(_status(GrafanaProxy(grafana.url), scope)) == 400
    assert grafana.arrived == []


def test_what_cannot_be_said_in_http_is_not_passed_on(grafana: StandIn) -> None:
    for query in ("x=\xff", "x=a b", "x=\r\nHost: evil"):
        scope = scope_of(f"/d-solo/x/y?{query}", root_path=f"{ROOT}/grafana")
        assert asyncio.run(_status(GrafanaProxy(grafana.url), scope)) == 400
    assert grafana.arrived == []


async def _status(proxy: GrafanaProxy, scope: Scope) -> int:
    statuses: list[int] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await proxy(scope, receive, send)
    await proxy.aclose()
    return statuses[0]


# What comes back


def test_an_answer_comes_back_as_it_is(grafana: StandIn, section: Section) -> None:
    headers = {"Cache-Control": "private, max-age=31536000", "ETag": '"abc"', "Vary": "Accept", "X-Grafana": "1"}
    grafana.answering = PlainTextResponse("nothing here", 404, headers)
    answer = section.ask("/grafana/public/build/app.js")
    assert (answer.status, answer.body) == (404, b"nothing here")
    for name, value in headers.items():
        assert answer.header(name.lower()) == value
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert answer.header("content-length") == "12"


def test_it_brings_no_cookie_and_nothing_that_would_harm_us(grafana: StandIn, section: Section) -> None:
    response = PlainTextResponse("fine", headers={"X-Frame-Options": "deny", "Clear-Site-Data": '"*"', "X-Fine": "1"})
    response.set_cookie("grafana_session", "abc")
    response.set_cookie(COOKIE, "stolen", path="/")
    for name, value in (
        ("WWW-Authenticate", "Basic"),
        ("Access-Control-Allow-Origin", "*"),
        ("Service-Worker-Allowed", "/"),
        ("Connection", "X-Private"),
        ("X-Private", "x"),
        ("Content-Security-Policy", "object-src 'none'"),
    ):
        response.headers.append(name, value)
    grafana.answering = response
    answer = section.ask(PANEL)
    names = [name for name, _ in answer.headers]
    for gone in (
        "set-cookie",
        "x-frame-options",
        "clear-site-data",
        "www-authenticate",
        "access-control-allow-origin",
        "service-worker-allowed",
        "x-private",
    ):
        assert gone not in names
    assert answer.header("x-fine") == "1"
    assert answer.header("date")
    policies = [value for name, value in answer.headers if name == "content-security-policy"]
    assert policies == ["object-src 'none'", "frame-ancestors 'self'"]


def test_no_cookie_is_remembered_from_one_request_to_the_next(grafana: StandIn, section: Section) -> None:
    response = PlainTextResponse("fine")
    response.set_cookie("grafana_session", "abc", path="/")
    grafana.answering = response
    for _ in range(2):
        section.ask(PANEL)
    assert [arrived.header("cookie") for arrived in grafana.arrived] == [None, None]


def test_compression_is_left_alone(grafana: StandIn, section: Section) -> None:
    body = gzip.compress(b"a panel" * 1000)
    grafana.answering = Response(body, headers={"Content-Encoding": "gzip"}, media_type="text/css")
    answer = section.ask("/grafana/public/build/app.css", headers={"Accept-Encoding": "gzip;q=0.9, br"})
    assert answer.body == body
    assert answer.header("content-encoding") == "gzip"
    assert answer.header("content-length") == str(len(body))
    assert grafana.arrived[0].header("accept-encoding") == "gzip;q=0.9, br"


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_not_changed_is_not_sent_again(grafana: StandIn, section: Section, status: int) -> None:
    async def unchanged(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"etag", b'"abc"')]})
        await send({"type": "http.response.body"})

    grafana.answering = unchanged
    connection = section.connect()
    for _ in range(3):  # and the connection can be used again
        section.send(connection, "/grafana/public/build/app.js", headers={"If-None-Match": '"abc"'})
        answer = answered(connection.getresponse())
        assert (answer.status, answer.body, answer.header("etag")) == (status, b"", '"abc"')
    connection.close()
    assert grafana.arrived[0].header("if-none-match") == '"abc"'


def test_not_modified_with_the_length_of_what_is_not_sent() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()

    with raw_server(script) as url, analytics(url) as section:
        answer = section.ask("/grafana/public/x.js")
    assert (answer.status, answer.body) == (304, b"")


def test_of_two_ends_the_true_one_counts() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
        )
        await writer.drain()

    with raw_server(script) as url, analytics(url) as section:
        answer = section.ask("/grafana/public/x.js")
    assert (answer.status, answer.body) == (200, b"whole")


def test_a_head_has_no_body_and_says_how_long_it_would_be(grafana: StandIn, section: Section) -> None:
    grafana.answering = PlainTextResponse("twelve bytes")
    connection = section.connect()
    for _ in range(2):
        section.send(connection, PANEL, "HEAD")
        answer = answered(connection.getresponse())
        assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "12")
    connection.close()
    assert [arrived.method for arrived in grafana.arrived] == ["HEAD", "HEAD"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("{grafana}/admin/analytics/grafana/login?x=1#y", "/admin/analytics/grafana/login?x=1#y"),
        ("{grafana}//evil.example/", "/evil.example/"),
        ("/admin/analytics/grafana/login", "/admin/analytics/grafana/login"),
        ("login", "login"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("{grafana}.elsewhere.example/x", "{grafana}.elsewhere.example/x"),
    ],
)
def test_a_redirect_does_not_lead_to_where_only_we_get(
    grafana: StandIn, section: Section, location: str, expected: str
) -> None:
    grafana.answering = RedirectResponse(location.format(grafana=grafana.url), 302)
    answer = section.ask(PANEL)
    assert answer.status == 302
    assert answer.header("location") == expected.format(grafana=grafana.url)
    assert len(grafana.arrived) == 1


def test_the_first_bytes_arrive_before_the_last_are_sent(grafana: StandIn, section: Section) -> None:
    seen = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def in_parts(_: Scope, __: Receive, send: Send) -> None:
        loops.append(asyncio.get_running_loop())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await seen.wait()
        await send({"type": "http.response.body", "body": b"last"})

    grafana.answering = in_parts
    connection = section.connect()
    section.send(connection, PANEL)
    response = connection.getresponse()
    assert response.read(5) == b"first"
    loops[0].call_soon_threadsafe(seen.set)
    assert response.read() == b"last"
    connection.close()


def test_a_large_answer_is_not_held(grafana: StandIn, section: Section) -> None:
    """Grafana is held up by who reads slowly, not our memory: it cannot send 64 MiB to somebody who reads nothing."""
    sent = 0

    async def endless(_: Scope, __: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 64 * 2**20:
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            sent += 65_536
        await send({"type": "http.response.body"})

    grafana.answering = endless
    connection = section.connect()
    connection.connect()
    assert connection.sock is not None
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    section.send(connection, PANEL)
    response = connection.getresponse()
    read = len(response.read(65_536))
    before = -1

    def stands_still() -> bool:
        nonlocal before
        before, still = sent, before == sent
        return still

    until(stands_still, "Grafana is held up")
    assert sent < 32 * 2**20
    while part := response.read(1_000_000):
        read += len(part)
    assert read == 64 * 2**20
    connection.close()


def test_many_requests_at_once_are_all_answered(grafana: StandIn, section: Section) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(scope["query_string"].decode())(scope, receive, send)

    grafana.answering = echo
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: section.ask(f"/grafana/api/annotations?{number}").body, range(200)))
    assert answers == [f'"{number}"'.encode() for number in range(200)]


def test_a_client_that_leaves_ends_the_question(grafana: StandIn, section: Section) -> None:
    left, asked = threading.Event(), threading.Event()

    async def wait(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    grafana.raw = wait
    connection = section.connect()
    section.send(connection, QUERY, "POST", {"Content-Length": "2"})
    connection.send(b"{}")
    assert asked.wait(PATIENCE_SECONDS)
    assert not left.is_set()
    connection.close()
    assert left.wait(PATIENCE_SECONDS)


def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_it(grafana: StandIn, section: Section) -> None:
    left = threading.Event()

    async def endless(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    grafana.raw = endless
    connection = section.connect()
    section.send(connection, PANEL)
    assert connection.getresponse().read(5) == b"first"
    connection.close()
    assert left.wait(PATIENCE_SECONDS)


# Grafana in a bad state


def test_grafana_that_is_down_is_502() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with capture_logs() as events, analytics(f"http://127.0.0.1:{port}") as section:
        for path, method in ((PANEL, "GET"), (QUERY, "POST"), (PANEL, "HEAD")):
            answer = section.ask(path, method)
            assert answer.status == 502
            assert answer.header("content-type") == "application/problem+json"
            assert str(port).encode() not in answer.body
        assert section.proxy.up is False
    assert [event["event"] for event in events] == ["admin.grafana.down"]


def test_grafana_that_never_answers_is_504() -> None:
    async def script(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    with raw_server(script) as url, analytics(url, QUICK) as section, capture_logs() as events:
        answer = section.ask(PANEL)
        assert answer.status == 504
        assert answer.header("content-type") == "application/problem+json"
    assert [event["event"] for event in events] == ["admin.grafana.unanswered"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nBad Header : x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "nonsense", "two lengths", "a bad header", "an upgrade", "a status that is none", "a huge head"],
)
def test_an_answer_that_makes_no_sense_is_502(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    with raw_server(script) as url, analytics(url) as section:
        assert section.ask(PANEL).status == 502


@pytest.mark.parametrize(
    "head", [b"Content-Length: 100\r\n\r\nfirst", b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"]
)
@pytest.mark.parametrize("end", ["closed", "reset", "silent"])
def test_an_answer_that_breaks_off_is_seen_to_be_broken(head: bytes, end: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        await writer.drain()
        if end == "silent":
            await asyncio.Event().wait()
        if end == "reset":
            writer.transport.abort()

    limits = QUICK if end == "silent" else None
    broken = pytest.raises((http.client.IncompleteRead, ConnectionResetError))
    with raw_server(script) as url, analytics(url, limits) as section, capture_logs() as events, broken:
        section.ask(PANEL)
    assert [event["event"] for event in events] == ["admin.grafana.interrupted"]


def test_a_proxy_of_the_environment_is_not_for_grafana(grafana: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with analytics(grafana.url) as section:
        assert section.ask(PANEL).status == 200


def test_a_url_with_a_path_and_a_user_is_an_address_only(grafana: StandIn) -> None:
    url = grafana.url.replace("http://", "http://user:password@") + "/some/path/"
    with analytics(url) as section:
        section.ask(PANEL)
    assert grafana.arrived[0].target == ROOT + PANEL
    assert grafana.arrived[0].header("authorization") is None


def test_the_client_of_an_untrusted_proxy_is_that_proxy(grafana: StandIn) -> None:
    scope = scope_of("/d-solo/x/y", "GET", {"X-Forwarded-For": "10.0.0.1"}, root_path=f"{ROOT}/grafana")
    assert asyncio.run(_status(GrafanaProxy(grafana.url), scope)) == 200
    assert grafana.arrived[0].header("x-forwarded-for") == "192.0.2.7"
