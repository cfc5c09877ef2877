"""The API's answers: what they say is what `/metrics` and plain SQL say (contract §3, `/admin/analytics/*`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from admin.readings import Value
from admin.trends import POINTS, Trends
from demo.servers import ValkeyServer
from exporter.exposition import render
from tests.admin.world import CHARTS, DATA, DOCUMENTS, TABLES, World
from tests.rows import NO_DATABASE, NOON, NOWHERE, insert
from tests.running import parse

KEYS = {"value", "status", "sources", "as_of"}
AS_OF = "2026-03-17T12:00:00.000Z"


def values_in(content: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every value of a document, with where it stands."""
    if isinstance(content, dict):
        if "value" in content:
            yield path, content
        else:
            for key, part in content.items():
                yield from values_in(part, f"{path}/{key}")
    elif isinstance(content, list):
        for index, part in enumerate(content):
            yield from values_in(part, f"{path}/{index}")


@pytest.mark.parametrize("path", DOCUMENTS[:-1])
def test_every_value_says_what_is_to_be_known_of_it(path: str, world: World) -> None:
    found = dict(values_in(world.get(path).json))
    assert len(found) > 5
    for where, value in found.items():
        assert value.keys() == KEYS, where
        assert (value["status"], value["as_of"]) == ("ok", AS_OF), where
        assert value["sources"], where
        assert set(value["sources"]) <= {"postgres", "redis", "ai_events_log", "preview_log"}


def test_the_header_says_what_the_metrics_say(world: World) -> None:
    metrics = parse(render(world.snapshot.view()).text.plain.decode())
    said = {
        name: value["value"]
        for name, value in world.get("/summary").json.items()
        if isinstance(value, dict) and "value" in value
    }
    paid, free = metrics['hivesync_users{plan="paid"}'], metrics['hivesync_users{plan="free"}']
    assert said == {
        "online_users": metrics["hivesync_online_users"],
        "ai_requests_last_hour": metrics['hivesync_ai_requests_in_window{window="1h"}'],
        "ai_queue_depth": 4,
        "preview_queue_depth": 2,
        "paid_free_ratio": paid / free,
        "paid_users": paid,
        "free_users": free,
    }
    assert min(said.values()) > 0


EQUAL = {
    "/users/online_users": "hivesync_online_users",
    "/users/online_devices/desktop": 'hivesync_online_devices{device_type="desktop"}',
    "/users/online_devices/ipad": 'hivesync_online_devices{device_type="ipad"}',
    "/users/online_devices/phone": 'hivesync_online_devices{device_type="phone"}',
    "/users/online_devices/unknown": 'hivesync_online_devices{device_type="unknown"}',
    "/users/live_view_sessions": "hivesync_live_view_sessions",
    **{
        f"/users/{period}_active_users_by_plan/{plan}": f'hivesync_active_users{{plan="{plan}",window="{window}"}}'
        for period, window in (("daily", "24h"), ("monthly", "30d"))
        for plan in ("paid", "trial", "trial_expired", "free")
    },
    "/ai/requests_per_minute": 'hivesync_ai_requests_in_window{window="1m"}',
    "/ai/requests_per_hour": 'hivesync_ai_requests_in_window{window="1h"}',
    "/ai/requests_per_day": 'hivesync_ai_requests_in_window{window="24h"}',
    **{
        f"/ai/requests_per_user/{statistic}": f'hivesync_ai_requests_per_user{{statistic="{statistic}",window="24h"}}'
        for statistic in ("median", "p90", "max")
    },
    **{
        f"/ai/errors/{kind}": f'hivesync_ai_errors_in_window{{kind="{kind}",window="24h"}}'
        for kind in ("provider_error", "timeout", "safety_rejection", "other")
    },
    **{
        f"/ai/log_events/{event}": f'hivesync_ai_log_events_total{{event="{event}"}}'
        for event in ("ai.requested", "ai.completed", "ai.error")
    },
    "/ai/log_errors/timeout": 'hivesync_ai_log_errors_total{kind="timeout"}',
    **{
        f"/queues/latency_seconds/{queue}/{window}": "hivesync_job_latency_average_seconds"
        f'{{queue="{queue}",window="{window}"}}'
        for queue in ("ai", "preview")
        for window in ("1m", "15m", "1h")
    },
    **{
        f"/queues/preview_requests/{window}": f'hivesync_preview_requests_in_window{{window="{window}"}}'
        for window in ("1m", "1h", "24h")
    },
    "/queues/processing/jobs": 'hivesync_queue_processing_seconds_count{queue="ai"}',
    "/queues/processing/seconds": 'hivesync_queue_processing_seconds_sum{queue="ai"}',
    "/monetization/projects": "hivesync_projects",
    **{
        f"/monetization/users_by_plan/{plan}": f'hivesync_users{{plan="{plan}"}}'
        for plan in ("paid", "trial", "trial_expired", "free")
    },
    **{
        f"/monetization/cost_month_{when}_dollars/{part}": f"hivesync_ai_cost_month_{when}_dollars"
        f'{{component="{part}"}}'
        for when in ("to_date", "projected")
        for part in ("tokens", "gpu")
    },
}
"""Which value is which sample."""


