"""Keys and values of Redis that are larger than any of HiveSync's: read in part or skipped, and never all at once."""

from __future__ import annotations

import pytest
import redis

from exporter.errors import CollectionFailed
from exporter.sources import redis_batches
from exporter.sources.redis import Redis, TooLarge
from exporter.sources.redis_batches import ANSWER_BYTES
from tests.exporter.sources.redis_asking import ask, found, passed, refused, rows_of
from tests.rows import keep

LARGE = "x" * (ANSWER_BYTES + 200_000)


def test_a_value_that_is_too_large_is_skipped_alone(url: str, valkey: redis.Redis) -> None:
    keys = [b"h:%03d" % number for number in range(200)]
    for key in keys:
        keep(valkey, key.decode(), user_id="u")
    for number in (7, 8, 150):
        keep(valkey, f"h:{number:03}", session_id=LARGE)
    rows = ask(url, lambda client: client.hashes(keys, ("user_id", "session_id")))
    assert [number for number, row in enumerate(rows) if isinstance(row, TooLarge)] == [7, 8, 150]
    assert {row for row in rows if not isinstance(row, TooLarge)} == {("u", None)}


def test_values_that_are_too_large_together_are_read_one_by_one(url: str, valkey: redis.Redis) -> None:
    keys = [b"h:%d" % number for number in range(5)]
    for key in keys:
        keep(valkey, key.decode(), user_id="u" * (ANSWER_BYTES // 2))
    rows = ask(url, lambda client: client.hashes(keys, ("user_id",)))
    assert rows == [("u" * 1_000 + "\u2026",)] * 5


def test_a_pass_skips_only_the_keys_with_large_values(url: str, valkey: redis.Redis) -> None:
    for number in range(1_000):
        keep(valkey, f"ws:{number}", user_id=number)
    for key in ("ws:17", "named"):
        keep(valkey, key, user_id=LARGE)
    batches = ask(url, lambda client: passed(client, "ws:*", "named"))
    expected = {(b"ws:%d" % number, b"%d" % number) for number in range(1_000) if number != 17}
    assert {(key, value) for key, (value,) in rows_of(batches)} == expected
    assert {key for batch in batches for key in batch.wrong_type} == {b"ws:17", b"named"}


def test_a_scan_takes_smaller_steps_where_names_are_long(url: str, valkey: redis.Redis) -> None:
    names = [b"k:%d:" % number + b"x" * (ANSWER_BYTES // 100) for number in range(300)]
    for name in names:
        valkey.set(name, "x")
    assert set(ask(url, lambda client: found(client, "k:*"))) == set(names)


def test_a_name_that_is_too_long_fails_the_question(
    url: str, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_batches, "ANSWER_BYTES", 100_000)
    valkey.set("k:" + "x" * 1_000_000, "x")
    for question in (lambda client: found(client, "k:*"), lambda client: passed(client, "k:*")):
        assert refused(url, question, CollectionFailed) == ("too_large", True)


def test_a_server_is_asked_again_after_an_answer_that_was_too_large(url: str, valkey: redis.Redis) -> None:
    keep(valkey, "h", user_id=LARGE)
    valkey.rpush("q", "x")

    async def both(client: Redis) -> tuple[object, object]:
        (row,) = await client.hashes([b"h"], ("user_id",))
        return row, await client.lengths([b"q"])

    row, lengths = ask(url, both)
    assert isinstance(row, TooLarge)
    assert lengths == [1]
