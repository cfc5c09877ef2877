"""Ids in PostgreSQL's own spelling, compared with PostgreSQL, and the same ids in Redis
(docs/definitions.md#types-and-words)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from exporter.collectors.online import OnlineNow, read_web_sockets
from exporter.definitions import Terms, read_definitions
from exporter.identities import IdType
from servers.valkey import ValkeyServer
from tests.exporter.deployments import create_tables
from tests.rows import NOON, by_name, collect, insert, keep, sources

UUID = "a0000000-0000-4000-8000-00000000000b"

SPELLINGS = {
    "uuid": [UUID, UUID.upper(), f"{{{UUID}}}", UUID.replace("-", ""), f"{{{UUID.replace('-', '').upper()}}}"],
    "bigint": ["7", "+7", "007", " 7", "7\n", "-7", "-07", "0", "-0", "9223372036854775807", "9223372036854775808"],
    "integer": ["2147483647", "2147483648", "-2147483648", "+1", "01"],
    "smallint": ["32767", "32768", "+1", "01"],
    "numeric": ["7", "7.0", "07.50", "+7.5", "-0.0", "100", "12345678901234567890.10"],
    "citext": ["Ann", "ANN", "ann", " ann", "Größe"],
    "text": ["Ann", "ann ", "", "007", UUID.upper()],
    "character varying": ["Ann", "ann ", "007"],
    "character": ["ann", "ann  ", "ANN"],
}
"""Spellings of ids of each type, valid and invalid."""

NEITHER = ["", "x", "seven", "{}", f"{{{UUID}", f"{UUID}}}", f"urn:uuid:{UUID}", f" {UUID}", UUID[:-1], f"{UUID}0"]
NEITHER += [f"{UUID[:1]}-{UUID[1:]}", f"{UUID[:2]}-{UUID[2:]}", f"{UUID[:4]}-{UUID[4:]}", "7-", "+-7", "1e3", "\u0667"]


def misspelt(text: str) -> Iterator[str]:
    """The text with single characters changed."""
    chance = random.Random(text)
    for _ in range(40):
        place = chance.randrange(len(text) + 1)
        yield text[:place] + chance.choice(["", "-", "0", "f", "G", "{", "}", " ", "+", "."]) + text[place + 1 :]


def written_by(connection: psycopg.Connection, id_type: str, text: str) -> bytes | None:
    """PostgreSQL's spelling of the id; None for an invalid id of that type."""
    try:
        row = connection.execute(f"SELECT %s::text::{id_type}".encode(), [text]).fetchone()
        expression = {"citext": "lower({}::citext::text)", "numeric": "trim_scale({}::numeric)::text"}.get(
            id_type, f"{{}}::{id_type}::text"
        )
        row = connection.execute(f"SELECT {expression.format('%s::text')}".encode(), [text]).fetchone()
    except psycopg.DataError:
        return None
    assert row is not None
    return str(row[0]).encode()


@pytest.mark.parametrize("id_type", SPELLINGS)
def test_ids_are_written_as_postgresql_writes_them(id_type: str, connection: psycopg.Connection) -> None:
    connection.execute("CREATE EXTENSION citext")
    of_type = IdType(id_type)
    sql_type = "character(60)" if id_type == "character" else id_type
    texts = [*SPELLINGS[id_type], *NEITHER]
    texts += [other for text in SPELLINGS[id_type] for other in misspelt(text)]
    told = 0
    for text in filter(None, dict.fromkeys(texts)):
        expected = written_by(connection, sql_type, text)
        (written,) = of_type.written([text.encode()])
        if expected is None:
            assert written == text.encode() or not of_type.possible([written])
            assert of_type.possible([text.encode()]) == [], text
        elif expected:
            assert written == expected, text
            assert of_type.possible([written]) == [written]
            told += text.encode() != expected
    assert told or id_type in ("text", "character varying")


def test_many_ids_at_once_are_written_as_each_alone() -> None:
    for id_type, texts in SPELLINGS.items():
        ids = [text.encode() for text in (*texts, *NEITHER)]
        assert list(IdType(id_type).written(ids)) == [IdType(id_type).written([text])[0] for text in ids]