@pytest.mark.parametrize(("path", "sample"), EQUAL.items())
def test_a_value_is_the_metrics_value(path: str, sample: str, world: World) -> None:
    metrics = parse(render(world.snapshot.view()).text.plain.decode())
    content = world.get(f"/{path.split('/')[1]}").json
    assert dict(values_in(content, f"/{path.split('/')[1]}"))[path]["value"] == metrics[sample]


def test_totals_are_sums_of_their_parts(world: World) -> None:
    users, money = world.get("/users").json, world.get("/monetization").json
    for period in ("daily", "monthly"):
        parts = users[f"{period}_active_users_by_plan"].values()
        assert users[f"{period}_active_users"]["value"] == sum(part["value"] for part in parts) > 0
    assert money["users"]["value"] == sum(part["value"] for part in money["users_by_plan"].values()) == 6
    for cost in (money["cost_month_to_date_dollars"], money["cost_month_projected_dollars"]):
        assert cost["total"]["value"] == cost["tokens"]["value"] + cost["gpu"]["value"]
        assert set(cost["total"]["sources"]) == {"postgres", "redis"}
    assert money["estimate"] is True


def test_queues_are_listed_by_name(world: World) -> None:
    queues = [(q["queue"], q["name"], q["depth"]["value"]) for q in world.get("/queues").json["queues"]]
    assert queues == [("ai", "default", 3), ("ai", "priority", 1), ("preview", "default", 2)]


def test_workers_are_listed_with_health_heartbeat_and_on_gpus_state_and_instance(world: World) -> None:
    content = world.get("/workers").json
    rows = [
        {name: part["value"] if isinstance(part, dict) else part for name, part in row.items()}
        for row in content["workers"]
    ]
    assert (content["healthy"]["value"], content["total"]["value"]) == (2, 3)
    gpu = {"kind": "gpu", "instance_type": "g5.xlarge"}
    assert rows == [
        {
            "worker": "cpu-1",
            "kind": "cpu",
            "healthy": True,
            "last_heartbeat": "2026-03-17T11:59:45.000Z",
            **dict.fromkeys(("state", "instance_type", "lifecycle")),
        },
        {
            "worker": "gpu-1",
            **gpu,
            "healthy": True,
            "last_heartbeat": "2026-03-17T11:59:45.000Z",
            "state": "active",
            "lifecycle": "spot",
        },
        {
            "worker": "gpu-2",
            **gpu,
            "healthy": False,
            "last_heartbeat": "2026-03-17T11:50:00.000Z",
            "state": "offline",
            "lifecycle": "on-demand",
        },
    ]


def test_a_queue_that_is_empty_is_0_and_no_worker_is_none(database: str, valkey: redis.Redis, world: World) -> None:
    valkey.flushall()
    world.refresh()
    assert world.get("/queues").json["ai_queue_depth"]["value"] == 0
    workers = world.get("/workers").json
    assert (workers["healthy"]["value"], workers["total"]["value"], workers["workers"]) == (0, 0, [])


def test_nobody_asked_and_no_job_succeeded_is_null_and_no_fault(connection: psycopg.Connection, world: World) -> None:
    connection.execute("TRUNCATE ai_usage_events")
    with World(
        world.settings.database_url.get_secret_value(),
        world.settings.redis_url.get_secret_value(),
        world.settings.state_dir,
    ) as fresh:
        fresh.refresh()
        for value in (
            fresh.get("/ai").json["requests_per_user"]["median"],
            fresh.get("/queues").json["latency_seconds"]["ai"]["1h"],
        ):
            assert (value["value"], value["status"]) == (None, "ok")


