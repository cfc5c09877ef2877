"""The proxy while Grafana is down, silent or invalid."""

from __future__ import annotations

import asyncio
import http.client
import socket

import pytest
from structlog.testing import capture_logs

from tests.admin.grafana.standing_in import (
    PANEL,
    QUERY,
    analytics,
    quick,
    raw_server,
)


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


def test_grafana_without_a_response_is_504() -> None:
    async def script(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    with raw_server(script) as url, analytics(url, quick()) as section, capture_logs() as events:
        answer = section.ask(PANEL)
        assert answer.status == 504
        assert answer.header("content-type") == "application/problem+json"
    assert [event["event"] for event in events] == ["admin.grafana.unanswered"]


@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize(
    ("path", "method", "second"), [(PANEL, "GET", 200), (PANEL, "HEAD", 200), (QUERY, "POST", 502)]
)
def test_a_connection_that_is_closed_as_it_is_used_again_is_replaced_for_reading(
    path: str, method: str, second: int, end: str
) -> None:
    """Close the connection on the arrival of a request, like a Grafana that closes an idle connection at that
    moment."""
    heard: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(heard)
        heard.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        heard[connection] += 1
        if end == "reset":
            writer.transport.abort()

    with raw_server(script) as url, analytics(url) as section:
        assert section.ask(PANEL).status == 200
        assert section.ask(path, method).status == second
    assert heard == ([2, 1] if second == 200 else [2])


def test_a_new_connection_that_is_closed_without_an_answer_is_not_replaced() -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    with raw_server(script) as url, analytics(url) as section:
        assert section.ask(PANEL).status == 502
    assert connections == 1


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
def test_an_invalid_response_is_502(answer: bytes) -> None:
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
def test_an_interrupted_response_stays_incomplete(head: bytes, end: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        await writer.drain()
        if end == "silent":
            await asyncio.Event().wait()
        if end == "reset":
            writer.transport.abort()

    limits = quick() if end == "silent" else None
    broken = pytest.raises((http.client.IncompleteRead, ConnectionResetError))
    with raw_server(script) as url, analytics(url, limits) as section, capture_logs() as events, broken:
        section.ask(PANEL)
    # The server may log a response that it has cut off: ASGI has no other way to request the cut.
    ours = [event["event"] for event in events if event["event"].startswith("admin.grafana.")]
    assert ours == ["admin.grafana.interrupted"]
