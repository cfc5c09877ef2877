"""Every input, declared as not provided and taken away: its values are absent everywhere, and nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from exporter.inputs import BY_NAME, INPUTS
from exporter.verify import render as render_comparisons
from servers.valkey import ValkeyServer
from tests.admin.documents.values import AS_OF, metrics, values_in
from tests.admin.world import CHARTS, DATA, DOCUMENTS, TABLES, World
from tests.rows import insert, user

KEYS = {"ws_sessions": "ws_sessions:*", "workers": "worker:heartbeat:*", "queue_stats": "ai_queue:stats"}
"""The keys of the inputs in Redis."""

COLLECTORS = (
    *("users", "online", "activity", "growth", "ai", "previews", "latency", "queues", "workers", "cost"),
    *("ai_log", "preview_log", "rollup", "charts", "incidents"),
)
"""All but `top_users`, which waits a minute for those that fail."""

ITS_OWN = re.compile(r"hivesync_(refresh_|resync)")
"""Samples about the exporter's own work, which differ from run to run."""


@dataclass(frozen=True)
class Lack:
    """The consequences: samples that are absent (a pattern of their names and labels), and others with other values;
    values of the API that are not provided (a pattern of their paths)."""

    samples: str = "nothing"
    values: str = "nothing"
    others: Mapping[str, float] = field(default_factory=dict)
    fails: bool = True
    """Whether it is a failure if it is missing and not declared."""


def log(label: str, collector: str, source: str, counters: str) -> str:
    return rf'hivesync_({counters}|log_.*log="{label}"|.*collector="{collector}"|source_.*source="{source}")'


def plans(free: int, window: str = "") -> dict[str, float]:
    name, labels = ("active_users", f',window="{window}"') if window else ("users", "")
    return {f'hivesync_{name}{{plan="free"{labels}}}': free}


LACKS = {
    "sessions.device_type": Lack("hivesync_online_devices", "/users/online_devices"),
    "sessions.kind": Lack("hivesync_live_view_sessions", "/users/live_view_sessions"),
    "sessions.last_heartbeat_at": Lack(
        others={
            "hivesync_online_users": 1,
            "hivesync_live_view_sessions": 0,
            **{f'hivesync_online_devices{{device_type="{kind}"}}': 0 for kind in ("desktop", "ipad", "unknown")},
            'hivesync_online_devices{device_type="phone"}': 1,
        },
    ),
    "sessions.ended_at": Lack(),
    "ai_usage_events.provider": Lack(),
    "ai_usage_events.model": Lack(
        r'hivesync_ai_(tokens.*model="gpt-4.1"|cost.*component="tokens")',
        "/monetization/cost.*/tokens",
        {
            'hivesync_ai_tokens_month_to_date{direction="prompt",model="other"}': 6_000_000,
            'hivesync_ai_tokens_month_to_date{direction="completion",model="other"}': 1_500_000,
        },
    ),
    "ai_usage_events.error_kind": Lack(
        'hivesync_ai_errors.*kind="(provider_error|timeout|safety_rejection)"',
        "/ai/errors/",
        {'hivesync_ai_errors_in_window{kind="other",window="24h"}': 5},
    ),
    "ai_usage_events.prompt_tokens": Lack(
        'hivesync_ai_(tokens.*direction="prompt"|cost.*component="tokens")',
        "/monetization/(tokens_month_to_date/2/tokens|cost.*/tokens)",
        {'hivesync_skipped_values{collector="cost",reason="negative_tokens"}': 0},
    ),
    "ai_usage_events.completion_tokens": Lack(
        'hivesync_ai_(tokens.*direction="completion"|cost.*component="tokens")',
        "/monetization/(tokens_month_to_date/1/tokens|cost.*/tokens)",
    ),
    "preview_jobs.error_kind": Lack(),
    "subscriptions.trial_ends_at": Lack(
        r'hivesync_((active_)?users|paid_plans_ended).*plan="trial|hivesync_trials_ended',
        "/(users|monetization)/.*by_plan/trial|/growth/trial",
        {**plans(5), **plans(3, "24h"), **plans(5, "30d")},
    ),
    "subscriptions.ended_at": Lack("hivesync_paid_plans_ended", "/growth/(paid_users_lost|churn)"),
    "users.last_login_at": Lack(fails=False),
    "projects": Lack("hivesync_projects", "/monetization/projects"),
    "ws_sessions": Lack(
        'hivesync_skipped_values.*collector="online",reason="(gone|wrong_type)"',
        others={"hivesync_online_users": 4, 'hivesync_online_devices{device_type="phone"}': 1},
        fails=False,
    ),
    "workers": Lack(
        'hivesync_(worker_|gpu_|.*component="gpu"|.*collector="workers")',
        "/(workers/|monetization/cost.*/gpu)",
        fails=False,
    ),
    "queue_stats": Lack("hivesync_queue_processing_seconds", "/queues/processing", fails=False),
    "ai_events_log": Lack(log("ai-events", "ai_log", "ai_events_log", "ai_log_"), "/ai/log_"),
    "preview_log": Lack(log("preview", "preview_log", "preview_log", "preview_log_")),
}