def test_a_type_out_of_the_search_path_is_known_by_its_name() -> None:
    assert IdType("extensions.citext").written([b"Ann"]) == [b"ann"]
    assert IdType("public.something").written([b"Ann"]) == [b"Ann"]
    assert not IdType("public.something").known


def same(id_type: str) -> tuple[str, str]:
    """An id, and another spelling of it."""
    return {
        "uuid": (UUID, f"{{{UUID.upper()}}}"),
        "user_id": (UUID, UUID.replace("-", "").upper()),
        "bigint": ("9000000000000000123", "+09000000000000000123"),
        "integer": ("42", "0042"),
        "smallint": ("7", " 7"),
        "numeric": ("42.10", "042.1"),
        "citext": ("Ann", "aNN"),
        "user_name": ("Ann", "ANN"),
        "character(50)": ("ann", "ann   "),
    }[id_type]


@pytest.mark.parametrize("beating", [True, False], ids=["beating", "silent"])
@pytest.mark.parametrize(
    "id_type",
    ["uuid", "user_id", "bigint", "integer", "smallint", "numeric", "citext", "user_name", "character(50)"],
)
def test_an_id_in_redis_is_the_one_that_postgresql_takes_it_for(
    id_type: str, beating: bool, connection: psycopg.Connection, database: str, valkey: redis.Redis,
    valkey_server: ValkeyServer,
) -> None:  # fmt: skip
    """One user with one iPad, and another user with an id of no such type."""
    create_tables(connection, id_type)
    stored, spelt = same(id_type)
    insert(connection, "users", id=stored, email="ann@example.org")
    seen = NOON if beating else NOON - timedelta(days=1)
    insert(
        connection, "sessions", id=stored, user_id=stored, device_type="ipad", kind="live_view", last_heartbeat_at=seen
    )
    keep(valkey, "ws_sessions:1", user_id=spelt, session_id=spelt, device_type="phone")
    keep(valkey, "ws_sessions:2", user_id="neither", session_id="neither", device_type="phone")
    read = collect(OnlineNow(["ws_sessions:*"]), database, valkey_server.url, now=NOON)
    found = {name: value for name, value in read.items() if value and "skipped" not in name}
    assert found == {
        "hivesync_online_users": 2,
        "hivesync_online_devices{ipad}": 1,
        "hivesync_online_devices{phone}": 1,
        "hivesync_live_view_sessions": 1,
    }
    definition = from_definition(database, valkey_server.url)
    assert {name: value for name, value in definition.items() if value} == found


def from_definition(database: str, redis_url: str) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with sources(database, redis_url, NOON) as opened, opened.postgres.transaction() as transaction:
            web_sockets, _ = await read_web_sockets(opened.redis, ["ws_sessions:*"])
            return by_name(await read_definitions(OnlineNow.specs, transaction, Terms(), web_sockets))

    return asyncio.run(read())


def test_a_column_that_gets_another_type_is_read_as_that_at_once(
    connection: psycopg.Connection, database: str, valkey: redis.Redis, valkey_server: ValkeyServer
) -> None:
    session, collector = str(uuid4()), OnlineNow(["ws_sessions:*"])
    keep(valkey, "ws_sessions:1", session_id=session.upper(), device_type="phone")
    insert(connection, "sessions", id=session, device_type="ipad", last_heartbeat_at=NOON)

    def devices() -> dict[str, int]:
        read = collect(collector, database, valkey_server.url, now=NOON)
        return {name: value for name, value in read.items() if value and "devices" in name}

    assert devices() == {"hivesync_online_devices{ipad}": 1}
    connection.execute("ALTER TABLE sessions ALTER id DROP DEFAULT, ALTER id TYPE text")
    assert devices() == {"hivesync_online_devices{ipad}": 1, "hivesync_online_devices{phone}": 1}
    connection.execute("ALTER TABLE sessions ALTER id TYPE uuid USING id::uuid")
    assert devices() == {"hivesync_online_devices{ipad}": 1}
