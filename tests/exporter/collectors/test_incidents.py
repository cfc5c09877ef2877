"""The latest failures."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from exporter.collectors.incidents import Incidents
from exporter.incident import KEPT, Incident, from_line
from exporter.sources.postgres import microseconds
from tests.rows import INSTANT, NOON, collect, insert

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def fail_ai(connection: psycopg.Connection, at: object = NOON - HOUR, **columns: object) -> str:
    failed = {"status": "failed", "error_kind": "timeout", "provider": "openai", "model": "gpt-4.1"}
    return insert(
        connection, "ai_usage_events", **{**failed, "created_at": NOON - 8 * DAY, "completed_at": at, **columns}
    )


def fail_preview(connection: psycopg.Connection, at: object = NOON - HOUR, **columns: object) -> str:
    failed = {"status": "failed", "error_kind": "build_error", "created_at": NOON - 8 * DAY, "completed_at": at}
    return insert(connection, "preview_jobs", **{**failed, **columns})


def jobs(collector: Incidents) -> list[str]:
    assert collector.content is not None
    return [incident.job_id for incident in collector.content]


def test_failures_of_both_kinds_are_listed_newest_first(database: str, connection: psycopg.Connection) -> None:
    preview, ai = fail_preview(connection, NOON - 2 * MINUTE), fail_ai(connection, NOON - MINUTE)
    insert(connection, "ai_usage_events", status="succeeded", created_at=NOON - HOUR, completed_at=NOON - HOUR)
    collector = Incidents()
    assert collect(collector, database, now=NOON) == {}
    assert collector.content == (
        Incident(microseconds(NOON - MINUTE), "ai_error", ai, "openai", "gpt-4.1", "timeout"),
        Incident(microseconds(NOON - 2 * MINUTE), "preview_failure", preview, None, None, "build_error"),
    )


def test_they_go_back_seven_days(database: str, connection: psycopg.Connection) -> None:
    fail_ai(connection, NOON - 7 * DAY)
    newest_first = [fail_ai(connection, NOON), fail_ai(connection, NOON - 7 * DAY + INSTANT)]
    fail_ai(connection, NOON + INSTANT)
    collector = Incidents()
    collect(collector, database, now=NOON)
    assert jobs(collector) == newest_first


def test_only_so_many_are_kept(database: str, connection: psycopg.Connection) -> None:
    made = [fail_ai(connection, NOON - age * MINUTE) for age in range(KEPT + 10)]
    made += [fail_preview(connection, NOON - 90 * MINUTE - age * MINUTE) for age in range(KEPT)]
    collector = Incidents()
    collect(collector, database, now=NOON)
    assert jobs(collector) == made[:KEPT]


def test_new_ones_join_old_ones_and_each_is_there_once(database: str, connection: psycopg.Connection) -> None:
    first = fail_ai(connection, NOON - SECOND)
    collector = Incidents()
    collect(collector, database, now=NOON)
    second = fail_preview(connection, NOON + 20 * SECOND)
    late = fail_ai(connection, NOON - 2 * SECOND)
    collect(collector, database, now=NOON + 30 * SECOND)
    assert jobs(collector) == [second, first, late]
    collect(collector, database, now=NOON + DAY)
    assert jobs(collector) == [second, first, late]
    collect(collector, database, now=NOON + 8 * DAY)
    assert jobs(collector) == []


def test_a_row_that_was_just_deleted_is_gone(database: str, connection: psycopg.Connection) -> None:
    fail_ai(connection, NOON - MINUTE)
    collector = Incidents()
    collect(collector, database, now=NOON)
    connection.execute("DELETE FROM ai_usage_events")
    collect(collector, database, now=NOON + MINUTE)
    assert jobs(collector) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"error_kind": None}, {"error_kind": "other"}),
        ({"error_kind": "def secret(): return 1"}, {"error_kind": "other"}),
        ({"provider": None, "model": None}, {"provider": None, "model": None}),
        ({"provider": "<b>x</b>", "model": "m" * 300}, {"provider": "bxb", "model": "m" * 100}),
    ],
)
def test_what_is_shown_is_cut_to_what_is_harmless(
    columns: dict[str, object], expected: dict[str, object], database: str, connection: psycopg.Connection
) -> None:
    fail_ai(connection, **columns)
    collector = Incidents()
    collect(collector, database, now=NOON)
    assert collector.content is not None
    (incident,) = collector.content
    assert {name: getattr(incident, name) for name in expected} == expected


@pytest.mark.parametrize("written", ["2026-03-17T12:00:00Z", "2026-03-17T14:00:00+02:00", "2026-03-17T12:00:00"])
def test_a_log_line_tells_of_an_incident(written: str) -> None:
    line = (
        f'{{"ts":"{written}","event":"ai.error","job_id":"j-1","provider":"openai","model":"gpt-4.1",'
        '"error_kind":"provider_error","prompt":"a secret"}'
    )
    assert from_line(line.encode(), "ai_error") == Incident(
        microseconds(NOON), "ai_error", "j-1", "openai", "gpt-4.1", "provider_error"
    )


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"ai.error"}',
        b'{"ts":17,"event":"ai.error"}',
        b'{"ts":"yesterday","event":"ai.error"}',
        b'{"ts":"0001-01-01T00:00:00+14:00"}',
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_a_line_that_does_not_say_when_is_no_incident(line: bytes) -> None:
    assert from_line(line, "ai_error") is None


def test_a_line_with_values_of_any_type_is_cut_to_what_is_harmless() -> None:
    line = b'{"ts":"2026-03-17T12:00:00Z","job_id":{"a":1},"provider":7,"model":[],"error_kind":{}}'
    assert from_line(line, "preview_failure") == Incident(
        microseconds(NOON), "preview_failure", "unknown", None, None, "other"
    )
