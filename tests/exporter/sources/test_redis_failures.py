"""Failures of Redis and Valkey by kind, before a connection, at a command and in a pass over keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import uvloop

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import redis as source
from exporter.sources.redis import Redis
from servers.proxy import Proxy
from servers.valkey import ValkeyServer
from tests.exporter.sources.redis_asking import Question, ask, found, lengths, opened, passed, refused, rows_of
from tests.rows import keep
from tests.waiting import bounded, patience, until_async


def test_a_server_that_is_not_there_is_refused() -> None:
    assert refused("redis://127.0.0.1:1/0", lengths, SourceUnavailable) == ("refused", False)


@pytest.fixture
def password(valkey: redis.Redis, valkey_server: ValkeyServer) -> Iterator[str]:
    """The password that the server requires of new connections during a test."""
    valkey.config_set("requirepass", "right")
    yield "right"
    valkey.config_set("requirepass", valkey_server.password)


@pytest.mark.parametrize("user", ["", ":wrong@", "somebody:right@"])
def test_a_server_that_wants_another_password_is_down(user: str, password: str, url: str) -> None:
    del password
    url = f"redis://{user}{url.partition('@')[2]}"
    for question in (lengths, lambda client: found(client, "a*"), lambda client: client.time()):
        assert refused(url, question, SourceUnavailable) == ("authentication", False)


def test_the_right_password_opens(password: str, url: str) -> None:
    assert ask(f"redis://:{password}@{url.partition('@')[2]}", lengths) == [0]


@pytest.fixture
def reader(valkey_server: ValkeyServer, valkey: redis.Redis) -> Iterator[str]:
    """The URL of a user with the right to LLEN on `ai_queue:*`, and no other."""
    valkey.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["ai_queue:*"], commands=["+llen", "+client"])
    yield valkey_server.url_of("reader", "pw")
    valkey.acl_deluser("reader")


def test_what_is_forbidden_fails_the_question_and_not_the_source(reader: str) -> None:
    questions: list[Question] = [
        lambda client: client.lengths([b"worker:1"]),
        lambda client: client.hashes([b"ai_queue:stats"], ("processed",)),
        lambda client: found(client, "ai_queue:*"),
        lambda client: client.time(),
        lambda client: passed(client, "ai_queue:*"),
        lambda client: passed(client, "ai_queue:stats"),
    ]
    for question in questions:
        assert refused(reader, question, CollectionFailed) == ("no_permission", True)
    assert ask(reader, lengths) == [0]


@asynccontextmanager
async def answering(answer: bytes | None, to: bytes = b"") -> AsyncIterator[str]:
    """A server with one answer for all commands that contain `to`: none at all for None, the end of the connection for
    empty bytes; all other commands succeed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(10_000):
            said = answer if to in asked else b"+OK\r\n"
            if said == b"":
                break
            writer.write((said or b"") * asked.count(b"*"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize("to", [b"", b"LLEN"], ids=["at once", "once connected"])
@pytest.mark.parametrize(
    ("answer", "once_connected", "kind", "up"),
    [
        (b"-LOADING Valkey is loading the dataset in memory\r\n", SourceUnavailable, "loading", False),
        (b"-NOAUTH Authentication required.\r\n", SourceUnavailable, "authentication", False),
        (None, SourceUnavailable, "timeout", False),
        (b"", SourceUnavailable, "connection_lost", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", SourceUnavailable, "connection_lost", False),
        (b"-MASTERDOWN Link with MASTER is down\r\n", SourceUnavailable, "master_down", False),
        (b"-BUSY Redis is busy running a script.\r\n", SourceUnavailable, "busy", False),
        (b"-CLUSTERDOWN The cluster is down\r\n", SourceUnavailable, "cluster_down", False),
        (b"-ERR unknown command\r\n", CollectionFailed, "command_refused", True),
    ],
    ids=[
        "loading",
        "no password",
        "hangs",
        "hangs up",
        "is no Redis",
        "has no master",
        "runs a script",
        "is no whole cluster",
        "does not know the command",
    ],
)
def test_a_server_that_is_no_use_is_said_by_kind(
    answer: bytes | None,
    once_connected: type[Exception],
    kind: str,
    up: bool,
    to: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that refuses every connection is down, with any answer."""
    monkeypatch.setattr(source, "COMMAND_SECONDS", patience(0.2) if answer is None else patience())
    error = once_connected if to else SourceUnavailable

    async def attempt() -> tuple[str, bool | None]:
        async with answering(answer, to) as url, opened(url) as client, bounded():
            with pytest.raises(error) as raised:
                await lengths(client)
            return raised.value.kind, client.reachability.up  # type: ignore[attr-defined]  # both errors have one

    assert asyncio.run(attempt()) == (kind, up and bool(to))


@pytest.mark.parametrize(
    ("after", "error", "kind", "up"),
    [
        (b"", SourceUnavailable, "connection_lost", False),
        (b"*1\r\n$3\r\nab", SourceUnavailable, "connection_lost", False),
        (b"HTTP/1.1 400 Bad Request\r\n", SourceUnavailable, "connection_lost", False),
        (b"-LOADING Valkey is loading the dataset in memory\r\n", SourceUnavailable, "loading", False),
        (b"-NOAUTH Authentication required.\r\n", SourceUnavailable, "authentication", False),
        (b"-MASTERDOWN Link with MASTER is down\r\n", SourceUnavailable, "master_down", False),
        (b"-BUSY Redis is busy running a script.\r\n", SourceUnavailable, "busy", False),
        (b":7\r\n:7\r\n", SourceUnavailable, "not_understood", False),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", CollectionFailed, "command_refused", True),
        (b"-NOPERM User has no permissions\r\n", CollectionFailed, "no_permission", True),
        (None, SourceUnavailable, "timeout", False),
    ],
    ids=[
        "ends",
        "ends within an answer",
        "garbage",
        "loading",
        "no password",
        "has no master",
        "runs a script",
        "answers something else",
        "moved",
        "forbidden",
        "hangs",
    ],
)
@pytest.mark.parametrize("well", [1, 2, 4, 5], ids=["at SCAN 2", "at a key", "at SCAN 3", "at a later key"])
def test_a_pass_that_breaks_off_is_said_by_kind_wherever_it_does(
    well: int,
    after: bytes | None,
    error: type[Exception],
    kind: str,
    up: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server of three keys that fails after that many commands of a pass: SCAN, SCAN, HMGET, HMGET, SCAN, HMGET."""
    monkeypatch.setattr(source, "COMMAND_SECONDS", patience(0.2) if after is None else patience())
    keys = {b"0": b"*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"7": b"*2\r\n$1\r\n8\r\n*1\r\n$1\r\nc\r\n"}
    answers = {**keys, b"8": b"*2\r\n$1\r\n0\r\n*0\r\n"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = well
        while words := await command(reader):
            if words[0] not in {b"SCAN", b"HMGET"}:
                writer.write(b"+OK\r\n")
            elif left:
                left -= 1
                writer.write(answers[words[1]] if words[0] == b"SCAN" else b"*1\r\n$1\r\nu\r\n")
            elif after is not None:
                writer.write(after)
                if not after.startswith(b"-"):
                    break
        writer.close()

    async def attempt() -> tuple[str, bool | None]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        async with server, opened(url) as client, bounded():
            with pytest.raises(error) as raised:
                await passed(client, "*")
            return raised.value.kind, client.reachability.up  # type: ignore[attr-defined]  # both errors have one

    assert asyncio.run(attempt()) == (kind, up)


async def command(reader: asyncio.StreamReader) -> list[bytes]:
    """The next command of a client; empty at its end."""
    try:
        words = []
        for _ in range(int((await reader.readuntil(b"\r\n"))[1:])):
            length = int((await reader.readuntil(b"\r\n"))[1:])
            words.append((await reader.readexactly(length + 2))[:-2])
    except (asyncio.IncompleteReadError, ConnectionError):
        return []
    return words


def test_a_server_that_hangs_in_a_pass_is_given_up_and_asked_again_later(
    url: str, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "COMMAND_SECONDS", patience(0.2))
    for number in range(1_000):
        keep(valkey, f"k:{number}", user_id=number)

    async def is_paused_in_a_pass(client: Redis) -> None:
        async with aclosing(client.all_hashes(["k:*"], ("user_id",))) as batches:
            await anext(batches)
            await asyncio.to_thread(valkey.client_pause, round(patience(1_000)))
            async for _ in batches:
                pass

    async def outage(client: Redis) -> int:
        async with bounded():
            with pytest.raises(SourceUnavailable, match="timeout"):
                await is_paused_in_a_pass(client)
            while True:
                with suppress(SourceUnavailable):
                    return len(rows_of(await passed(client, "k:*")))

    assert ask(url, outage) == 1_000


def test_a_unix_socket_is_read_in_the_same_way(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await command(reader):
            writer.write(b":3\r\n" if words[0] == b"LLEN" else b"+OK\r\n")
        writer.close()

    async def attempt() -> Any:
        path = tmp_path / "s"
        server = await asyncio.start_unix_server(serve, path)
        async with server, opened(f"unix://{path}") as client:
            return await client.lengths([b"a", b"b"])

    assert asyncio.run(attempt()) == [3, 3]


def test_a_rediss_url_speaks_tls() -> None:
    heard = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(3))
        writer.close()

    async def attempt() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, opened(f"rediss://127.0.0.1:{port}/0") as client:
            with pytest.raises(SourceUnavailable, match="connection_lost"):
                await lengths(client)

    asyncio.run(attempt())
    assert [hello[:2] for hello in heard] == [b"\x16\x03"], "no TLS handshake"


def test_a_server_that_was_down_is_up_again_with_the_next_answer(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)

    async def outage(client: Redis) -> list[tuple[bool | None, str | None]]:
        seen = []
        for change in (server.start, server.kill, server.start):
            await asyncio.to_thread(change)
            with suppress(SourceUnavailable):
                await client.time()
            seen.append((client.reachability.up, client.reachability.error))
        return seen

    try:
        assert ask(server.url, outage) == [(True, None), (False, "refused"), (True, None)]
    finally:
        server.stop()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_connections_that_are_reset_while_idle_are_replaced(url: str, run: Callable[[Any], object]) -> None:
    """As by a firewall: the server itself never went away."""

    async def ask_again() -> None:
        async with opened(url.replace(f":{server}/", f":{proxy.port}/")) as client:
            await asyncio.gather(*(client.time() for _ in range(3)))
            idle: list[Any] = list(client._pool._available_connections)
            assert len(idle) == 3
            await asyncio.to_thread(proxy.switch, server)
            await until_async(lambda: all(each._reader and each._reader.exception() for each in idle), "three resets")
            await asyncio.gather(*(client.time() for _ in range(3)))
            assert client.reachability.up

    server = urlsplit(url).port or 0
    with Proxy(server) as proxy:
        run(ask_again())
