"""Workers and their heartbeats, CPU and GPU, and the running time of GPU instances (docs/definitions.md#worker).

    hivesync_worker_healthy{worker="cpu-1",kind="cpu"} 1.0
    hivesync_gpu_worker_state{worker="gpu-1",state="idle"} 1.0
    hivesync_gpu_instance_seconds_total{instance_type="g5.xlarge",lifecycle="spot"} 86400.0

The age of a heartbeat is computed with Redis' clock, never with that of this process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from exporter import disk
from exporter.collector import SKIPPED, Sources, skipped
from exporter.collectors.cost import MONTH_TO_DATE, PROJECTED, gpu_dollars
from exporter.errors import StateError
from exporter.gpu_usage import Beat, GpuUsage
from exporter.inputs import Need
from exporter.labels import UNKNOWN, bounded, closed
from exporter.prices import Prices
from exporter.sources.redis import Fields, WrongType, is_wildcard
from exporter.spec import Label, MetricSpec, Sample
from exporter.state import StateFile
from exporter.vocabulary import GPU_STATES, LIFECYCLES, WORKER_KINDS

LONGEST_LEAD = 300.0
"""Seconds by which a heartbeat may be ahead of the clock; beyond that it cannot be true (a fault of clocks, not of
workers)."""

_SOURCE = "Redis (worker heartbeats)"
_HEARTBEATS = (Need(("workers",)),)
HEALTHY = MetricSpec(
    "hivesync_worker_healthy",
    "gauge",
    "1 while the worker's last heartbeat is recent (at most 120 s old by default), else 0.",
    _SOURCE,
    (Label("worker"), Label("kind", (*WORKER_KINDS, UNKNOWN))),
    needs=_HEARTBEATS,
)
LAST_HEARTBEAT = MetricSpec(
    "hivesync_worker_last_heartbeat_timestamp_seconds",
    "gauge",
    "Unix time of the worker's last heartbeat.",
    _SOURCE,
    (Label("worker"), Label("kind", (*WORKER_KINDS, UNKNOWN))),
    needs=_HEARTBEATS,
)
GPU_STATE = MetricSpec(
    "hivesync_gpu_worker_state",
    "gauge",
    "1 for the current state of the GPU worker, 0 for the others; offline without a recent heartbeat.",
    _SOURCE,
    (Label("worker"), Label("state", GPU_STATES)),
    needs=_HEARTBEATS,
)
GPU_INFO = MetricSpec(
    "hivesync_gpu_worker_info",
    "info",
    "Instance of a GPU worker: its type, and its lifecycle (spot or on-demand).",
    _SOURCE,
    (Label("worker"), Label("instance_type"), Label("lifecycle")),
    needs=_HEARTBEATS,
)
GPU_SECONDS = MetricSpec(
    "hivesync_gpu_instance_seconds_total",
    "counter",
    "Running time of GPU instances, by their workers' heartbeats while this exporter runs; kept over restarts.",
    _SOURCE,
    (Label("instance_type"), Label("lifecycle")),
    needs=_HEARTBEATS,
)

SAVE_SECONDS = 1.0
"""Time for which a refresh waits for a save; the next one waits again."""

OVERDUE_SECONDS = 5.0
"""Minimum time after which a save is reported, where two refresh periods are shorter."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's latest heartbeat (unix seconds). `state` is None where the hash has no known state."""

    id: str
    kind: str
    last_heartbeat: float
    state: str | None
    instance_type: str
    lifecycle: str


