"""Heartbeats in the table or view `workers` of PostgreSQL (docs/definitions.md#worker), against their definitions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter import verify
from exporter.collectors import build_collectors
from exporter.collectors.workers import HEALTHY, Workers
from exporter.definitions import Terms
from exporter.errors import CollectionFailed
from exporter.heartbeats import PostgresHeartbeats
from exporter.prices import Prices
from exporter.state import StateFile
from exporter.worker_keys import Kinds
from tests.rows import INSTANT, NOON, NOWHERE, WITHIN_A_MINUTE, by_name, collect, insert, only, sources
from tests.scenario import settings_for

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
PUBLISHED = """
CREATE TABLE workers (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), worker_id varchar UNIQUE, kind varchar,
                      last_heartbeat_at timestamptz, metadata_ json)
"""
WHOLE = "CREATE TYPE kind AS ENUM ('CPU', 'Gpu', 'preview', 'tpu'); " + PUBLISHED.replace(
    "kind varchar", "kind kind, state text, instance_type text, lifecycle char(12)"
)
KINDS = ("cpu", "gpu", "preview")


class WorkerTable:
    """The collector of the workers in a database, and its definitions."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.terms = Terms(
            Prices.model_validate({"instances": {"g5.xlarge": {"spot": 0.36}}}),
            worker_kinds=KINDS,
            worker_default_kind="cpu",
        )
        self.collector = Workers(
            PostgresHeartbeats(Kinds(KINDS, "cpu")),
            StateFile(folder, "gpu"),
            self.terms.prices,
            healthy_seconds=self.terms.worker_healthy_seconds,
            forgotten_seconds=self.terms.worker_forgotten_seconds,
        )

    def read(self, now: datetime = WITHIN_A_MINUTE) -> Mapping[str, Any]:
        """The values; each of a worker equals its definition."""
        values = collect(self.collector, self.database, now=now)
        compared = asyncio.run(self._compare(now))
        assert [c for c in compared if not c.nil] == []
        proved = {name: value for name, value in values.items() if "_worker_" in name}
        assert len(compared) == len(proved)
        return values

    async def _compare(self, now: datetime) -> list[verify.Comparison]:
        @asynccontextmanager
        async def at_rest() -> Any:
            yield [self.collector]

        async with sources(self.database, now=now) as opened:
            return await verify.compare(at_rest, opened, self.terms)


@pytest.fixture
def table(database: str, tmp_path: Path) -> WorkerTable:
    return WorkerTable(database, tmp_path)


