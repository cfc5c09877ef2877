"""The made-up jobs: AI requests and previews are requested, wait in a queue, begin and end.

A job is a row of the database, an entry of a queue while it waits, and lines in a log. `workers.py` works at the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from demo import world
from demo.backend import Backend
from demo.people import Requester
from exporter.queue_keys import STATS

Queue = Literal["ai", "preview"]

TABLES: Mapping[Queue, str] = {"ai": "ai_usage_events", "preview": "preview_jobs"}
KEYS: Mapping[Queue, tuple[str, ...]] = {
    "ai": ("ai_queue:priority", "ai_queue:default"),  # in the order in which workers read them
    "preview": ("preview_queue:default",),
}

INSERT: Mapping[Queue, str] = {
    "ai": """
        INSERT INTO ai_usage_events (user_id, project_id, provider, model)
        VALUES (%(user)s, %(project)s, %(provider)s, %(model)s) RETURNING id
    """,
    "preview": "INSERT INTO preview_jobs (user_id, project_id) VALUES (%(user)s, %(project)s) RETURNING id",
}
BEGIN: Mapping[Queue, str] = {
    "ai": """
        UPDATE ai_usage_events SET status = 'running' WHERE id = %s AND status = 'queued'
        RETURNING id, user_id, project_id, model
    """,
    "preview": """
        UPDATE preview_jobs SET status = 'running' WHERE id = %s AND status = 'queued'
        RETURNING id, user_id, project_id, NULL
    """,
}
END: Mapping[Queue, str] = {
    "ai": """
        UPDATE ai_usage_events SET status = %(status)s, error_kind = %(error_kind)s, completed_at = now(),
            prompt_tokens = %(prompt_tokens)s, completion_tokens = %(completion_tokens)s
        WHERE id = %(id)s AND status = 'running'
        RETURNING (extract(epoch FROM completed_at - created_at) * 1000)::int
    """,
    "preview": """
        UPDATE preview_jobs SET status = %(status)s, error_kind = %(error_kind)s, completed_at = now()
        WHERE id = %(id)s AND status = 'running'
        RETURNING (extract(epoch FROM completed_at - created_at) * 1000)::int
    """,
}
TAKE_BACK = """
    UPDATE {table} SET status = 'queued'
    WHERE status = 'running' AND created_at > now() - interval '1 day' AND NOT id = ANY(%s)
"""
WAITING = """
    SELECT id::text FROM {table}
    WHERE status = 'queued' AND created_at > now() - interval '1 day' ORDER BY created_at
"""


@dataclass(slots=True)
class Job:
    """A job in progress, with its predetermined end."""

    id: UUID
    queue: Queue
    who: Requester
    model: world.Model | None
    seconds: float
    status: str
    error_kind: str | None
    begun: float  # time.monotonic()

    @property
    def is_local(self) -> bool:
        """True when one of HiveSync's own GPUs does the work."""
        return self.model is not None and self.model.provider == "local"

    def lose(self) -> None:
        """Let the job end as after the loss of its worker."""
        self.status, self.error_kind = "failed", world.LOST[self.queue]


