"""AI usage."""

from __future__ import annotations

import psycopg

from tests.admin.documents.values import check_metrics, check_values
from tests.admin.world import World

EQUAL = {
    **{
        f"/requests_per_{unit}": f'hivesync_ai_requests_in_window{{window="{window}"}}'
        for unit, window in (("minute", "1m"), ("hour", "1h"), ("day", "24h"))
    },
    **{
        f"/requests_per_user/{statistic}": f'hivesync_ai_requests_per_user{{statistic="{statistic}",window="24h"}}'
        for statistic in ("median", "p90", "max")
    },
    **{
        f"/errors/{kind}": f'hivesync_ai_errors_in_window{{kind="{kind}",window="24h"}}'
        for kind in ("provider_error", "timeout", "safety_rejection", "other")
    },
    **{
        f"/log_events/{event}": f'hivesync_ai_log_events_total{{event="{event}"}}'
        for event in ("ai.requested", "ai.completed", "ai.error")
    },
    **{
        f"/log_errors/{kind}": f'hivesync_ai_log_errors_total{{kind="{kind}"}}'
        for kind in ("provider_error", "timeout", "safety_rejection", "other")
    },
}
"""The sample of each value."""


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/ai")


def test_values_are_those_of_the_metrics(world: World) -> None:
    check_metrics(world, "/ai", EQUAL, {"/errors_per_day"})


def test_the_errors_of_a_day_are_those_of_all_kinds(world: World) -> None:
    document = world.get("/ai").json
    assert document["errors_per_day"]["value"] == sum(kind["value"] for kind in document["errors"].values()) == 5


def test_without_requests_the_median_is_null_and_ok(connection: psycopg.Connection, world: World) -> None:
    connection.execute("TRUNCATE ai_usage_events")
    with world.restarted() as restarted:
        median = restarted.get("/ai").json["requests_per_user"]["median"]
    assert (median["value"], median["status"]) == (None, "ok")