class Workers:
    """The collector of heartbeats; GPU time is counted from one refresh to the next."""

    name = "workers"
    sources = ("redis",)
    periods = 1
    inputs = _HEARTBEATS
    specs = (HEALTHY, LAST_HEARTBEAT, GPU_STATE, GPU_INFO, GPU_SECONDS, MONTH_TO_DATE, PROJECTED, SKIPPED)

    def __init__(
        self,
        patterns: Sequence[str],
        state: StateFile,
        prices: Prices | None,
        *,
        healthy_seconds: float,
        forgotten_seconds: float,
        refresh_seconds: float = 0.0,
    ) -> None:
        self._patterns, self._prices = patterns, prices
        self._healthy_seconds, self._forgotten_seconds = healthy_seconds, forgotten_seconds
        self._state = state
        self._usage = _load(state)
        self._overdue_after = max(OVERDUE_SECONDS, 2 * refresh_seconds)
        self._saving: disk.Step[None] | None = None
        self._remembers = True

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return health, heartbeat and, for GPU workers, state and instance; the GPU component of the cost."""
        keys = await sources.redis.keys(self._patterns)
        rows = await sources.redis.hashes(keys, ("kind", "last_heartbeat", "state", "instance_type", "lifecycle"))
        now = await sources.redis.time()
        workers, reasons = self._read(keys, rows, now)
        reasons |= {"state_unwritable": int(not await self._count(workers, now))}
        samples = [sample for worker in _merged(workers) for sample in self._samples(worker, now)]
        if self._prices is not None:
            samples += gpu_dollars(self._prices, self._usage, now)
        return samples + skipped(self.name, reasons)

    def counters(self) -> Sequence[Sample]:
        """Return GPU time by instance; nothing before the first GPU worker."""
        return [
            GPU_SECONDS.sample(seconds, instance_type=instance_type, lifecycle=lifecycle)
            for (instance_type, lifecycle), seconds in sorted(self._usage.total.items())
        ]

    def _read(
        self, keys: Sequence[bytes], rows: Sequence[Fields | WrongType], now: float
    ) -> tuple[list[Worker], dict[str, int]]:
        workers = []
        reasons = {"wrong_type": 0, "gone": 0, "malformed": 0, "future_heartbeat": 0}
        for key, row in zip(keys, rows, strict=True):
            if isinstance(row, WrongType):
                reasons["wrong_type"] += 1
                continue
            if not any(row):
                reasons["gone"] += 1
                continue
            kind, last_heartbeat, state, instance_type, lifecycle = row
            at = _timestamp(last_heartbeat)
            if at is None:
                reasons["malformed"] += 1
            elif at > now + LONGEST_LEAD:
                reasons["future_heartbeat"] += 1
            elif now - at <= self._forgotten_seconds:
                workers.append(
                    Worker(
                        id=self._id(key.decode("utf-8", "replace")),
                        kind=closed(kind, WORKER_KINDS, UNKNOWN),
                        last_heartbeat=at,
                        state=closed(state, GPU_STATES, "") or None,
                        instance_type=instance_type or UNKNOWN,
                        lifecycle=closed(lifecycle, LIFECYCLES, lifecycle or UNKNOWN),
                    )
                )
        return workers, reasons

    def _id(self, key: str) -> str:
        """Return the worker's id: `worker:heartbeat:gpu-1` -> `gpu-1`, the part after the pattern's fixed beginning."""
        for pattern in filter(is_wildcard, self._patterns):
            prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
            if prefix and key.startswith(prefix):
                return key.removeprefix(prefix)
        return key

    async def _count(self, workers: Iterable[Worker], now: float) -> bool:
        """Add the new heartbeats of GPU workers, and save them before they are shown.

        Return False where saving failed, or takes longer than two periods: the counters then keep their values, and the
        next refresh counts from there.
        """
        if self._saving is not None and not await self._saved(self._saving):
            return self._remembers
        beats = [Beat(w.id, w.last_heartbeat, w.instance_type, w.lifecycle) for w in workers if w.kind == "gpu"]
        usage = self._usage.after(beats, now, self._healthy_seconds, self._forgotten_seconds)
        if usage == self._usage:
            return self._remembers
        self._saving = disk.Step(self._save(usage))
        await self._saved(self._saving)
        return self._remembers

    async def _save(self, usage: GpuUsage) -> None:
        await disk.run(self._state.save, usage.to_state())
        self._usage = usage

    async def _saved(self, save: disk.Step[None]) -> bool:
        """Wait for a save, for SAVE_SECONDS: the health of workers does not wait for a disk that hangs. Return whether
        it has ended."""
        try:
            await save.wait(SAVE_SECONDS)
        except StateError as error:
            self._note_save("state_unwritable", str(error))
        except TimeoutError:
            if save.age > self._overdue_after:
                self._note_save("timeout", str(self._state.path))
            return False
        else:
            self._note_save()
        self._saving = None
        return True

    def _note_save(self, kind: str = "", detail: str = "") -> None:
        """Note whether counts are saved, and log a change."""
        if kind and self._remembers:
            _log.warning("system.analytics.degraded", collector=self.name, kind=kind, detail=detail)
        elif not kind and not self._remembers:
            _log.info("system.analytics.recovered", collector=self.name)
        self._remembers = not kind

    def _samples(self, worker: Worker, now: float) -> list[Sample]:
        healthy = now - worker.last_heartbeat <= self._healthy_seconds
        samples = [
            HEALTHY.sample(int(healthy), worker=worker.id, kind=worker.kind),
            LAST_HEARTBEAT.sample(worker.last_heartbeat, worker=worker.id, kind=worker.kind),
        ]
        if worker.kind == "gpu":
            state = worker.state if healthy else "offline"
            samples += [GPU_STATE.sample(int(name == state), worker=worker.id, state=name) for name in GPU_STATES]
            samples.append(
                GPU_INFO.sample(1, worker=worker.id, instance_type=worker.instance_type, lifecycle=worker.lifecycle)
            )
        return samples


def _merged(workers: Sequence[Worker]) -> list[Worker]:
    """Return the workers under their labels; of workers with the same label, the state of the one silent for
    longest."""
    ids = bounded(sorted(worker.id for worker in workers))
    types = bounded(sorted(worker.instance_type for worker in workers))
    lifecycles = bounded(sorted(worker.lifecycle for worker in workers))
    merged: dict[tuple[str, str], Worker] = {}
    for worker in sorted(workers, key=lambda worker: worker.last_heartbeat, reverse=True):
        label = ids[worker.id]
        merged[label, worker.kind] = Worker(
            label,
            worker.kind,
            worker.last_heartbeat,
            worker.state,
            types[worker.instance_type],
            lifecycles[worker.lifecycle],
        )
    return list(merged.values())


def _timestamp(value: str | None) -> float | None:
    """Return unix seconds; None for an invalid value."""
    try:
        time = float(value or "")
    except ValueError:
        return None
    return time if math.isfinite(time) and time >= 0 else None


def _load(state: StateFile) -> GpuUsage:
    stored = state.load()
    if stored is None:
        return GpuUsage()
    try:
        return GpuUsage.from_state(stored)
    except (KeyError, TypeError, ValueError) as error:
        state.set_aside(type(error).__name__)
        return GpuUsage()
