"""The Analytics section of the real exporter while sources fail: partial data, marked, and never an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from demo.database import DATABASE, EXPORTER_ROLE, create_database
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.admin.documents.values import values_in
from tests.admin.world import API_KEY, CHARTS, DATA, DOCUMENTS, TABLES
from tests.rows import insert
from tests.running import RunningExporter, get, seed_database, seed_valkey
from tests.waiting import until

AI_ERROR = (
    b'{"ts":"2026-01-01T00:00:00Z","event":"ai.error","job_id":"told-by-a-log","provider":"openai","model":"gpt-4.1",'
    b'"error_kind":"timeout"}\n'
)
PREVIEW_FAILURE = (
    b'{"ts":"2026-01-01T00:00:01Z","event":"preview.failed","job_id":"told-too","error_kind":"worker_lost"}\n'
)


@dataclass
class Deployment:
    """The servers and the exporter on them."""

    postgres: PostgresServer
    valkey: ValkeyServer
    exporter: RunningExporter

    def ask(self, path: str) -> Any:
        status, _, body = get(f"{self.exporter.page.rstrip('/')}{path}", {"X-API-Key": API_KEY})
        assert status == 200, (path, status, body)
        return orjson.loads(body)

    def values(self) -> dict[str, dict[str, Any]]:
        """Every value of every document."""
        return {where: value for path in DOCUMENTS for where, value in values_in(self.ask(path), path)}

    def up(self) -> dict[str, bool]:
        return {source["source"]: source["up"] for source in self.ask("/status")["sources"]}

    def changes(self, away: Collection[str]) -> list[tuple[str, str]]:
        return self.exporter.changes(away=away)

    def all_is_well(self) -> bool:
        state = self.ask("/status")
        return not state["degraded"] and all(collector["up"] for collector in state["collectors"])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Deployment]:
    with PostgresServer(tmp_path / "postgres", in_memory=True) as postgres, ValkeyServer(tmp_path / "valkey") as valkey:
        with psycopg.connect(create_database(postgres), autocommit=True) as connection:
            seed_database(connection)
            insert(connection, "ai_usage_events", status="failed", error_kind="timeout", completed_at="now")
        seed_valkey(valkey.url)
        exporter = RunningExporter(
            tmp_path,
            database_url=postgres.url_of(DATABASE, EXPORTER_ROLE),
            redis_url=valkey.url,
            admin_api_key=API_KEY,
        )
        exporter.ai_log.write_bytes(AI_ERROR)
        exporter.preview_log.write_bytes(PREVIEW_FAILURE)
        with exporter:
            stage = Deployment(postgres, valkey, exporter)
            until(stage.all_is_well, "everything read once")
            yield stage


SOURCES_OF = {
    "/summary/online_users": {"postgres", "redis"},
    "/summary/ai_requests_last_hour": {"postgres"},
    "/summary/ai_queue_depth": {"redis"},
    "/summary/preview_queue_depth": {"redis"},
    "/summary/paid_free_ratio": {"postgres"},
    "/ai/log_events/ai.error": {"ai_events_log"},
    "/workers/healthy": {"redis"},
    "/queues/latency_seconds/ai/1h": {"postgres"},
    "/monetization/cost_month_to_date_dollars/total": {"postgres", "redis"},
}


def fail(stage: Deployment, source: str) -> None:
    if source == "postgres":
        stage.postgres.kill()
    elif source == "redis":
        stage.valkey.kill()
    else:
        log = stage.exporter.ai_log if source == "ai_events_log" else stage.exporter.preview_log
        log.unlink()
        log.mkdir()  # unreadable, by root too


def mend(stage: Deployment, source: str) -> None:
    if source == "postgres":
        stage.postgres.start()
    elif source == "redis":
        stage.valkey.start()
        seed_valkey(stage.valkey.url)
    else:
        log = stage.exporter.ai_log if source == "ai_events_log" else stage.exporter.preview_log
        log.rmdir()
        log.touch()


EVERY = ("postgres", "redis", "ai_events_log", "preview_log")


@pytest.mark.parametrize("down", [*((source,) for source in EVERY), EVERY], ids=[*EVERY, "all at once"])
def test_values_of_a_failed_source_are_degraded_with_their_last_value(down: tuple[str, ...], stage: Deployment) -> None:
    before = stage.values()
    assert {where: set(before[where]["sources"]) for where in SOURCES_OF} == SOURCES_OF
    for source in down:
        fail(stage, source)
    until(lambda: {s for s, up in stage.up().items() if not up} == set(down), "the sources are seen to be down")
    during = stage.values()
    assert stage.ask("/status")["degraded"] is True
    for where, sources in SOURCES_OF.items():
        expected = "degraded" if sources & set(down) else "ok"
        assert during[where]["status"] == expected, where
        if expected == "degraded":
            assert during[where]["value"] is not None, where
            assert during[where]["value"] == stage_value(before, where), where
            assert during[where]["as_of"] is not None, where
    for path in (*CHARTS, *TABLES):
        assert stage.ask(path)["status"] == ("degraded" if "postgres" in down else "ok")
    for path in DATA:
        stage.ask(path)

    for source in down:
        mend(stage, source)
    until(stage.all_is_well, "everything is well again")
    assert {value["status"] for value in stage.values().values()} == {"ok"}
    changes = [change for change in stage.changes(down) if change[1] in down]
    assert sorted(changes) == sorted([("degraded", s) for s in down] + [("recovered", s) for s in down])


def stage_value(values: dict[str, dict[str, Any]], where: str) -> Any:
    return values[where]["value"]


def test_while_postgresql_is_down_incidents_of_the_logs_are_added(stage: Deployment) -> None:
    (known,) = stage.ask("/tables/incidents")["rows"]
    stage.postgres.kill()
    until(lambda: stage.ask("/tables/incidents")["status"] == "degraded", "PostgreSQL is seen to be down")
    with stage.exporter.ai_log.open("ab") as log:
        log.write(AI_ERROR.replace(b"told-by-a-log", b"told-meanwhile").replace(b"2026-01-01", b"2026-01-02"))
    until(lambda: "told-meanwhile" in jobs(stage), "the log's line is listed")
    table = stage.ask("/tables/incidents")
    assert table["origin"] == "logs"
    assert table["sources"] == ["postgres", "ai_events_log", "preview_log"]
    assert table["rows"] == [
        known,
        row("2026-01-02T00:00:00.000Z", "ai_error", "told-meanwhile", "timeout", "openai", "gpt-4.1"),
        row("2026-01-01T00:00:01.000Z", "preview_failure", "told-too", "worker_lost"),
        row("2026-01-01T00:00:00.000Z", "ai_error", "told-by-a-log", "timeout", "openai", "gpt-4.1"),
    ]
    stage.postgres.start()
    until(lambda: stage.ask("/tables/incidents")["origin"] == "postgres", "PostgreSQL is asked again")
    assert stage.ask("/tables/incidents")["rows"] == [known]


def jobs(stage: Deployment) -> list[str]:
    return [row["job_id"] for row in stage.ask("/tables/incidents")["rows"]]


def row(
    time: str, kind: str, job: str, error: str, provider: str | None = None, model: str | None = None
) -> dict[str, str | None]:
    return {"time": time, "kind": kind, "job_id": job, "provider": provider, "model": model, "error_kind": error}
