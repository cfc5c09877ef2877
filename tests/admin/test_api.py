"""The API over all documents: caching, privacy, and its answers while sources fail."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import redis

from exporter.exposition import render
from servers.valkey import ValkeyServer
from tests.admin.documents.values import values_in
from tests.admin.world import CHARTS, DATA, DOCUMENTS, TABLES, World
from tests.rows import NO_DATABASE, NOON, NOWHERE, insert


@pytest.mark.parametrize("path", [*DATA, "/tables/incidents?format=csv"])
def test_an_unchanged_document_is_304(path: str, world: World) -> None:
    first = world.get(path)
    etag = first.header("etag") or ""
    assert etag.startswith('"')
    assert first.header("cache-control") == "no-store"  # a document in a browser's cache would outlive a logout
    assert {"Cookie", "Authorization", "X-API-Key"} <= set((first.header("vary") or "").split(", "))
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = world.get(path, {"If-None-Match": given})
        assert (again.status, again.body, again.header("etag")) == (304, b"", etag)
    assert world.get(path, {"If-None-Match": '"other"'}).status == 200


def test_a_changed_document_has_another_etag(connection: psycopg.Connection, world: World) -> None:
    before = world.get("/ai").header("etag") or ""
    insert(connection, "ai_usage_events", created_at=NOON)
    world.refresh()
    answer = world.get("/ai", {"If-None-Match": before})
    assert answer.status == 200
    assert answer.header("etag") != before


def test_no_request_causes_a_query(connection: psycopg.Connection, valkey: redis.Redis, world: World) -> None:
    """Every path responds as before after the data is gone."""
    before = {path: world.get(path).body for path in DATA}
    connection.execute("DROP SCHEMA public CASCADE")
    valkey.flushall()
    assert {path: world.get(path).body for path in DATA} == before


@pytest.mark.parametrize("path", [*DATA, "/openapi.json", "/tables/incidents?format=csv"])
def test_head_is_get_without_the_body(path: str, world: World) -> None:
    get, head = world.get(path), world.get(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


def test_no_e_mail_is_in_any_answer_but_the_top_users(connection: psycopg.Connection, world: World) -> None:
    connection.execute("UPDATE users SET username = NULL")
    world.refresh()
    assert b"@example.org" in world.get("/tables/top-users").body
    for path in {*DATA, *(f"{path}?format=csv" for path in (*CHARTS, *TABLES)), "/openapi.json"}:
        if not path.startswith("/tables/top-users"):
            assert b"@example.org" not in world.get(path).body, path
    assert b"@example.org" not in render(world.snapshot.view()).text.plain


def test_no_prompt_or_code_of_a_log_or_row_is_in_any_answer(
    connection: psycopg.Connection, valkey: redis.Redis, world: World
) -> None:
    secret = "def launch_codes"
    for column in ("error_kind", "model", "provider"):
        insert(connection, "ai_usage_events", status="failed", completed_at=NOON, **{column: f"{secret}(): pass"})
    with world.settings.ai_events_log.open("ab") as log:
        log.write(
            b'\n{"ts":"2026-03-17T11:00:00Z","event":"ai.error","job_id":"j","error_kind":"' + secret.encode() + b'",'
            b'"prompt":"' + secret.encode() + b'"}\n'
        )
    world.refresh()
    for path in DATA:
        assert secret.encode() not in world.get(path).body, path


def test_before_the_first_refresh_all_values_are_null_and_degraded(
    database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path) as world:
        for path in DOCUMENTS[:-1]:
            for where, value in values_in(world.get(path).json):
                assert (value["value"], value["status"]) == (None, "degraded"), where
        for path in (*CHARTS, *TABLES):
            answer = world.get(path)
            assert (answer.status, answer.json["status"], answer.json["as_of"]) == (200, "degraded", None)


def test_with_every_source_down_from_the_start_nothing_is_500(tmp_path: Path) -> None:
    with World(NO_DATABASE, NOWHERE, tmp_path) as world:
        world.settings.ai_events_log.unlink()
        world.refresh()
        for path in DATA:
            assert world.get(path).status == 200, path
        state = world.get("/status").json
        assert state["degraded"] is True
        assert {source["source"]: source["up"] for source in state["sources"]}["postgres"] is False