def test_without_a_price_file_there_is_no_cost_and_no_fault(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path, prices_file=None) as world:
        world.refresh()
        for value in world.get("/monetization").json["cost_month_to_date_dollars"].values():
            assert (value["value"], value["status"]) == (None, "ok")


# Charts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "points", "span"),
    [
        ("/charts/ai-requests", 24, "24h"),
        ("/charts/ai-requests?range=6h", 25, "6h"),
        ("/charts/ai-requests?range=7d", 168, "7d"),
        ("/charts/ai-latency", 24, "24h"),
        ("/charts/ai-latency?range=6h", 25, "6h"),
        ("/charts/ai-latency?range=7d", 168, "7d"),
        ("/charts/dau", 14, "14d"),
        ("/charts/dau?range=30d", 30, "30d"),
        ("/charts/dau?range=90d", 90, "90d"),
    ],
)
def test_a_chart_has_a_point_for_each_time(path: str, points: int, span: str, world: World) -> None:
    chart = world.get(path).json
    assert (chart["kind"], chart["range"], chart["timezone"], chart["categories"]) == ("line", span, "UTC", None)
    assert span in chart["ranges"]
    assert len(chart["times"]) == points == len(set(chart["times"]))
    assert chart["times"] == sorted(chart["times"])
    assert [len(series["values"]) for series in chart["series"]] == [points]
    assert (chart["status"], chart["sources"], chart["as_of"]) == ("ok", ["postgres"], AS_OF)
    assert any(chart["series"][0]["values"])


def test_the_chart_of_a_day_holds_every_request_of_it(connection: psycopg.Connection, world: World) -> None:
    chart = world.get("/charts/ai-requests").json
    end = NOON.timestamp() - 60
    assert chart["times"][-1] == end
    row = connection.execute(
        "SELECT count(*) FROM ai_usage_events WHERE created_at > to_timestamp(%s) AND created_at <= to_timestamp(%s)",
        [end - 86_400, end],
    ).fetchone()
    assert row is not None
    assert sum(chart["series"][0]["values"]) == row[0] > 0


def test_days_that_were_not_rolled_up_are_gaps(world: World) -> None:
    chart = world.get("/charts/dau").json
    assert chart["times"][-1] == NOON.timestamp() - 12 * 3600
    assert chart["series"][0]["values"] == [None] * 12 + [4, None]


def test_the_plans_are_bars(world: World) -> None:
    chart = world.get("/charts/plans").json
    assert (chart["kind"], chart["ranges"], chart["range"], chart["times"]) == ("bar", [], None, None)
    assert chart["categories"] == ["paid", "free", "trial", "trial_expired"]
    assert chart["series"][0]["values"] == [1, 3, 1, 1]


@pytest.mark.parametrize(
    "path",
    [
        "/charts/dau?range=24h",
        "/charts/ai-requests?range=14d",
        "/charts/ai-requests?range=",
        "/charts/plans?format=xml",
        "/tables/incidents?format=",
    ],
)
def test_a_range_or_format_that_there_is_not_is_422(path: str, world: World) -> None:
    answer = world.get(path)
    assert (answer.status, answer.header("content-type")) == (422, "application/problem+json")
    assert answer.json["status"] == 422


# Tables ------------------------------------------------------------------------------------------------------------


def test_the_top_users_are_those_who_asked_most(connection: psycopg.Connection, world: World) -> None:
    table = world.get("/tables/top-users").json
    assert [column["name"] for column in table["columns"]] == ["user_id", "user", "plan", "last_seen", "ai_requests_7d"]
    assert [(row["user"], row["plan"], row["ai_requests_7d"]) for row in table["rows"]] == [
        ("paid", "paid", 9),
        ("trial", "trial", 2),
    ]
    assert table["rows"][0]["last_seen"] == "2026-03-17T11:59:50.000Z"
    assert all(row.keys() == {"user_id", "user", "plan", "last_seen", "ai_requests_7d"} for row in table["rows"])


def test_the_incidents_are_what_failed(world: World) -> None:
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


# CSV ---------------------------------------------------------------------------------------------------------------


