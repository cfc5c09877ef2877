"""Rows that are committed late, in the windows that `verify` makes read afresh before it compares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.latency import Latency
from exporter.collectors.previews import Previews
from exporter.collectors.users import Plans
from tests.rows import NOON, collect, insert, users

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    "build", [Ai, Previews, Latency, lambda: Activity(Plans())], ids=["ai", "previews", "latency", "activity"]
)
def test_a_row_of_minutes_ago_is_found_by_a_reading_afresh(
    build: Callable[[], Any], database: str, connection: psycopg.Connection
) -> None:
    collector = build()
    before = collect(collector, database, now=NOON)
    (who,) = users(connection, 1)
    times = {"created_at": NOON - 4 * MINUTE, "completed_at": NOON - 4 * MINUTE + SECOND, "status": "succeeded"}
    for table in ("ai_usage_events", "preview_jobs"):
        insert(connection, table, user_id=who, **times)
    assert collect(collector, database, now=NOON + SECOND) == before
    collector.read_afresh()
    assert collect(collector, database, now=NOON + 2 * SECOND) != before
