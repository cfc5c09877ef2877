"""The real exporter as a process: started with given settings, watched through /metrics and through its log.

    with RunningExporter(directory, database_url=..., redis_url=...) as exporter:
        exporter.wait_for(lambda samples: samples.get("hivesync_projects") == 3)

`wait_for` asks again and again, within the bound of `tests.waiting`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import psycopg
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from demo.exporting import Exporter, exporter_variables
from exporter.transitions import SPACING_PERIODS
from servers.bound import Bound, slowness
from tests.rows import insert, users
from tests.waiting import POLL_SECONDS, WITHIN_SECONDS, patience, until

REFRESH_SECONDS = 0.3
OPENMETRICS = "application/openmetrics-text"

Samples = Mapping[str, float]
"""Values by `name{label="value",...}`, with labels in alphabetical order; `name` alone without labels."""

FED_BY: Mapping[str, frozenset[str]] = {
    "postgres": frozenset(
        {
            "hivesync_users",
            "hivesync_projects",
            "hivesync_active_users",
            "hivesync_ai_requests_in_window",
            "hivesync_preview_requests_in_window",
            "hivesync_ai_requests_per_user",
            "hivesync_ai_errors_in_window",
            "hivesync_job_latency_average_seconds",
            "hivesync_jobs",
            "hivesync_oldest_waiting_job_timestamp_seconds",
            "hivesync_ai_tokens_month_to_date",
            "hivesync_rollup_latest_day_timestamp_seconds",
            'hivesync_ai_cost_month_to_date_dollars{component="tokens"}',
            'hivesync_ai_cost_month_projected_dollars{component="tokens"}',
            'hivesync_skipped_values{collector="latency",reason="negative_latency"}',
        }
    ),
    "redis": frozenset(
        {
            "hivesync_queue_depth",
            "hivesync_worker_healthy",
            "hivesync_worker_last_heartbeat_timestamp_seconds",
            "hivesync_gpu_worker_state",
            "hivesync_gpu_worker_info",
            'hivesync_ai_cost_month_to_date_dollars{component="gpu"}',
            'hivesync_ai_cost_month_projected_dollars{component="gpu"}',
            'hivesync_skipped_values{collector="workers",reason="malformed"}',
        }
    ),
    "both": frozenset({"hivesync_online_users", "hivesync_online_devices", "hivesync_live_view_sessions"}),
    "ai_events_log": frozenset({'hivesync_log_unread_bytes{log="ai-events"}'}),
    "preview_log": frozenset({'hivesync_log_unread_bytes{log="preview"}'}),
}
"""The gauges of each source, and those that require PostgreSQL and Redis both."""

COUNTERS = frozenset(
    {
        "hivesync_queue_processing_seconds_sum",
        "hivesync_queue_processing_seconds_count",
        "hivesync_gpu_instance_seconds_total",
        "hivesync_ai_log_events_total",
        "hivesync_ai_log_errors_total",
        "hivesync_preview_log_events_total",
        "hivesync_preview_log_failures_total",
        "hivesync_log_lines_total",
    }
)
"""Counters, shown from their start on."""

FOR_THE_PAGE = ("charts", "incidents", "top_users")
"""The collectors without metrics."""

AI_LINE = b'{"event": "ai.requested", "job_id": "1"}\n'
PREVIEW_LINE = b'{"event": "live_view.joined"}\n'
REQUESTED = 'hivesync_ai_log_events_total{event="ai.requested"}'
"""The sample that counts AI_LINE."""
GPU_SECONDS = 'hivesync_gpu_instance_seconds_total{instance_type="g5.xlarge",lifecycle="spot"}'


def parse(text: str, *, openmetrics: bool = False) -> dict[str, float]:
    """The samples of an exposition. Fails on a duplicate sample."""
    families: Iterable[Any] = parse_openmetrics(text) if openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
    values: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in values, f"twice: {name}"
            values[name] = sample.value
    return values


def metrics_of(samples: Iterable[str]) -> set[str]:
    """The names of the samples, without labels."""
    return {name.partition("{")[0] for name in samples}


def some_of(samples: Samples, names: Collection[str]) -> dict[str, float]:
    """The samples with one of these names, with or without labels."""
    return {name: value for name, value in samples.items() if name in names or name.partition("{")[0] in names}


def all_there(samples: Samples, names: Collection[str]) -> bool:
    """Whether each of these names has at least one sample."""
    return not set(names) - samples.keys() - metrics_of(samples)


def is_up(samples: Samples, source: str) -> bool | None:
    """The value of `hivesync_source_up` for a source; None while it is absent."""
    value = samples.get(f'hivesync_source_up{{source="{source}"}}')
    return None if value is None else bool(value)


def seed_database(connection: psycopg.Connection) -> None:
    """Insert current rows, so that every metric of PostgreSQL has a sample."""
    now = datetime.now(UTC)
    (who,) = users(connection, 1)
    insert(connection, "projects", owner_id=who, name="compiler")
    insert(connection, "sessions", user_id=who, device_type="ipad")
    done = {"created_at": now - timedelta(seconds=5), "completed_at": now}
    insert(connection, "ai_usage_events", user_id=who, status="succeeded", model="gpt-4.1", prompt_tokens=10, **done)
    insert(connection, "preview_jobs", user_id=who, status="succeeded", **done)
    insert(connection, "preview_jobs", user_id=who, status="queued", created_at=now - timedelta(days=40))
    connection.execute("INSERT INTO usage_analytics_daily VALUES ('2026-01-01', 1, 1, 1, 1, 1, 1)")


def seed_valkey(url: str) -> None:
    """Create keys, so that every metric of Redis has a sample; idempotent."""
    with redis.Redis.from_url(url) as valkey:
        if valkey.exists("ai_queue:stats"):
            return
        valkey.rpush("ai_queue:default", "a job", "another")
        valkey.hset("ai_queue:stats", mapping={"processed": 40, "processing_ms": 90_500})
        beat(valkey, time.time() - 30)


def beat(valkey: redis.Redis, at: float) -> None:
    """Store a heartbeat of a GPU worker (unix seconds)."""
    worker = {"kind": "gpu", "state": "idle", "instance_type": "g5.xlarge", "lifecycle": "spot"}
    valkey.hset("worker:heartbeat:gpu-1", mapping=cast("dict[Any, Any]", worker | {"last_heartbeat": str(at)}))


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and the raw body; a server that does not answer fails the test."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=patience())
    try:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


SETTLED_SECONDS = 0.1
"""Time without a new event after which a running exporter has written those before, on a quiet machine."""


class RunningExporter(Exporter):
    """The exporter with a state directory, price file and two log files of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        redis_url: str,
        refresh_seconds: float = REFRESH_SECONDS,
        **settings: object,
    ) -> None:
        """`settings` are further variables, named as the fields of `Settings`."""
        directory.mkdir(parents=True, exist_ok=True)
        variables = exporter_variables(
            directory, database_url=database_url, redis_url=redis_url, log_directory=directory / "logs"
        )
        given = {f"HIVESYNC_{name.upper()}": str(value) for name, value in settings.items()}
        self.variables = variables | {"HIVESYNC_REFRESH_SECONDS": str(refresh_seconds)} | given
        super().__init__(directory, self.variables)
        self._patient = True
        self.ai_log = Path(self.variables["HIVESYNC_AI_EVENTS_LOG"])
        self.preview_log = Path(self.variables["HIVESYNC_PREVIEW_LOG"])
        self.state = Path(self.variables["HIVESYNC_STATE_DIR"])
        self.ai_log.parent.mkdir(parents=True, exist_ok=True)

    def samples(self) -> dict[str, float]:
        """The current samples of /metrics."""
        status, _, body = get(f"{self.url}/metrics")
        assert status == 200
        return parse(body.decode())

    def wait_for(self, condition: Callable[[Samples], object], within: float = WITHIN_SECONDS) -> dict[str, float]:
        """The first samples that meet the condition; fails at once if the condition raises."""
        bound = Bound(within)
        while not condition(samples := self.samples()):
            if bound.is_reached():
                shown = "\n".join(f"{name} {value:g}" for name, value in samples.items() if "_bucket" not in name)
                raise AssertionError(
                    f"not within {bound.seconds:g} s; the last were\n{shown}\nand it said\n{self.log_tail()}"
                )
            time.sleep(POLL_SECONDS)
        return samples

    def refreshed(self, times: int = 2) -> dict[str, float]:
        """The samples after that many further refreshes of every collector."""
        before = _refreshes(self.samples())
        return self.wait_for(
            lambda samples: all(count >= before[name] + times for name, count in _refreshes(samples).items())
        )

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """The events since the start, except the first `since`; fails for a line that is not a JSON object.

        A running exporter writes them in a thread of its own, after its answers: the log has to stay for a moment as it
        is.
        """
        before = b""
        while (written := self._written()) != before and self.is_alive:
            before = written
            time.sleep(SETTLED_SECONDS * slowness())
        return [orjson.loads(line) for line in written.split(b"\n")[:-1]][since:]

    def _written(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def changes(self, since: int = 0, *, away: Collection[str] = ()) -> list[tuple[str, str]]:
        """(`degraded` or `recovered`, collector or else source), in the order of the log.

        On a busy machine a healthy server times out too: a time-out and its end are left out, except the first of each
        source that the test takes away.
        """
        awaited, timed_out, changes = set(away), set(), []
        for event in self.events(since):
            if not event["event"].startswith("system.analytics."):
                continue
            what, who = event["event"].removeprefix("system.analytics."), event.get("collector", event["source"])
            if what == "degraded" and event.get("kind") == "timeout" and who not in awaited:
                timed_out.add(who)
            elif what == "recovered" and who in timed_out:
                timed_out.remove(who)
            else:
                awaited.discard(who)
                changes.append((what, who))
        return changes

    def settle(self) -> None:
        """Wait until no source or collector has changed for so long that its next change is logged at once."""
        spacing = timedelta(seconds=SPACING_PERIODS * float(self.variables["HIVESYNC_REFRESH_SECONDS"]) + 1)

        def is_quiet() -> bool:
            changes = [event for event in self.events() if event["event"].startswith("system.analytics.")]
            return all(datetime.now(UTC) - datetime.fromisoformat(e["timestamp"]) > spacing for e in changes[-1:])

        until(is_quiet, "no further changes")

    def launch(self) -> None:
        """Start the exporter, and wait until it answers; its first pass may still be running."""
        self._patient = False
        try:
            self.start()
        finally:
            self._patient = True

    def is_ready(self) -> bool:
        return super().is_ready() if self._patient else self.answers()

    def answers(self) -> bool:
        """Whether /metrics is served."""
        try:
            return get(f"{self.url}/metrics")[0] == 200
        except (OSError, HTTPException):
            return False

    def terminate(self) -> tuple[int, float]:
        """Stop the exporter with SIGTERM; returns its exit status, and the seconds until then."""
        process = self._process
        assert process is not None
        started = time.monotonic()
        self.stop()
        return process.returncode, time.monotonic() - started

    def command_line(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m exporter ...` with the same settings, to its end."""
        return run_exporter(self.environment, self.directory, arguments)


def run_exporter(
    environment: Mapping[str, str], directory: Path, arguments: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `python -m exporter` until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


def _refreshes(samples: Samples) -> dict[str, float]:
    return {
        name: value for name, value in samples.items() if name.startswith("hivesync_refresh_duration_seconds_count")
    }
