"""Redis and Valkey as they are asked: read only, in steps, and never as if an odd key were an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from demo.servers import ValkeyServer
from exporter.collectors.online import OnlineNow
from exporter.collectors.queues import Queues
from exporter.collectors.workers import Workers
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import redis as source
from exporter.sources.redis import Redis, WrongType, is_wildcard
from exporter.state import StateFile
from tests.rows import collect, keep

T = TypeVar("T")
Question = Callable[[Redis], Awaitable[Any]]


@pytest.fixture
def url(valkey_server: ValkeyServer, valkey: redis.Redis) -> str:
    """The address of an empty Valkey."""
    return valkey_server.url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Redis]:
    client = Redis(url)
    try:
        yield client
    finally:
        await client.close()


def ask(url: str, question: Callable[[Redis], Awaitable[T]]) -> T:
    """The answer to one question of a client of its own."""

    async def answer() -> T:
        async with opened(url) as client:
            return await question(client)

    return asyncio.run(answer())


def refused(url: str, question: Question, error: type[Exception]) -> tuple[str, bool | None]:
    """The kind of error a question ends with, and whether the server counts as reached then."""

    async def answer() -> tuple[str, bool | None]:
        async with opened(url) as client:
            with pytest.raises(error) as raised:
                await question(client)
            return raised.value.kind, client.reachability.up  # type: ignore[attr-defined]  # both errors have one

    return asyncio.run(answer())


def lengths(client: Redis) -> Awaitable[Any]:
    return client.lengths([b"ai_queue:default"])


# ---- what is read ----


def test_a_scan_finds_every_one_of_5000_keys_once(url: str, valkey: redis.Redis) -> None:
    wanted = {f"ws_sessions:{number}": 1 for number in range(5000)}
    valkey.mset(wanted | {f"other:{number}": 1 for number in range(1000)})
    found = ask(url, lambda client: client.keys(["ws_sessions:*", "ws_*"]))
    assert found == sorted(key.encode() for key in wanted)


def test_a_pattern_without_a_wildcard_is_a_key_whether_it_is_there_or_not(url: str, valkey: redis.Redis) -> None:
    valkey.config_resetstat()
    assert ask(url, lambda client: client.keys(["b", "a", "b"])) == [b"a", b"b"]
    assert not commands(valkey) & {"scan", "exists"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("ai_tasks", False), ("", False), ("ai:*", True), ("ai:?", True), ("ai:[ab]", True), ("ai:a]", False)],
)
def test_a_wildcard_is_what_redis_takes_for_one(pattern: str, expected: bool) -> None:
    assert is_wildcard(pattern) is expected


def test_values_come_in_the_order_of_the_keys_however_many_there_are(url: str, valkey: redis.Redis) -> None:
    keys = [f"q:{number}".encode() for number in range(2 * source.PIPELINE_KEYS + 1)]
    for number, key in enumerate(keys[:1200]):
        if number % 2:
            valkey.rpush(key, *range(number % 7 + 1))
    expected = [(number % 7 + 1) if number % 2 else 0 for number in range(len(keys))]
    assert ask(url, lambda client: client.lengths(keys)) == expected


def test_fields_come_in_the_order_asked_and_are_none_where_missing(url: str, valkey: redis.Redis) -> None:
    keep(valkey, "h", user_id="u", device_type="ipad", extra="x")
    valkey.hset("h", "odd", b"\xff\x00\xc3")
    rows = ask(url, lambda client: client.hashes([b"h", b"gone"], ("device_type", "session_id", "user_id", "odd")))
    assert rows == [("ipad", None, "u", "\ufffd\u2400\ufffd"), (None, None, None, None)]


def test_nothing_asked_is_nothing_answered(url: str) -> None:
    assert ask(url, lambda client: client.hashes([], ("a",))) == []
    assert ask(url, lambda client: client.lengths([])) == []
    assert ask(url, lambda client: client.keys([])) == []


def test_a_key_of_another_type_is_one_value_that_is_missing(url: str, valkey: redis.Redis) -> None:
    valkey.set("string", "x")
    valkey.rpush("list", "x", "y")
    keep(valkey, "hash", user_id="u")

    async def both(client: Redis) -> tuple[Any, Any, bool | None]:
        keys = [b"string", b"list", b"hash", b"gone"]
        return await client.lengths(keys), await client.hashes(keys, ("user_id",)), client.reachability.up

    depths, rows, up = ask(url, both)
    assert isinstance(depths[0], WrongType)
    assert isinstance(depths[2], WrongType)
    assert (depths[1], depths[3]) == (2, 0)
    assert isinstance(rows[0], WrongType)
    assert isinstance(rows[1], WrongType)
    assert (rows[2], rows[3]) == (("u",), (None,))
    assert up is True


def test_the_time_is_the_servers(url: str, valkey: redis.Redis) -> None:
    def server_time() -> float:
        seconds, micro = valkey.time()
        return float(seconds) + micro / 1e6

    before = server_time()
    told = ask(url, lambda client: client.time())
    assert before <= told <= server_time()


# ---- how it is asked ----


def commands(valkey: redis.Redis) -> set[str]:
    """The commands the server has had since its statistics were reset, but those of this check."""
    had = {name.removeprefix("cmdstat_") for name in valkey.info("commandstats")}
    return had - {"info", "config|resetstat", "flushall"}


def test_collectors_scan_and_never_block_or_write(url: str, valkey: redis.Redis, database: str, tmp_path: Path) -> None:
    for number in range(1500):
        keep(valkey, f"ws_sessions:{number}", user_id=number)
        keep(valkey, f"worker:heartbeat:{number}", kind="gpu", last_heartbeat=1)
        valkey.rpush(f"ai_queue:{number}", 1)
    valkey.config_resetstat()
    workers = Workers(
        ["worker:heartbeat:*"], StateFile(tmp_path, "gpu"), None, healthy_seconds=120, forgotten_seconds=86_400
    )
    for collector in (OnlineNow(["ws_sessions:*"]), Queues({"ai": ["ai_queue:*"]}), workers):
        collect(collector, database, url)
    had = commands(valkey)
    assert had >= {"scan", "hmget", "llen", "time"}
    assert had - {"scan", "hmget", "llen", "time"} <= {"hello", "auth", "select", "client|setname", "client|setinfo"}
    assert valkey.info("commandstats")["cmdstat_scan"]["calls"] > 3 * 2


def test_a_connection_has_our_name(url: str, valkey: redis.Redis) -> None:
    async def named(client: Redis) -> list[str]:
        await client.time()
        return [other["name"] for other in await asyncio.to_thread(valkey.client_list)]

    assert "hivesync-analytics" in ask(url, named)


def test_a_connection_that_was_cut_is_replaced(url: str, valkey: redis.Redis) -> None:
    async def twice(client: Redis) -> bool | None:
        await client.keys(["a*"])
        assert await asyncio.to_thread(valkey.client_kill_filter, _type="normal", skipme=True) >= 1
        await client.keys(["a*"])
        await client.time()
        return client.reachability.up

    assert ask(url, twice) is True


# ---- what can go wrong ----


def test_a_server_that_is_not_there_is_refused() -> None:
    assert refused("redis://127.0.0.1:1/0", lengths, SourceUnavailable) == ("refused", False)


@pytest.fixture
def password(valkey: redis.Redis) -> Iterator[str]:
    """What the server wants to hear from new connections while a test runs."""
    valkey.config_set("requirepass", "right")
    yield "right"
    valkey.config_set("requirepass", "")


@pytest.mark.parametrize("user", ["", ":wrong@", "somebody:right@"])
def test_a_server_that_wants_another_password_is_down(user: str, password: str, url: str) -> None:
    del password
    url = url.replace("//", f"//{user}")
    for question in (lengths, lambda client: client.keys(["a*"]), lambda client: client.time()):
        assert refused(url, question, SourceUnavailable) == ("authentication", False)


def test_the_right_password_opens(password: str, url: str) -> None:
    assert ask(url.replace("//", f"//:{password}@"), lengths) == [0]


@pytest.fixture
def reader(url: str, valkey: redis.Redis) -> Iterator[str]:
    """The address for a user who may ask for the lengths of the lists `ai_queue:*`, and for nothing else."""
    valkey.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["ai_queue:*"], commands=["+llen", "+client"])
    yield url.replace("//", "//reader:pw@")
    valkey.acl_deluser("reader")


def test_what_is_forbidden_fails_the_question_and_not_the_source(reader: str) -> None:
    questions: list[Question] = [
        lambda client: client.lengths([b"worker:1"]),
        lambda client: client.hashes([b"ai_queue:stats"], ("processed",)),
        lambda client: client.keys(["ai_queue:*"]),
        lambda client: client.time(),
    ]
    for question in questions:
        assert refused(reader, question, CollectionFailed) == ("no_permission", True)
    assert ask(reader, lengths) == [0]


@asynccontextmanager
async def answering(answer: bytes | None, to: bytes = b"") -> AsyncIterator[str]:
    """A server that gives commands with `to` in them the same answer: nothing at all if it is None, an end if it is
    empty; the others it takes well."""

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
    ("answer", "error", "kind", "up"),
    [
        (b"-LOADING Valkey is loading the dataset in memory\r\n", SourceUnavailable, "loading", False),
        (b"-NOAUTH Authentication required.\r\n", SourceUnavailable, "authentication", False),
        (None, SourceUnavailable, "timeout", False),
        (b"", SourceUnavailable, "connection_lost", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", SourceUnavailable, "connection_lost", False),
        (b"-MASTERDOWN Link with MASTER is down\r\n", CollectionFailed, "command_refused", True),
        (b"-ERR unknown command\r\n", CollectionFailed, "command_refused", True),
    ],
    ids=["loading", "no password", "hangs", "hangs up", "is no Redis", "has no master", "does not know the command"],
)
def test_a_server_that_is_no_use_is_said_by_kind(
    answer: bytes | None,
    error: type[Exception],
    kind: str,
    up: bool,
    to: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "COMMAND_SECONDS", 0.2)

    async def attempt() -> tuple[str, bool | None]:
        async with answering(answer, to) as url, opened(url) as client, asyncio.timeout(5):
            with pytest.raises(error) as raised:
                await lengths(client)
            return raised.value.kind, client.reachability.up  # type: ignore[attr-defined]  # both errors have one

    assert asyncio.run(attempt()) == (kind, up)


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
