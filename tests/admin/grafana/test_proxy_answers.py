"""The proxy between real servers: responses of a Grafana that works."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from admin.access.sessions import COOKIE
from tests.admin.grafana.standing_in import (
    PANEL,
    QUERY,
    ServedSection,
    StandIn,
    analytics,
    answered,
    raw_server,
)
from tests.waiting import patience, until


def test_a_response_is_passed_on_unchanged(grafana: StandIn, section: ServedSection) -> None:
    headers = {"Cache-Control": "private, max-age=31536000", "ETag": '"abc"', "Vary": "Accept", "Expires": "0"}
    grafana.answering = PlainTextResponse("nothing here", 404, headers)
    answer = section.ask("/grafana/public/build/app.js")
    assert (answer.status, answer.body) == (404, b"nothing here")
    for name, value in headers.items():
        assert answer.header(name.lower()) == value
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert answer.header("content-length") == "12"


def test_harmful_headers_and_cookies_are_removed(grafana: StandIn, section: ServedSection) -> None:
    response = PlainTextResponse("fine", headers={"X-Frame-Options": "deny", "Clear-Site-Data": '"*"', "Expires": "1"})
    response.set_cookie("grafana_session", "abc")
    response.set_cookie(COOKIE, "stolen", path="/")
    for name, value in (
        ("WWW-Authenticate", "Basic"),
        ("Access-Control-Allow-Origin", "*"),
        ("Service-Worker-Allowed", "/"),
        ("Connection", "X-Private"),
        ("X-Private", "x"),
        # These speak for the whole origin, of which Grafana is a guest.
        ("Strict-Transport-Security", "max-age=0"),
        ("Alt-Svc", 'h3="evil.example:443"'),
        ("NEL", '{"report_to": "x", "max_age": 1}'),
        ("Report-To", '{"group": "x"}'),
        ("Reporting-Endpoints", 'x="https://evil.example/"'),
        ("Refresh", "0; url=https://evil.example/"),
        ("Set-Cookie2", "x=y"),
        ("Set-Login", "logged-in"),
        ("Public-Key-Pins", "max-age=1"),
        ("Origin-Agent-Cluster", "?1"),
        ("Accept-CH", "DPR"),
        ("Link", "<https://evil.example/x.js>; rel=preload"),
        ("SourceMap", "https://evil.example/x.map"),
        ("Content-Security-Policy-Report-Only", "default-src 'none'; report-uri https://evil.example/"),
        ("X-Next-Version", "x"),
        ("Content-Security-Policy", "object-src 'none'"),
    ):
        response.headers.append(name, value)
    grafana.answering = response
    answer = section.ask(PANEL)
    names = sorted({name for name, _ in answer.headers})
    assert names == [
        "content-length",
        "content-security-policy",
        "content-type",
        "cross-origin-resource-policy",
        "date",
        "expires",
        "referrer-policy",
        "x-content-type-options",
    ]
    assert answer.header("expires") == "1"
    assert answer.header("date")
    policies = [value for name, value in answer.headers if name == "content-security-policy"]
    assert policies == ["object-src 'none'", "frame-ancestors 'self'"]


def test_no_cookie_is_remembered_from_one_request_to_the_next(grafana: StandIn, section: ServedSection) -> None:
    response = PlainTextResponse("fine")
    response.set_cookie("grafana_session", "abc", path="/")
    grafana.answering = response
    for _ in range(2):
        section.ask(PANEL)
    assert [arrived.header("cookie") for arrived in grafana.arrived] == [None, None]


def test_compression_is_left_alone(grafana: StandIn, section: ServedSection) -> None:
    body = gzip.compress(b"a panel" * 1000)
    grafana.answering = Response(body, headers={"Content-Encoding": "gzip"}, media_type="text/css")
    answer = section.ask("/grafana/public/build/app.css", headers={"Accept-Encoding": "gzip;q=0.9, br"})
    assert answer.body == body
    assert answer.header("content-encoding") == "gzip"
    assert answer.header("content-length") == str(len(body))
    assert grafana.arrived[0].header("accept-encoding") == "gzip;q=0.9, br"


@pytest.mark.parametrize("status", [204, 304])
def test_unchanged_content_is_not_sent_again(grafana: StandIn, section: ServedSection, status: int) -> None:
    async def unchanged(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"etag", b'"abc"')]})
        await send({"type": "http.response.body"})

    grafana.answering = unchanged
    with section.connect() as connection:
        for _ in range(3):  # and the connection can be used again
            section.send(connection, "/grafana/public/build/app.js", headers={"If-None-Match": '"abc"'})
            answer = answered(connection.getresponse())
            assert (answer.status, answer.body, answer.header("etag")) == (status, b"", '"abc"')
    assert grafana.arrived[0].header("if-none-match") == '"abc"'


def test_the_length_of_a_304_is_removed() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()

    with raw_server(script) as url, analytics(url) as section, section.connect() as connection:
        connection.connect()
        first = connection.sock
        for _ in range(2):  # the second on the same connection: the first has an end
            section.send(connection, "/grafana/public/x.js")
            answer = answered(connection.getresponse())
            assert (answer.status, answer.body) == (304, b"")
            assert connection.sock is first


def test_chunked_takes_precedence_over_a_length() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
        )
        await writer.drain()

    with raw_server(script) as url, analytics(url) as section:
        answer = section.ask("/grafana/public/x.js")
    assert (answer.status, answer.body) == (200, b"whole")


def test_head_has_the_length_and_no_body(grafana: StandIn, section: ServedSection) -> None:
    grafana.answering = PlainTextResponse("twelve bytes")
    with section.connect() as connection:
        for _ in range(2):
            section.send(connection, PANEL, "HEAD")
            answer = answered(connection.getresponse())
            assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "12")
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
def test_a_redirect_never_has_grafanas_private_address(
    grafana: StandIn, section: ServedSection, location: str, expected: str
) -> None:
    grafana.answering = RedirectResponse(location.format(grafana=grafana.url), 302)
    answer = section.ask(PANEL)
    assert answer.status == 302
    assert answer.header("location") == expected.format(grafana=grafana.url)
    assert len(grafana.arrived) == 1


def test_the_first_bytes_arrive_before_the_last_are_sent(grafana: StandIn, section: ServedSection) -> None:
    seen = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def in_parts(_: Scope, __: Receive, send: Send) -> None:
        loops.append(asyncio.get_running_loop())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await seen.wait()
        await send({"type": "http.response.body", "body": b"last"})

    grafana.answering = in_parts
    with section.connect() as connection:
        section.send(connection, PANEL)
        response = connection.getresponse()
        assert response.read(5) == b"first"
        loops[0].call_soon_threadsafe(seen.set)
        assert response.read() == b"last"


def test_a_large_response_is_not_buffered(grafana: StandIn, section: ServedSection) -> None:
    """A client that reads nothing stops Grafana, and fills no memory: Grafana cannot send 64 MiB."""
    sent = 0

    async def endless(_: Scope, __: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 64 * 2**20:
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            sent += 65_536
        await send({"type": "http.response.body"})

    grafana.answering = endless
    with section.connect() as connection:
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


def test_many_concurrent_requests_are_served(grafana: StandIn, section: ServedSection) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(scope["query_string"].decode())(scope, receive, send)

    grafana.answering = echo
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: section.ask(f"/grafana/api/annotations?{number}").body, range(200)))
    assert answers == [f'"{number}"'.encode() for number in range(200)]


def test_a_disconnect_cancels_the_request(grafana: StandIn, section: ServedSection) -> None:
    left, asked = threading.Event(), threading.Event()

    async def wait(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    grafana.raw = wait
    with section.connect() as connection:
        section.send(connection, QUERY, "POST", {"Content-Length": "2"})
        connection.send(b"{}")
        assert asked.wait(patience())
        assert not left.is_set()
        connection.close()
        assert left.wait(patience())


def test_a_disconnect_during_the_response_cancels_it(grafana: StandIn, section: ServedSection) -> None:
    left = threading.Event()

    async def endless(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    grafana.raw = endless
    with section.connect() as connection:
        section.send(connection, PANEL)
        assert connection.getresponse().read(5) == b"first"
        connection.close()
        assert left.wait(patience())