def test_a_worker_of_several_rows_has_its_latest_heartbeat(connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute(WHOLE.replace("UNIQUE", "").encode())
    for age, kind in ((40, "Gpu"), (5, "CPU"), (3600, "preview")):
        insert(connection, "workers", worker_id="a", kind=kind, last_heartbeat_at=WITHIN_A_MINUTE - age * SECOND)
    values = table.read()
    beats = only(values, "hivesync_worker_last_heartbeat_timestamp_seconds")
    assert beats == {"a,cpu": (WITHIN_A_MINUTE - 5 * SECOND).timestamp()}
    assert only(values, HEALTHY.name) == {"a,cpu": 1}


def test_the_published_table_has_workers_of_kinds(connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute(PUBLISHED.encode())
    for worker, kind, age in (("a", "preview", 1), ("b", None, 121), ("celery@c", "map", 3), ("d", "gpu", 4)):
        insert(
            connection,
            "workers",
            worker_id=worker,
            kind=kind,
            last_heartbeat_at=WITHIN_A_MINUTE - age * SECOND,
            metadata_="{}",
        )
    values = table.read()
    assert only(values, "hivesync_worker_healthy") == {"a,preview": 1, "b,cpu": 0, "celery@c,unknown": 1, "d,gpu": 1}
    assert only(values, "hivesync_gpu_worker_state") == {"d,active": 0, "d,idle": 0, "d,offline": 0}
    assert only(values, "hivesync_gpu_worker_info") == {"d,unknown,unknown": 1}


@pytest.mark.parametrize(
    ("age", "healthy", "reason"),
    [
        (120 * SECOND, 1, None),
        (120 * SECOND + INSTANT, 0, None),
        (DAY, 0, None),
        (DAY + INSTANT, None, None),
        (-300 * SECOND, 1, None),
        (-300 * SECOND - INSTANT, None, "future_heartbeat"),
        (None, None, "malformed"),
    ],
)
def test_the_age_is_that_by_the_clock_of_the_database(
    age: timedelta | None, healthy: int | None, reason: str | None, connection: psycopg.Connection, table: WorkerTable
) -> None:
    connection.execute(PUBLISHED.encode())
    insert(connection, "workers", worker_id="w", last_heartbeat_at=None if age is None else WITHIN_A_MINUTE - age)
    values = table.read()
    assert only(values, "hivesync_worker_healthy").get("w,cpu") == healthy
    left_out = {name: count for name, count in only(values, "hivesync_skipped_values").items() if count}
    assert left_out == ({f"workers,{reason}": 1} if reason else {})


@pytest.mark.parametrize("time", ["infinity", "-infinity", "1969-12-31 00:00:00+00"])
def test_a_time_that_cannot_be_is_no_heartbeat(time: str, connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute(PUBLISHED.encode())
    insert(connection, "workers", worker_id="w", last_heartbeat_at=time)
    assert only(table.read(), "hivesync_worker_healthy") == {}


def test_gpu_workers_have_states_and_instances(connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute(WHOLE.encode())
    for worker, kind, state, instance, lifecycle, age in (
        ("gpu 1", "Gpu", "ACTIVE ", "g5.xlarge", "Spot", 1),
        ("gpu1", "Gpu", "idle", "p4d {24}", "on-demand", 200),
        ("gpu-2", "Gpu", "draining", None, "", 1),
        ("cpu-1", "CPU", "idle", "g5.xlarge", "spot", 1),
        ("x", "tpu", None, None, None, 1),
        ("", "preview", None, None, "leased", 1),
    ):
        insert(
            connection,
            "workers",
            worker_id=worker,
            kind=kind,
            state=state,
            instance_type=instance,
            lifecycle=lifecycle,
            last_heartbeat_at=WITHIN_A_MINUTE - age * SECOND,
        )
    values = table.read()
    assert only(values, "hivesync_worker_healthy") == {
        "gpu1,gpu": 0,
        "gpu-2,gpu": 1,
        "cpu-1,cpu": 1,
        "x,unknown": 1,
        "unknown,preview": 1,
    }
    states = only(values, "hivesync_gpu_worker_state")
    assert {name for name, value in states.items() if value} == {"gpu1,offline"}
    assert only(values, "hivesync_gpu_worker_info") == {"gpu1,p4d24,on-demand": 1, "gpu-2,unknown,unknown": 1}


def test_beyond_200_workers_the_rest_is_other(connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute(PUBLISHED.encode())
    connection.execute(
        "INSERT INTO workers (worker_id, kind, last_heartbeat_at) SELECT 'w ' || to_char(n, 'FM000'), 'gpu',"
        " %s::timestamptz - CASE n WHEN 203 THEN interval '1 hour' ELSE '1 second' END FROM generate_series(1, 205) n",
        [WITHIN_A_MINUTE],
    )
    healthy = only(table.read(), "hivesync_worker_healthy")
    assert len(healthy) == 201
    assert (healthy["w200,gpu"], healthy["other,gpu"]) == (1, 0)


def test_gpu_time_is_counted_and_its_cost_is_not_compared(connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute(WHOLE.encode())
    spot = {"worker_id": "g", "kind": "Gpu", "instance_type": "g5.xlarge", "lifecycle": "spot"}
    insert(connection, "workers", **spot, last_heartbeat_at=NOON)
    table.read(NOON)
    connection.execute("UPDATE workers SET last_heartbeat_at = %s", [NOON + 100 * SECOND])
    values = table.read(NOON + 100 * SECOND)
    assert values["hivesync_ai_cost_month_to_date_dollars{gpu}"] == pytest.approx(0.01)
    assert only(by_name(table.collector.counters()), "hivesync_gpu_instance_seconds_total") == {"g5.xlarge,spot": 100}


def test_a_view_of_other_columns_is_as_good(connection: psycopg.Connection, table: WorkerTable) -> None:
    connection.execute("CREATE TABLE fleet (name int, seen timestamptz)")
    connection.execute(
        "CREATE VIEW workers AS SELECT name AS worker_id, NULL AS kind, seen AS last_heartbeat_at FROM fleet"
    )
    insert_fleet = "INSERT INTO fleet VALUES (7, %s)"
    connection.execute(insert_fleet, [WITHIN_A_MINUTE])
    assert only(table.read(), "hivesync_worker_healthy") == {"7,cpu": 1}


@pytest.mark.parametrize(
    ("made", "kind"),
    [("SELECT", "undefined_table"), ("CREATE TABLE workers (worker_id text, kind text)", "undefined_column")],
)
def test_a_missing_table_or_column_fails_with_its_name(
    made: str, kind: str, connection: psycopg.Connection, table: WorkerTable
) -> None:
    connection.execute(made.encode())
    with pytest.raises(CollectionFailed, match=f"{kind}: .*(workers|last_heartbeat_at)"):
        collect(table.collector, table.database, now=NOON)


def test_the_setting_decides_between_the_servers(database: str, connection: psycopg.Connection, tmp_path: Path) -> None:
    """A table `workers` that is there and empty changes nothing by default."""
    connection.execute(PUBLISHED.encode())
    for chosen in ("redis", "postgres"):
        settings = settings_for(database, NOWHERE, tmp_path, workers_from=chosen)
        collectors = build_collectors(settings, lambda name: StateFile(tmp_path, name))
        (workers,) = (collector for collector in collectors if collector.name == "workers")
        assert workers.sources == (chosen,)
        assert verify.is_defined(workers) == (chosen == "postgres")
        assert HEALTHY in workers.specs
