"""The tables of top users and of incidents."""

from __future__ import annotations

import psycopg

from tests.admin.world import World


def test_top_users_are_in_the_order_of_their_requests(connection: psycopg.Connection, world: World) -> None:
    table = world.get("/tables/top-users").json
    assert [column["name"] for column in table["columns"]] == ["user_id", "user", "plan", "last_seen", "ai_requests_7d"]
    assert [(row["user"], row["plan"], row["ai_requests_7d"]) for row in table["rows"]] == [
        ("paid", "paid", 9),
        ("trial", "trial", 2),
    ]
    assert table["rows"][0]["last_seen"] == "2026-03-17T11:59:50.000Z"
    assert all(row.keys() == {"user_id", "user", "plan", "last_seen", "ai_requests_7d"} for row in table["rows"])


def test_incidents_are_the_failed_jobs(world: World) -> None:
    table = world.get("/tables/incidents").json
    assert table["origin"] == "postgres"
    assert sorted(row["error_kind"] for row in table["rows"]) == [
        "other",
        "other",
        "provider_error",
        "safety_rejection",
        "timeout",
    ]
    assert {row["time"] for row in table["rows"]} == {"2026-03-17T08:00:00.000Z"}
    assert {row["kind"] for row in table["rows"]} == {"ai_error"}
