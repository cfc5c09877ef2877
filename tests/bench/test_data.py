"""The data of the bench: made-up rows, keys and lines, the same in every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import psycopg
import pytest
import redis

from bench import data, log_file, sockets
from bench.log_readers import WAYS
from bench.parts.logs import miscounted
from bench.peers import check, queries
from demo.database import EXPORTER_ROLE
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer

SHAPE = data.Shape(users=200, ai_events=2_000)
ROWS = "SELECT id, user_id, model, created_at - (SELECT min(created_at) FROM ai_usage_events) FROM ai_usage_events"


@pytest.fixture(scope="module")
def made(postgres_server: PostgresServer) -> Iterator[data.Database]:
    """A small database."""
    yield data.create(postgres_server, "bench_made", SHAPE, seed=3)
    _drop(postgres_server, "bench_made")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {EXPORTER_ROLE}".encode())  # other tests create the role themselves


def _drop(server: PostgresServer, name: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def rows(database: data.Database, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database.url) as connection:
        return sorted(connection.execute(query.encode()).fetchall(), key=repr)


def test_the_same_seed_makes_the_same_rows_and_another_one_others(
    postgres_server: PostgresServer, made: data.Database
) -> None:
    again = data.create(postgres_server, "bench_again", SHAPE, seed=3)
    other = data.create(postgres_server, "bench_other", SHAPE, seed=4)
    try:
        assert len(rows(made, ROWS)) == 2_000
        assert rows(made, ROWS) == rows(again, ROWS)
        assert rows(made, ROWS) != rows(other, ROWS)
    finally:
        _drop(postgres_server, "bench_again")
        _drop(postgres_server, "bench_other")


def test_the_longer_history_is_older_rows_at_the_same_rate_with_all_indexes(
    postgres_server: PostgresServer, made: data.Database
) -> None:
    longer = data.with_history(made, "bench_longer")
    try:
        a_tenth = "SELECT floor(extract(epoch FROM max(created_at) OVER () - created_at) / 2592000) FROM {}"
        for table in data.EVENTS:
            (counts,) = rows(
                longer,
                f"SELECT array_agg(n ORDER BY t) FROM (SELECT t, count(*) AS n FROM ({a_tenth.format(table)})"
                " AS tenths(t) GROUP BY t) AS counted",
            )
            assert len(counts[0]) in (10, 11)  # type: ignore[arg-type]
            assert all(abs(n - SHAPE.rows(table)) <= 1 for n in counts[0][:9])  # type: ignore[index]
        indexes = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        assert rows(longer, indexes) == rows(made, indexes)
        assert len(rows(made, indexes)) > 10
    finally:
        _drop(postgres_server, "bench_longer")


def test_the_peers_are_asked_for_the_same_numbers_as_the_definitions_have(made: data.Database) -> None:
    assert check.differences(made.url) == []


def test_another_answer_of_a_peers_query_is_found(made: data.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    users, *rest = queries.QUERIES
    wrong = replace(users, sql=users.sql.replace("count(*) AS value", "count(*) + 1 AS value"))
    monkeypatch.setattr(check, "QUERIES", (wrong, *rest))
    assert len(check.differences(made.url)) == 4


def test_websockets_are_hashes_that_expire_and_share_users(valkey: redis.Redis, valkey_server: ValkeyServer) -> None:
    sockets.fill(valkey_server.url, 25_000, seed=1)
    keys = list(valkey.scan_iter(match="ws_sessions:*", count=5_000))
    assert len(keys) == 25_000
    assert valkey.ttl(keys[0]) > 3_600
    users = {valkey.hget(key, "user_id") for key in keys[:3_000]}
    assert {len(user) for user in users if user} == {36}
    fields = valkey.hgetall(keys[0])
    assert set(fields) == {b"user_id", b"session_id", b"device_type", b"connected_at", b"last_seen_at"}


def test_the_log_holds_what_it_is_said_to_hold(tmp_path: Path) -> None:
    log = log_file.write(tmp_path, 60_000, seed=1)
    lines = log.path.read_bytes().splitlines()
    assert len(lines) == log.lines == 60_000
    assert 150 < log.path.stat().st_size / 60_000 < 250
    assert log.results == {"ok": 59_994, "malformed": 5, "unknown_event": 1}
    assert sum(log.events.values()) == 59_994
    assert sum(b'"event":"ai.error"' in line for line in lines) == log.events["ai.error"] == sum(log.kinds.values())
    assert orjson.loads(lines[0])["job_id"]


@pytest.mark.parametrize("way", ["product", "blocks of bytes + orjson"])
def test_every_way_counts_the_log_as_it_was_written(tmp_path: Path, way: str) -> None:
    log = log_file.write(tmp_path, 60_000, seed=1)
    (tmp_path / "state").mkdir()
    counts = WAYS[way](log.path, tmp_path / "state")()
    assert counts["events"]["ai.error"] == log.events["ai.error"]
    assert counts["kinds"]["timeout"] == log.kinds["timeout"]
    if way == "product":
        assert miscounted(log, counts) == 0


def test_a_line_counted_twice_is_found(tmp_path: Path) -> None:
    log = log_file.write(tmp_path, 1_000, seed=1)
    counts = {"events": dict(log.events), "kinds": dict(log.kinds), "results": dict(log.results)}
    assert miscounted(log, counts) == 0
    counts["events"]["ai.error"] += 1
    assert miscounted(log, counts) == 1
