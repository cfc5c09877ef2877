"""Requests to Redis and Valkey: read only, in steps, and without failing on single odd keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from exporter.collectors.online import OnlineNow
from exporter.collectors.queues import Queues
from exporter.collectors.workers import Workers
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import redis as source
from exporter.sources.redis import Hashes, Redis, WrongType, is_wildcard
from exporter.state import StateFile
from servers.valkey import ValkeyServer
from tests.rows import collect, keep
from tests.waiting import bounded, patience

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
    """The answer to one question of a new client."""

    async def answer() -> T:
        async with opened(url) as client:
            return await question(client)

    return asyncio.run(answer())


def refused(url: str, question: Question, error: type[Exception]) -> tuple[str, bool | None]:
    """The kind of error of a question, and whether the server then counts as reached."""

    async def answer() -> tuple[str, bool | None]:
        async with opened(url) as client:
            with pytest.raises(error) as raised:
                await question(client)
            return raised.value.kind, client.reachability.up  # type: ignore[attr-defined]  # both errors have one

    return asyncio.run(answer())


def lengths(client: Redis) -> Awaitable[Any]:
    return client.lengths([b"ai_queue:default"])


async def passed(client: Redis, *patterns: str, fields: Sequence[str] = ("user_id",)) -> list[Hashes]:
    """All batches of a pass."""
    async with aclosing(client.all_hashes(patterns, fields)) as batches:
        return [batch async for batch in batches]


def rows_of(batches: Sequence[Hashes]) -> list[tuple[bytes, list[bytes | None]]]:
    """The keys of a pass with their values, sorted."""
    return sorted((key, list(row)) for batch in batches for key, row in zip(batch.keys, batch.rows, strict=True))


# ---- reading ----


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


@pytest.mark.parametrize("number", [0, 1, 124, 125, 126, 250, 3_000])
def test_a_pass_reads_every_hash_with_its_own_values(number: int, url: str, valkey: redis.Redis) -> None:
    for index in range(number):
        keep(valkey, f"ws_sessions:{index}", user_id=f"user {index}")
        valkey.set(f"other:{index}", "x")
    batches = ask(url, lambda client: passed(client, "ws_sessions:*", fields=("session_id", "user_id")))
    assert rows_of(batches) == sorted((b"ws_sessions:%d" % i, [None, b"user %d" % i]) for i in range(number))
    assert all(batch.keys for batch in batches)
    assert not any(batch.wrong_type for batch in batches)


def test_a_pass_is_read_in_batches_that_another_client_can_wait_for(url: str, valkey: redis.Redis) -> None:
    """Valkey returns about as many keys per SCAN as its COUNT."""
    valkey.mset({f"k:{number}": 1 for number in range(5_000)})
    sizes = [len(batch.wrong_type) for batch in ask(url, lambda client: passed(client, "k:*"))]
    assert sum(sizes) == 5_000
    assert max(sizes) < 2 * source.PIPELINE_KEYS


def test_a_pass_reads_keys_that_are_named_whether_they_exist_or_not(url: str, valkey: redis.Redis) -> None:
    keep(valkey, "a", user_id="u")
    named = [f"gone:{number}" for number in range(source.PIPELINE_KEYS)]
    expected = [(b"a", [b"u"]), *((name.encode(), [None]) for name in sorted(named))]
    valkey.config_resetstat()
    assert rows_of(ask(url, lambda client: passed(client, "a", *named, "a"))) == expected
    assert "scan" not in commands(valkey)
    assert rows_of(ask(url, lambda client: passed(client))) == []


def test_every_pattern_has_its_pass_even_over_the_same_keys(url: str, valkey: redis.Redis) -> None:
    for key in ("a:1", "a:2", "b:1"):
        keep(valkey, key, user_id=key)
    batches = ask(url, lambda client: passed(client, "a:*", "b:*", "*:1", "b:1"))
    assert [key for key, _ in rows_of(batches)] == [b"a:1", b"a:1", b"a:2", b"b:1", b"b:1", b"b:1"]


def test_in_a_pass_a_key_of_another_type_stands_apart(url: str, valkey: redis.Redis) -> None:
    valkey.set("k:string", "x")
    valkey.rpush("k:list", "x")
    keep(valkey, "k:hash", user_id="u")
    batches = ask(url, lambda client: passed(client, "k:*"))
    assert rows_of(batches) == [(b"k:hash", [b"u"])]
    assert sorted(key for batch in batches for key in batch.wrong_type) == [b"k:list", b"k:string"]


def test_in_a_pass_a_value_is_the_bytes_that_are_there(url: str, valkey: redis.Redis) -> None:
    key, value = b"k:\xff\r\n$3\r\nKEY\r\n", b"\x00\xff\r\n*1"
    valkey.hset(key, "user_id", value)
    assert rows_of(ask(url, lambda client: passed(client, "k:*"))) == [(key, [value])]


def test_others_have_their_turn_while_a_pass_is_read(url: str, valkey: redis.Redis) -> None:
    for number in range(5_000):
        keep(valkey, f"k:{number}", user_id="u")

    async def turns(client: Redis) -> list[int]:
        turn = 0

        async def other() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async with aclosing(client.all_hashes(["k:*"], ("user_id",))) as batches:
            seen = [turn async for _ in batches]
        task.cancel()
        return seen

    seen = ask(url, turns)
    assert len(seen) >= 5_000 / (2 * source.PIPELINE_KEYS)
    assert len(set(seen)) == len(seen)


def test_the_time_is_the_servers(url: str, valkey: redis.Redis) -> None:
    def server_time() -> float:
        seconds, micro = valkey.time()
        return float(seconds) + micro / 1e6

    before = server_time()
    told = ask(url, lambda client: client.time())
    assert before <= told <= server_time()


# ---- commands ----


def commands(valkey: redis.Redis) -> set[str]:
    """The commands that the server received since the reset of its statistics, except those of this function."""
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


def connections(valkey: redis.Redis) -> int:
    """The number of connections of the exporter to the server."""
    return sum(other["name"] == "hivesync-analytics" for other in valkey.client_list())


async def ends_early(client: Redis) -> None:
    async with aclosing(client.all_hashes(["ws_sessions:*"], ("user_id",))) as batches:
        async for _ in batches:
            return


async def is_cancelled(client: Redis) -> None:
    reading = asyncio.create_task(passed(client, "ws_sessions:*"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


async def cannot_use_what_it_reads(client: Redis) -> None:
    with suppress(ZeroDivisionError):
        async with aclosing(client.all_hashes(["ws_sessions:*"], ("user_id",))) as batches:
            async for _ in batches:
                raise ZeroDivisionError


@pytest.mark.parametrize("stops", [ends_early, is_cancelled, cannot_use_what_it_reads])
def test_answers_that_nobody_read_are_given_to_nobody_else(
    stops: Callable[[Redis], Awaitable[None]], url: str, valkey: redis.Redis
) -> None:
    """The pass is abandoned with requests pending at the server."""
    for number in range(3_000):
        keep(valkey, f"ws_sessions:{number}", user_id=number)
    valkey.rpush("ai_queue:default", 1, 2)

    async def question(client: Redis) -> tuple[Any, ...]:
        for _ in range(5):
            await stops(client)
        return await lengths(client), len(rows_of(await passed(client, "ws_sessions:*"))), await client.keys(["ai_*"])

    assert ask(url, question) == ([2], 3_000, [b"ai_queue:default"])


def test_one_connection_is_kept_from_question_to_question(url: str, valkey: redis.Redis) -> None:
    async def questions(client: Redis) -> int:
        for _ in range(3):
            await passed(client, "a*")
            await lengths(client)
            await client.keys(["a*"])
            await client.time()
        return await asyncio.to_thread(connections, valkey)

    valkey.config_resetstat()
    assert ask(url, questions) == 1
    assert valkey.info("stats")["total_connections_received"] == 1


# ---- failures ----


def test_a_server_that_is_not_there_is_refused() -> None:
    assert refused("redis://127.0.0.1:1/0", lengths, SourceUnavailable) == ("refused", False)


@pytest.fixture
def password(valkey: redis.Redis) -> Iterator[str]:
    """The password that the server requires of new connections during a test."""
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
    """The URL of a user with the right to LLEN on `ai_queue:*`, and no other."""
    valkey.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["ai_queue:*"], commands=["+llen", "+client"])
    yield url.replace("//", "//reader:pw@")
    valkey.acl_deluser("reader")


def test_what_is_forbidden_fails_the_question_and_not_the_source(reader: str) -> None:
    questions: list[Question] = [
        lambda client: client.lengths([b"worker:1"]),
        lambda client: client.hashes([b"ai_queue:stats"], ("processed",)),
        lambda client: client.keys(["ai_queue:*"]),
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
        (b"-MASTERDOWN Link with MASTER is down\r\n", CollectionFailed, "command_refused", True),
        (b"-ERR unknown command\r\n", CollectionFailed, "command_refused", True),
    ],
    ids=["loading", "no password", "hangs", "hangs up", "is no Redis", "has no master", "does not know the command"],
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
        (b"-MOVED 3999 127.0.0.1:6381\r\n", CollectionFailed, "command_refused", True),
        (b"-NOPERM User has no permissions\r\n", CollectionFailed, "no_permission", True),
        (None, SourceUnavailable, "timeout", False),
    ],
    ids=["ends", "ends within an answer", "garbage", "loading", "no password", "moved", "forbidden", "hangs"],
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