def samples_of(world: World) -> dict[str, float]:
    return {name: value for name, value in metrics(world).items() if not ITS_OWN.match(name)}


def take_away(name: str, connection: psycopg.Connection, valkey: redis.Redis, world: World) -> None:
    """Remove an input: the column or table, the keys, the file."""
    table, _, column = name.partition(".")
    if column:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}".encode())
    elif name in KEYS:
        valkey.delete(*valkey.keys(KEYS[name]))
    elif name.endswith("_log"):
        Path(getattr(world.settings, name)).unlink()
    else:
        connection.execute(f"DROP TABLE {table} CASCADE".encode())


def values_of(world: World) -> dict[str, dict[str, Any]]:
    return {where: value for path in DOCUMENTS for where, value in values_in(world.get(path).json, path)}


def statuses(world: World) -> set[str]:
    """The states of all charts and tables."""
    return {world.get(path).json["status"] for path in (*CHARTS, *TABLES)}


class Stand:
    """The same HiveSync with several exporters, each with its own folder."""

    def __init__(self, database: str, redis_url: str, folder: Path) -> None:
        self._database, self._redis_url, self._folder = database, redis_url, folder

    def world(self, name: str, not_provided: Iterable[str] = (), **settings: Any) -> World:
        folder = self._folder / name
        folder.mkdir()
        return World(self._database, self._redis_url, folder, not_provided=tuple(not_provided), **settings)


@pytest.fixture
def stand(seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path) -> Stand:
    return Stand(database, valkey_server.url, tmp_path)


def test_every_input_has_its_consequences_here() -> None:
    assert list(LACKS) == [each.name for each in INPUTS]


@pytest.mark.parametrize("name", LACKS)
def test_without_an_input_its_values_are_absent_and_no_other(
    name: str, stand: Stand, connection: psycopg.Connection, valkey: redis.Redis
) -> None:
    lack, input_provided = LACKS[name], f'hivesync_input_provided{{input="{name}"}}'
    with stand.world("before") as world:
        world.refresh()
        before, known = samples_of(world), values_of(world)
    with stand.world("declared", [name]) as world:
        take_away(name, connection, valkey, world)
        world.refresh()
        after = samples_of(world)
        kept = {sample: value for sample, value in before.items() if not re.match(lack.samples, sample)}
        assert len(kept) < len(before) or lack.samples == "nothing"
        assert after == {**kept, **lack.others, input_provided: 0}

        state, values = world.get("/status").json, values_of(world)
        assert not state["degraded"]
        assert statuses(world) == {"ok"}
        assert [one["input"] for one in state["inputs"] if not one["provided"]] == [name]
        lacking = {where for where, value in values.items() if value["status"] == "not_provided"}
        assert lacking == {where for where in values if re.match(lack.values, where)}
        assert lacking or lack.values == "nothing"
        for where in lacking:
            source = BY_NAME[name].source
            expected = {"value": None, "status": "not_provided", "sources": [source], "as_of": AS_OF, "input": name}
            assert values[where] == expected, where
        assert {values[where]["status"] for where in values.keys() - lacking} == {"ok"}
        assert known.keys() - values.keys() <= {where for where in known if re.match(r"/\w+/\w+/\d", where)}

        comparisons = world.verify()
        assert [one for one in comparisons if not one.nil] == []
        assert f"Not provided, and without values to compare: {name}." in render_comparisons(comparisons, [name])
    with stand.world("undeclared", collectors=COLLECTORS) as world:
        if name.endswith("_log"):
            take_away(name, connection, valkey, world)
        world.refresh()
        assert world.get("/status").json["degraded"] is lack.fails


def test_a_declared_input_that_is_there_is_not_read(
    stand: Stand, connection: psycopg.Connection, valkey: redis.Redis
) -> None:
    """The values are the same as of a HiveSync that does not have the input at all."""
    valkey.set("ai_queue:stats", "malformed, if it is read")
    with stand.world("there", LACKS) as world:
        world.refresh()
        there = samples_of(world)
        assert all(one.nil for one in world.verify())
    with stand.world("away", LACKS) as world:
        for name in LACKS:
            take_away(name, connection, valkey, world)
        world.refresh()
        assert samples_of(world) == there
        assert all(one.nil for one in world.verify())
        assert not world.get("/status").json["degraded"]
        for path in DATA:
            assert world.get(path).status == 200


