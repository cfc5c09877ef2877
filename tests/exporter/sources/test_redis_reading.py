"""Values of Redis and Valkey: read in steps, each with its key, and without failing on single odd keys."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
import redis

from exporter.sources import redis as source
from exporter.sources.redis import Redis, WrongType, is_wildcard
from tests.exporter.sources.redis_asking import ask, commands, found, passed, rows_of
from tests.rows import keep


def test_a_scan_finds_every_one_of_5000_keys(url: str, valkey: redis.Redis) -> None:
    wanted = {f"ws_sessions:{number}": 1 for number in range(5000)}
    valkey.mset(wanted | {f"other:{number}": 1 for number in range(1000)})
    keys = ask(url, lambda client: found(client, "ws_sessions:*", "ws_*"))
    assert sorted(set(keys)) == sorted(key.encode() for key in wanted)


def test_a_pattern_without_a_wildcard_is_a_key_whether_it_is_there_or_not(url: str, valkey: redis.Redis) -> None:
    valkey.config_resetstat()
    assert ask(url, lambda client: found(client, "b", "a", "b")) == [b"a", b"b"]
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
    assert ask(url, lambda client: found(client)) == []


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
