"""The made-up workers: three CPU workers take the jobs, two GPU workers run the local model for them.

One CPU worker falls silent for a few minutes now and then, to demonstrate an unhealthy worker. Heartbeats and silences
keep to the wall clock, at any speed of the traffic, because the exporter judges workers by it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

from demo.backend import Backend, RedisFields
from demo.jobs import Job, JobLedger, Queue

PREVIEWS_FIRST = 0.3
FIRST_SILENCE_SECONDS = 150.0
SILENCE_SECONDS = (150.0, 300.0)
BETWEEN_SILENCES_SECONDS = (480.0, 900.0)


@dataclass(slots=True)
class CpuWorker:
    """A worker that takes jobs, except while it is silent; each job with the time of its end."""

    id: str
    silent_until: float = 0.0
    jobs: list[tuple[Job, float]] = field(default_factory=list)

    @property
    def is_silent(self) -> bool:
        """True during a silence."""
        return time.monotonic() < self.silent_until


@dataclass(frozen=True, slots=True)
class GpuWorker:
    """A worker that runs the local model."""

    id: str
    instance_type: str
    lifecycle: str


CPU_WORKERS = ("cpu-1", "cpu-2", "cpu-3")
GPU_WORKERS = (GpuWorker("gpu-1", "g5.xlarge", "spot"), GpuWorker("gpu-2", "g6.xlarge", "on-demand"))


class WorkerPool:
    """All workers. `now` is the traffic's own, perhaps faster, time."""

    def __init__(self, backend: Backend, jobs: JobLedger, slots: int) -> None:
        """Each CPU worker works at up to `slots` jobs at a time."""
        self._redis = backend.redis
        self._rng = backend.rng
        self._jobs = jobs
        self._slots = slots
        self._cpu_workers = [CpuWorker(worker) for worker in CPU_WORKERS]
        self._next_silence = time.monotonic() + FIRST_SILENCE_SECONDS

    def running(self) -> list[UUID]:
        """Return the jobs in progress."""
        return [job.id for worker in self._cpu_workers for job, _ in worker.jobs]

    def advance(self, now: float) -> None:
        """End the jobs that are due and begin waiting jobs."""
        if time.monotonic() >= self._next_silence:
            self._fall_silent(self._cpu_workers[-1])
        for worker in self._cpu_workers:
            if not worker.is_silent:
                self._end(worker, now)
                self._begin(worker, now)

    def beat(self) -> None:
        """Write the heartbeat of every worker that is not silent."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for worker in self._cpu_workers:
                if not worker.is_silent:
                    fields = _heartbeat("cpu", is_active=bool(worker.jobs))
                    pipeline.hset(f"worker:heartbeat:{worker.id}", mapping=fields)
            for number, gpu in enumerate(GPU_WORKERS):
                fields = _heartbeat("gpu", is_active=number < self._local_jobs())
                fields |= {"instance_type": gpu.instance_type, "lifecycle": gpu.lifecycle}
                pipeline.hset(f"worker:heartbeat:{gpu.id}", mapping=fields)
            pipeline.execute()

    def _local_jobs(self) -> int:
        return sum(job.is_local for worker in self._cpu_workers for job, _ in worker.jobs)

    def _end(self, worker: CpuWorker, now: float) -> None:
        for entry in list(worker.jobs):
            job, ends_at = entry
            if ends_at <= now:
                self._jobs.end(job)
                worker.jobs.remove(entry)

    def _begin(self, worker: CpuWorker, now: float) -> None:
        while len(worker.jobs) < self._slots:
            queues: list[Queue] = ["ai", "preview"]
            if self._rng.random() < PREVIEWS_FIRST:
                queues.reverse()
            job = self._jobs.take(queues[0]) or self._jobs.take(queues[1])
            if job is None:
                return
            worker.jobs.append((job, now + job.seconds))

    def _fall_silent(self, worker: CpuWorker) -> None:
        for job, _ in worker.jobs:
            job.lose()
        self._end(worker, float("inf"))
        worker.silent_until = time.monotonic() + self._rng.uniform(*SILENCE_SECONDS)
        self._next_silence = worker.silent_until + self._rng.uniform(*BETWEEN_SILENCES_SECONDS)


def _heartbeat(kind: str, *, is_active: bool) -> RedisFields:
    return {
        "kind": kind,
        "last_heartbeat": str(int(time.time())),
        "state": "active" if is_active else "idle",
    }
