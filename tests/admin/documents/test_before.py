"""Values of the same span before (docs/definitions.md#compared-with-before)."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from admin.documents.models import change
from tests.admin.world import World
from tests.rows import NOON, insert, user

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def earlier(connection: psycopg.Connection, seeded: None) -> None:
    """Requests and users of the spans before."""
    one, other = (user(connection, name) for name in ("one", "other"))
    connection.execute("UPDATE users SET created_at = %s", [NOON - 400 * DAY])
    for who, ages in (
        (one, (DAY + 30 * MINUTE, DAY + HOUR, DAY + HOUR + MINUTE, 7 * DAY + 30 * MINUTE)),
        (other, (DAY + 20 * MINUTE, 40 * DAY)),
    ):
        for age in ages:
            created_at = NOON - age
            columns = {"status": "succeeded", "completed_at": created_at + 10 * MINUTE}
            insert(connection, "ai_usage_events", user_id=who, created_at=created_at, **columns)
    for number, days in enumerate((0, 1, 6, 8, 20, 31, 59, 61)):
        insert(connection, "users", email=f"new-{number}", created_at=NOON - days * DAY - HOUR)
    for back in range(28):
        insert_day(connection, back, 10 if back < 14 else 4)


def insert_day(connection: psycopg.Connection, back: int, dau: int) -> None:
    connection.execute(
        "INSERT INTO usage_analytics_daily (date, dau, mau, ai_requests, preview_requests) VALUES (%s, %s, 0, 0, 0)"
        " ON CONFLICT (date) DO UPDATE SET dau = excluded.dau",
        [(NOON - back * DAY).date(), dau],
    )


def test_counts_have_those_of_the_span_before(earlier: None, world: World) -> None:
    hour = world.get("/summary").json["ai_requests_last_hour"]
    assert (hour["previous"], hour["previous_week"]) == (3, 1)
    assert (hour["change"], hour["change_week"]) == ((hour["value"] - 3) / 3, hour["value"] - 1)
    requests = world.get("/ai").json
    assert (requests["requests_per_hour"]["previous"], requests["requests_per_day"]["previous"]) == (3, 4)
    users = world.get("/users").json
    assert (users["daily_active_users"]["previous"], users["monthly_active_users"]["previous"]) == (2, 1)
    new = world.get("/growth").json["new_users"]
    assert {window: (one["value"], one["previous"]) for window, one in new.items()} == {
        "24h": (1, 1),
        "7d": (3, 1),
        "30d": (5, 2),
    }
    assert new["7d"]["change"] == 2.0


def test_charts_have_the_span_before(earlier: None, world: World) -> None:
    requests = world.get("/charts/ai-requests").json
    assert sum(requests["series"][0]["previous"]) == requests["comparison"]["previous"] == 4
    assert sum(requests["series"][0]["values"]) == requests["comparison"]["value"]
    latency = world.get("/charts/ai-latency").json["comparison"]
    assert (latency["previous"], latency["counts"]) == (600.0, "mean latency")
    six = world.get("/charts/ai-requests?range=6h").json
    assert (len(six["series"][0]["previous"]), six["comparison"]["previous"]) == (25, 4)
    assert six["comparison"]["than"] == "the same 6 hours yesterday"
    week = world.get("/charts/ai-requests?range=7d").json
    assert (week["series"][0]["previous"], week["comparison"]["previous"], week["comparison"]["change"]) == (None,) * 3
    assert world.get("/charts/plans").json["comparison"] is None


def test_days_are_compared_if_all_of_them_are_known(
    earlier: None, connection: psycopg.Connection, world: World
) -> None:
    days = world.get("/charts/dau").json
    assert days["series"][0]["previous"] == [4] * 14
    found = days["comparison"]
    assert (found["value"], found["previous"], found["change"]) == (10, 4, 1.5)
    connection.execute("DELETE FROM usage_analytics_daily WHERE date = %s", [(NOON - 20 * DAY).date()])
    world.refresh()
    days = world.get("/charts/dau").json
    assert days["series"][0]["previous"].count(None) == 1
    assert (days["comparison"]["previous"], days["comparison"]["change"]) == (None, None)


def test_a_degraded_value_is_not_compared(earlier: None, connection: psycopg.Connection, world: World) -> None:
    connection.execute("ALTER TABLE ai_usage_events RENAME TO gone")
    world.refresh()
    hour = world.get("/summary").json["ai_requests_last_hour"]
    assert hour["status"] == "degraded"
    assert {hour[name] for name in ("previous", "change", "previous_week", "change_week")} == {None}
    assert world.get("/users").json["daily_active_users"]["previous"] is None
    assert world.get("/charts/ai-requests").json["comparison"] is None


def test_a_change_from_nothing_has_no_ratio() -> None:
    assert [change(5, 0), change(0, 0), change(None, 5), change(5, None)] == [None] * 4
    assert (change(5, 4), change(3, 4), change(0, 4)) == (0.25, -0.25, -1)
