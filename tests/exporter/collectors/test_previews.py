"""Preview requests in windows (docs/definitions.md#preview-request)."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

from exporter.collectors.previews import Previews
from tests.rows import INSTANT, NOON, WITHIN_A_MINUTE, collect, insert, only, user

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def requests(database: str, now: datetime = NOON, collector: Previews | None = None) -> dict[str, int]:
    return only(collect(collector or Previews(), database, now=now), "hivesync_preview_requests_in_window")


@pytest.mark.parametrize("now", [NOON, WITHIN_A_MINUTE], ids=["on a minute", "within a minute"])
def test_a_window_is_open_at_its_start_and_closed_at_now(
    now: datetime, database: str, connection: psycopg.Connection
) -> None:
    for age in (-INSTANT, 0 * DAY, MINUTE - INSTANT, MINUTE, HOUR - INSTANT, HOUR, DAY - INSTANT, DAY):
        insert(connection, "preview_jobs", created_at=now - age)
    assert requests(database, now) == {"1m": 2, "1h": 4, "24h": 6}


def test_a_request_counts_whoever_made_it_and_however_it_ended(database: str, connection: psycopg.Connection) -> None:
    somebody = user(connection, "somebody")
    for status in ("queued", "running", "succeeded", "failed", "cancelled"):
        insert(connection, "preview_jobs", created_at=NOON - HOUR / 2, status=status, user_id=somebody)
    insert(connection, "preview_jobs", created_at=NOON - HOUR / 2)
    insert(connection, "preview_jobs", created_at=NOON - 2 * DAY, status="succeeded", completed_at=NOON - MINUTE / 2)
    insert(connection, "ai_usage_events", created_at=NOON - HOUR / 2)
    assert requests(database) == {"1m": 0, "1h": 6, "24h": 6}


def test_nothing_requested_is_zero(database: str) -> None:
    assert requests(database) == {"1m": 0, "1h": 0, "24h": 0}


def test_requests_come_and_go_as_time_passes(database: str, connection: psycopg.Connection) -> None:
    collector = Previews()
    insert(connection, "preview_jobs", created_at=WITHIN_A_MINUTE)
    seen = [
        requests(database, WITHIN_A_MINUTE + age, collector)
        for age in (-INSTANT, 0 * DAY, MINUTE - INSTANT, MINUTE, HOUR - INSTANT, HOUR, DAY - INSTANT, DAY)
    ]
    assert [counts["1m"] for counts in seen] == [0, 1, 1, 0, 0, 0, 0, 0]
    assert [counts["1h"] for counts in seen] == [0, 1, 1, 1, 1, 0, 0, 0]
    assert [counts["24h"] for counts in seen] == [0, 1, 1, 1, 1, 1, 1, 0]
