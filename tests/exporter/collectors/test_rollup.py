"""The latest day of the daily roll-up (docs/definitions.md#daily-roll-up)."""

from __future__ import annotations

from datetime import UTC, date, datetime

import psycopg
import pytest

from exporter.collectors.rollup import Rollup
from tests.rows import collect


def roll_up(connection: psycopg.Connection, *days: date) -> None:
    for day in days:
        connection.execute(
            "INSERT INTO usage_analytics_daily (date, dau, mau, ai_requests, preview_requests) VALUES (%s, 0, 0, 0, 0)",
            [day],
        )


def test_an_empty_roll_up_has_no_newest_day(database: str) -> None:
    assert collect(Rollup(), database) == {}


def test_a_roll_up_that_is_not_installed_has_none_either(database: str, connection: psycopg.Connection) -> None:
    collector = Rollup()
    connection.execute("ALTER TABLE usage_analytics_daily RENAME TO elsewhere")
    assert collect(collector, database) == {}
    connection.execute("ALTER TABLE elsewhere RENAME TO usage_analytics_daily")
    roll_up(connection, date(2026, 3, 17))
    assert list(collect(collector, database)) == ["hivesync_rollup_latest_day_timestamp_seconds"]


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Pacific/Midway", "UTC"])
def test_the_newest_day_is_the_start_of_that_day_in_utc(
    timezone: str, database: str, connection: psycopg.Connection
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    connection.execute(f"ALTER DATABASE \"{name}\" SET timezone = '{timezone}'".encode())
    roll_up(connection, date(2026, 3, 16), date(2026, 3, 17), date(2025, 12, 31))
    expected = datetime(2026, 3, 17, tzinfo=UTC).timestamp()
    assert collect(Rollup(), database) == {"hivesync_rollup_latest_day_timestamp_seconds": expected}