def read_csv(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


@pytest.mark.parametrize("path", [*CHARTS, *TABLES])
def test_charts_and_tables_come_as_csv_with_the_same_numbers(path: str, world: World) -> None:
    answer, content = world.get(f"{path}?format=csv"), world.get(path).json
    assert answer.header("content-type") == "text/csv; charset=utf-8"
    disposition = answer.header("content-disposition") or ""
    assert disposition.startswith('attachment; filename="hivesync-')
    assert disposition.endswith('.csv"')
    head, *rows = read_csv(answer.body)
    if path in TABLES:
        assert head == [column["name"] for column in content["columns"]]
        assert rows == [["" if cell is None else str(cell) for cell in row.values()] for row in content["rows"]]
    else:
        numbers = content["series"][0]["values"]
        assert [float(row[1]) if row[1] else None for row in rows] == numbers
        assert len(rows) == len(content["times"] or content["categories"])
    assert rows


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=cmd|"/c calc"!A1'])
def test_a_name_that_a_spreadsheet_would_compute_is_made_text(
    name: str, connection: psycopg.Connection, world: World
) -> None:
    connection.execute("UPDATE users SET username = %s WHERE username = 'paid'", [name])
    world.refresh()
    rows = read_csv(world.get("/tables/top-users?format=csv").body)
    assert rows[1][1] == f"'{name}"


def test_a_name_with_commas_quotes_and_lines_stays_one_cell(connection: psycopg.Connection, world: World) -> None:
    connection.execute("UPDATE users SET username = %s WHERE username = 'paid'", ['a,"b"\nc'])
    world.refresh()
    assert read_csv(world.get("/tables/top-users?format=csv").body)[1][1] == 'a,"b"\nc'


# Caching -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*DATA, "/tables/incidents?format=csv"])
def test_an_answer_is_the_same_until_something_changes_and_then_304(path: str, world: World) -> None:
    first = world.get(path)
    etag = first.header("etag") or ""
    assert etag.startswith('"')
    assert first.header("cache-control") == "private, no-cache"
    assert {"Cookie", "Authorization", "X-API-Key"} <= set((first.header("vary") or "").split(", "))
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = world.get(path, {"If-None-Match": given})
        assert (again.status, again.body, again.header("etag")) == (304, b"", etag)
    assert world.get(path, {"If-None-Match": '"other"'}).status == 200


def test_after_a_change_the_answer_is_new(connection: psycopg.Connection, world: World) -> None:
    before = world.get("/ai").header("etag") or ""
    insert(connection, "ai_usage_events", created_at=NOON)
    world.refresh()
    answer = world.get("/ai", {"If-None-Match": before})
    assert answer.status == 200
    assert answer.header("etag") != before


def test_no_request_causes_a_query(connection: psycopg.Connection, valkey: redis.Redis, world: World) -> None:
    """Nothing could be asked any more, and every path answers as before."""
    before = {path: world.get(path).body for path in DATA}
    connection.execute("DROP SCHEMA public CASCADE")
    valkey.flushall()
    assert {path: world.get(path).body for path in DATA} == before


@pytest.mark.parametrize("path", [*DATA, "/openapi.json", "/tables/incidents?format=csv"])
def test_head_is_get_without_the_body(path: str, world: World) -> None:
    get, head = world.get(path), world.get(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


# Trends ------------------------------------------------------------------------------------------------------------


def test_the_trends_hold_what_the_header_said(world: World) -> None:
    summary = world.get("/summary").json
    for name, points in summary["trends"].items():
        assert points == {"times": [int(NOON.timestamp())], "values": [summary[name]["value"]]}
    assert len(summary["trends"]) == 5


def test_a_trend_has_one_point_a_minute_for_an_hour() -> None:
    trends = Trends()
    for second in range(0, 2 * 3600, 20):
        if trends.wants(second):
            trends.note(second, {"a": Value(second, second % 120 == 0, (), None)})
    (points,) = trends.shown(("a",)).values()
    assert len(points.times) == POINTS
    assert points.times == list(range(3600, 7200, 60))
    assert points.values == [time if time % 120 == 0 else None for time in points.times]


# What is shown of people ---------------------------------------------------------------------------------------------


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


# Sources that fail -------------------------------------------------------------------------------------------------


def test_before_the_first_reading_everything_is_unknown_and_degraded(
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