class JobLedger:
    """All jobs of the backend."""

    def __init__(self, backend: Backend, longest_queue: int) -> None:
        """With `longest_queue` jobs waiting, further requests are dropped."""
        self._backend = backend
        self._rng = backend.rng
        self._longest_queue = longest_queue

    def request(self, queue: Queue, who: Requester) -> None:
        """Request a job."""
        if self._depth(queue) >= self._longest_queue:
            return
        model = world.choose_model(self._rng) if queue == "ai" else None
        fields = {"provider": model.provider, "model": model.name} if model else {}
        values = {"user": who.user_id, "project": who.project_id, **fields}
        ((job_id,),) = self._backend.execute(INSERT[queue], values)
        is_urgent = queue == "ai" and self._rng.random() < world.PRIORITY_QUEUE
        self._backend.redis.rpush(KEYS[queue][0 if is_urgent else -1], str(job_id))
        self._log(queue, "requested", job_id, who, **fields)

    def take(self, queue: Queue) -> Job | None:
        """Begin the job that has waited longest and return it; None when no job waits."""
        for key in KEYS[queue]:
            entry = self._backend.redis.lpop(key)
            if entry is not None:
                # An entry that was put into the queue by hand has no such row.
                rows = self._backend.execute(BEGIN[queue], [entry])
                return self._begun(queue, *rows[0]) if rows else None
        return None

    def end(self, job: Job) -> None:
        """Record the end of a job. A repetition after a failure records it once only."""
        tokens = self._tokens(job)
        values = {"id": job.id, "status": job.status, "error_kind": job.error_kind, **tokens}
        for (latency_ms,) in self._backend.execute(END[job.queue], values):
            if job.queue == "ai":
                processing_ms = round((time.monotonic() - job.begun) * 1000)
                self._backend.redis.hincrby(STATS, "processed", 1)
                self._backend.redis.hincrby(STATS, "processing_ms", processing_ms)
            self._log_end(job, latency_ms, tokens)

    def recover(self, running: Iterable[UUID]) -> None:
        """Queue again the jobs that Redis has lost: those that wait according to the database, which keeps everything.

        A job that is running there but not among the `running` has lost its worker, and waits again.
        """
        for queue, table in TABLES.items():
            self._backend.execute(TAKE_BACK.format(table=table), [list(running)])
            known = {entry for key in KEYS[queue] for entry in self._backend.redis.lrange(key, 0, -1)}
            rows = self._backend.execute(WAITING.format(table=table))
            forgotten = [job_id for (job_id,) in rows if job_id not in known]
            if forgotten:
                self._backend.redis.rpush(KEYS[queue][-1], *forgotten)

    def _depth(self, queue: Queue) -> int:
        return sum(int(self._backend.redis.llen(key)) for key in KEYS[queue])

    def _begun(
        self, queue: Queue, job_id: UUID, user: UUID | None, project: UUID | None, model_name: str | None
    ) -> Job:
        model = next((model for model in world.MODELS if model.name == model_name), None)
        status = world.choose(self._rng, world.OUTCOMES)
        error_kind = world.choose(self._rng, world.ERRORS[queue]) if status == "failed" else None
        seconds = world.around(self._rng, model.seconds if model else world.PREVIEW_SECONDS, world.SECONDS_SIGMA)
        if error_kind == "timeout":
            seconds = world.TIMEOUT_SECONDS
        return Job(job_id, queue, Requester(user, project), model, seconds, status, error_kind, time.monotonic())

    def _tokens(self, job: Job) -> dict[str, int | None]:
        if job.model is None or job.status != "succeeded":
            return {"prompt_tokens": None, "completion_tokens": None}
        medians = {"prompt_tokens": job.model.prompt_tokens, "completion_tokens": job.model.completion_tokens}
        return {name: round(world.around(self._rng, median, world.TOKENS_SIGMA)) for name, median in medians.items()}

    def _log_end(self, job: Job, latency_ms: int, tokens: Mapping[str, int | None]) -> None:
        is_ai = job.queue == "ai"
        events = {"succeeded": "completed", "failed": "error" if is_ai else "failed"}
        if job.status not in events:  # the logs contain no cancelled jobs
            return
        fields: dict[str, object] = {"latency_ms" if is_ai else "duration_ms": latency_ms}
        if job.model is not None:
            fields |= {"provider": job.model.provider, "model": job.model.name, **tokens}
        if job.error_kind is not None:
            fields["error_kind"] = job.error_kind
        self._log(job.queue, events[job.status], job.id, job.who, **fields)

    def _log(self, queue: Queue, event: str, job_id: UUID, who: Requester, **fields: object) -> None:
        log = self._backend.ai_log if queue == "ai" else self._backend.preview_log
        log.write(f"{queue}.{event}", job_id=job_id, user_id=who.user_id, project_id=who.project_id, **fields)
