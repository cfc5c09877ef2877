"""The live traffic, accelerated: every known event occurs, and nothing stops it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from demo import event_log, traffic, workers, world
from demo.database import create_database, fill_database
from demo.jobs import KEYS
from demo.traffic import Traffic
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer
from tests.demo.consistency import lies
from tests.waiting import until

AI_FIELDS = {"job_id", "user_id", "project_id", "provider", "model", "latency_ms", "error_kind"}
AI_FIELDS |= {"prompt_tokens", "completion_tokens"}
PREVIEW_FIELDS = {"job_id", "user_id", "project_id", "duration_ms", "error_kind"}
AI_EVENTS = {"ai.requested", "ai.completed", "ai.error"}
PREVIEW_EVENTS = {"preview.requested", "preview.completed", "preview.failed", "live_view.joined", "live_view.left"}


@dataclass(frozen=True)
class Scene:
    """Running traffic, its servers and its logs."""

    postgres: PostgresServer
    valkey: ValkeyServer
    database_url: str
    logs: Path
    traffic: Traffic
    notes: list[str]

    def database(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection to the database."""
        return psycopg.connect(self.database_url, autocommit=True)

    def redis(self) -> redis.Redis:
        """A new client of Valkey."""
        return redis.Redis.from_url(self.valkey.url, decode_responses=True)

    def lines(self, name: str) -> list[dict[str, Any] | None]:
        """Every line of a log; None for an invalid line."""
        lines: list[dict[str, Any] | None] = []
        for line in (self.logs / name).read_bytes().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append(None)
        return lines

    def values(self, query: str) -> list[Any]:
        """The first column of a query's rows."""
        with self.database() as connection:
            return [row[0] for row in connection.execute(query.encode())]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Traffic at 300 times its speed, without a daily rhythm, and with frequent rare events."""
    directory = tmp_path_factory.mktemp("traffic")
    with (
        pytest.MonkeyPatch.context() as patch,
        PostgresServer(directory / "p") as postgres,
        ValkeyServer(directory / "v") as valkey,
    ):
        patch.setattr(world, "rhythm", lambda _: 1.0)
        patch.setattr(world, "OUTCOMES", {"succeeded": 0.4, "failed": 0.4, "cancelled": 0.2})
        patch.setattr(world, "ERRORS", {queue: dict.fromkeys(kinds, 1 / 3) for queue, kinds in world.ERRORS.items()})
        patch.setattr(event_log, "BROKEN", 0.05)
        patch.setattr(event_log, "UNKNOWN", 0.05)
        patch.setattr(event_log, "LINES_A_FILE", 1_000_000)
        patch.setattr(traffic, "BEAT_SECONDS", 0.3)
        patch.setattr(workers, "FIRST_SILENCE_SECONDS", 1.0)
        patch.setattr(workers, "SILENCE_SECONDS", (3.0, 3.0))
        patch.setattr(workers, "BETWEEN_SILENCES_SECONDS", (2.0, 2.0))
        database = create_database(postgres)
        fill_database(database, users=500, days=1, seed=1)
        patch.setattr(world, "AI_REQUESTS_A_DAY", 15.0)
        patch.setattr(world, "PREVIEWS_A_DAY", 5.0)
        patch.setattr(world, "LIVE_VIEW_JOINS_A_DAY", 3.0)
        patch.setattr(world, "PLAN_CHANGES_A_DAY", 10.0)
        patch.setattr(world, "SIGN_UPS_A_DAY", 2.0)
        notes: list[str] = []
        going_on = Traffic(database, valkey.url, directory / "logs", seed=1, speed=300, note=notes.append)
        going_on.start()
        yield Scene(postgres, valkey, database, directory / "logs", going_on, notes)
        going_on.stop()
        assert not going_on.is_alive


@pytest.mark.parametrize(
    ("name", "events", "fields"),
    [("ai-events.log", AI_EVENTS, AI_FIELDS), ("preview.log", PREVIEW_EVENTS, PREVIEW_FIELDS)],
)
def test_every_event_comes_up_with_its_fields(scene: Scene, name: str, events: set[str], fields: set[str]) -> None:
    until(lambda: {line["event"] for line in scene.lines(name) if line} >= events)
    known = [line for line in scene.lines(name) if line and line["event"] in events]
    assert all(line["ts"].endswith("Z") for line in known)
    assert {field for line in known for field in line} - {"ts", "event"} <= fields
    assert {line["event"] for line in known if "latency_ms" in line or "duration_ms" in line} == {
        event for event in events if event.endswith((".completed", ".error", ".failed"))
    }


@pytest.mark.parametrize(("queue", "name"), [("ai", "ai-events.log"), ("preview", "preview.log")])
def test_every_kind_of_error_is_logged_and_written(scene: Scene, queue: str, name: str) -> None:
    kinds = set(world.ERRORS[queue])
    until(lambda: {line["error_kind"] for line in scene.lines(name) if line and "error_kind" in line} == kinds)
    table = {"ai": "ai_usage_events", "preview": "preview_jobs"}[queue]
    query = f"SELECT error_kind FROM {table} WHERE status = 'failed' AND completed_at > now() - interval '1 minute'"
    until(lambda: set(scene.values(query)) == kinds)


def test_broken_lines_and_unknown_events_come_up_too(scene: Scene) -> None:
    until(lambda: None in scene.lines("ai-events.log"))
    until(lambda: {line["event"] for line in scene.lines("ai-events.log") if line} - AI_EVENTS)


def test_jobs_wait_run_and_end_in_every_way(scene: Scene) -> None:
    for table in ("ai_usage_events", "preview_jobs"):
        query = f"SELECT DISTINCT status FROM {table} WHERE created_at > now() - interval '1 minute'"
        ended = {"succeeded", "failed", "cancelled"}
        until(lambda query=query, ended=ended: set(scene.values(query)) >= ended)  # type: ignore[misc]
    with scene.redis() as client:
        for key in (key for keys in KEYS.values() for key in keys):
            until(lambda key=key: client.llen(key) > 0, within=40)  # type: ignore[misc]


def test_all_that_is_queued_in_the_database_waits_in_redis(scene: Scene) -> None:
    query = "SELECT id::text FROM ai_usage_events WHERE status = 'queued'"
    with scene.redis() as client:

        def waiting() -> set[str]:
            return {entry for key in KEYS["ai"] for entry in client.lrange(key, 0, -1)}

        # The database is read before and after the queue: a job queued at both times was in the queue between them.
        until(lambda: (before := set(scene.values(query))) and before & waiting() & set(scene.values(query)))
        before, inside, after = set(scene.values(query)), waiting(), set(scene.values(query))
        assert before & after <= inside


def test_websockets_come_are_refreshed_and_go(scene: Scene) -> None:
    with scene.redis() as client:

        def keys() -> set[str]:
            return set(client.scan_iter("ws_sessions:*", count=1_000))

        def fields_of(key: str) -> Mapping[str, str]:
            fields: Mapping[str, str] = client.hgetall(key)
            return fields

        first = keys()
        assert len(first) >= 12
        until(lambda: keys() - first)
        until(lambda: first - keys())
        until(lambda: keys() and all(0 < client.ttl(key) <= 60 for key in first & keys()))
        now = time.time()
        until(lambda: any(float(fields_of(key).get("last_seen_at", 0)) > now + 1 for key in first))
        all_fields = [fields for key in keys() if (fields := fields_of(key))]
        required = {"connected_at", "last_seen_at"}
        assert all(required <= fields.keys() for fields in all_fields)
        assert all(fields.keys() <= required | {"user_id", "session_id", "device_type"} for fields in all_fields)
        until(lambda: any("session_id" not in fields for key in keys() if (fields := fields_of(key))))
        sessions = {fields["session_id"] for fields in all_fields if "session_id" in fields}
        assert sessions <= set(scene.values("SELECT id::text FROM sessions"))


def test_a_dozen_users_are_online_all_the_time(scene: Scene) -> None:
    query = """
        SELECT count(DISTINCT user_id) FROM sessions
        WHERE ended_at IS NULL AND last_heartbeat_at > now() - interval '2 minutes'
    """
    assert min(scene.values(query)) >= 12


def test_the_statistics_of_the_queue_grow(scene: Scene) -> None:
    with scene.redis() as client:

        def stats() -> dict[str, int]:
            return {name: int(value) for name, value in client.hgetall("ai_queue:stats").items()}

        before = until(stats)
        assert before.keys() == {"processed", "processing_ms"}
        until(lambda: all(stats()[name] > value for name, value in before.items()))


def test_five_workers_beat_and_gpus_say_what_they_are(scene: Scene) -> None:
    with scene.redis() as client:
        beats = {key.rpartition(":")[2]: client.hgetall(key) for key in client.scan_iter("worker:heartbeat:*")}
        assert sorted(beats) == ["cpu-1", "cpu-2", "cpu-3", "gpu-1", "gpu-2"]
        kinds = {(fields["kind"], fields.get("instance_type"), fields.get("lifecycle")) for fields in beats.values()}
        assert kinds == {("cpu", None, None), ("gpu", "g5.xlarge", "spot"), ("gpu", "g6.xlarge", "on-demand")}
        for state in ("active", "idle"):
            until(lambda state=state: client.hget("worker:heartbeat:gpu-1", "state") == state)  # type: ignore[misc]
        until(lambda: float(client.hget("worker:heartbeat:cpu-1", "last_heartbeat") or 0) > time.time() - 2)


def test_one_worker_falls_silent_and_comes_back(scene: Scene) -> None:
    with scene.redis() as client:

        def silence() -> float:
            beats = [float(client.hget(f"worker:heartbeat:cpu-{number}", "last_heartbeat") or 0) for number in (1, 3)]
            return beats[0] - beats[1]

        until(lambda: silence() >= 2)
        until(lambda: silence() <= 1)


def test_people_sign_up_and_change_their_plans(scene: Scene) -> None:
    latest = "now() - interval '1 minute'"
    until(lambda: scene.values(f"SELECT id FROM users WHERE created_at > {latest}"))
    for change in (
        f"SELECT id FROM subscriptions WHERE plan = 'trial' AND started_at > {latest} AND trial_ends_at > now()",
        f"SELECT id FROM subscriptions WHERE plan IN ('pro', 'premium') AND started_at > {latest}",
        f"SELECT id FROM subscriptions WHERE status = 'canceled' AND ended_at > {latest}",
    ):
        until(lambda change=change: scene.values(change))  # type: ignore[misc]


def test_a_trial_that_is_over_has_ended(scene: Scene) -> None:
    with scene.database() as connection:
        query = "UPDATE subscriptions SET trial_ends_at = now() WHERE id = (SELECT id FROM subscriptions WHERE plan = "
        query += "'trial' AND ended_at IS NULL LIMIT 1) RETURNING id"
        ((trial,),) = connection.execute(query.encode()).fetchall()
        status = f"SELECT status FROM subscriptions WHERE id = '{trial}' AND ended_at = trial_ends_at"
        until(lambda: scene.values(status) == ["expired"])


def test_nothing_that_it_writes_is_a_lie(scene: Scene) -> None:
    count = "SELECT count(*) FROM ai_usage_events"
    before = scene.values(count)[0]
    until(lambda: scene.values(count)[0] > before + 20)
    with scene.database() as connection:
        assert lies(connection) == []


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_it_waits_while_a_server_is_away_and_then_goes_on(scene: Scene, name: str) -> None:
    server = {"postgres": scene.postgres, "valkey": scene.valkey}[name]
    scene.notes.clear()
    server.kill()
    until(lambda: any("waits" in note for note in scene.notes))
    server.start()
    until(lambda: any("goes on" in note for note in scene.notes))
    assert scene.traffic.is_alive
    before = len(scene.lines("ai-events.log"))
    until(lambda: len(scene.lines("ai-events.log")) > before + 10)
    with scene.redis() as client:
        until(lambda: client.exists("worker:heartbeat:cpu-1", "ai_queue:stats") == 2)
        until(lambda: list(client.scan_iter("ws_sessions:*")))


def test_what_valkey_forgot_in_between_is_queued_again(scene: Scene) -> None:
    query = "SELECT id FROM ai_usage_events WHERE status = 'queued'"
    forgotten = until(lambda: scene.values(query))
    with scene.redis() as client:
        client.flushall()
    identifiers = ", ".join(f"'{job}'" for job in forgotten)
    until(
        lambda: scene.values(f"SELECT id FROM ai_usage_events WHERE status = 'queued' AND id IN ({identifiers})") == []
    )


def test_an_entry_of_somebody_else_in_a_queue_does_no_harm(scene: Scene) -> None:
    with scene.redis() as client:
        client.rpush("ai_queue:default", "garbage")
        until(lambda: "garbage" not in client.lrange("ai_queue:default", 0, -1))
    before = len(scene.lines("ai-events.log"))
    until(lambda: len(scene.lines("ai-events.log")) > before + 10)
    assert scene.traffic.is_alive