def of_devices(world: World) -> Collection[str]:
    return [name for name in samples_of(world) if name.startswith(("hivesync_online", "hivesync_live"))]


def test_who_is_online_needs_web_sockets_or_heartbeats(stand: Stand) -> None:
    neither = ["ws_sessions", "sessions.last_heartbeat_at"]
    with stand.world("neither", neither) as world:
        world.refresh()
        assert of_devices(world) == []
        found = values_of(world)
        for where in ("/summary/online_users", "/users/online_users", "/users/live_view_sessions"):
            assert (found[where]["status"], found[where]["input"]) == ("not_provided", "ws_sessions")
        assert not world.get("/status").json["degraded"]
    for name in neither:
        with stand.world(name, [name]) as world:
            world.refresh()
            assert len(of_devices(world)) == 6


def test_without_web_sockets_who_is_online_does_not_depend_on_redis(stand: Stand, valkey_server: ValkeyServer) -> None:
    with stand.world("declared", ["ws_sessions"]) as world:
        world.refresh()
        assert values_of(world)["/users/online_users"]["sources"] == ["postgres"]


def test_the_incidents_leave_out_the_columns_that_are_not_provided(
    stand: Stand, connection: psycopg.Connection
) -> None:
    who = user(connection, "unlucky")
    failed = {
        "user_id": who,
        "status": "failed",
        "created_at": "2026-03-17T11:00Z",
        "completed_at": "2026-03-17T11:01Z",
    }
    insert(connection, "preview_jobs", error_kind="timeout", **failed)
    ai = "ai_usage_events.error_kind"
    with stand.world("one", [ai, "ai_usage_events.provider"]) as world:
        world.refresh()
        document = world.get("/tables/incidents").json
        states = {column["name"]: (column["status"], column["input"]) for column in document["columns"]}
        assert states["provider"] == ("not_provided", "ai_usage_events.provider")
        assert {states[name] for name in ("model", "error_kind", "time")} == {("ok", None)}
        assert {(row["kind"], row["error_kind"]) for row in document["rows"]} == {
            ("ai_error", None),
            ("preview_failure", "timeout"),
        }
    with stand.world("both", [ai, "preview_jobs.error_kind"]) as world:
        world.refresh()
        document = world.get("/tables/incidents").json
        of_columns = {column["name"]: column["status"] for column in document["columns"]}
        assert of_columns["error_kind"] == "not_provided"
        assert {row["error_kind"] for row in document["rows"]} == {None}
        assert of_columns["model"] == "ok"


def test_the_chart_of_plans_has_the_plans_that_are_known(stand: Stand) -> None:
    with stand.world("declared", ["subscriptions.trial_ends_at"]) as world:
        world.refresh()
        chart = world.get("/charts/plans").json
        assert (chart["status"], chart["categories"]) == ("ok", ["paid", "free"])
        assert chart["series"][0]["values"] == [1, 5]


def test_the_total_cost_is_that_of_the_components_that_are_known(stand: Stand) -> None:
    with stand.world("declared", ["workers"]) as world:
        world.refresh()
        cost = world.get("/monetization").json["cost_month_to_date_dollars"]
        assert cost["total"]["value"] == cost["tokens"]["value"] > 0
    with stand.world("nothing", ["workers", "ai_usage_events.model"]) as world:
        world.refresh()
        cost = world.get("/monetization").json["cost_month_to_date_dollars"]
        assert {part["status"] for part in cost.values()} == {"not_provided"}


def test_a_log_that_is_not_provided_is_not_looked_for(stand: Stand) -> None:
    with stand.world("declared", ["preview_log"]) as world:
        world.refresh()
        (source,) = (one for one in world.get("/status").json["sources"] if one["source"] == "preview_log")
        assert source == {
            "source": "preview_log",
            "up": None,
            "last_success": None,
            "error": None,
            "provided": False,
        }


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_workers_that_are_not_provided_have_the_source_of_the_setting(server: str, stand: Stand) -> None:
    with stand.world(server, ["workers"], workers_from=server) as world:
        world.refresh()
        values = {where: value for where, value in values_of(world).items() if value.get("input") == "workers"}
        assert {tuple(value["sources"]) for value in values.values()} == {(server,)}
