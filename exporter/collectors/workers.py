"""Workers and their heartbeats, CPU and GPU, and the running time of GPU instances (docs/definitions.md#worker).

    hivesync_worker_healthy{worker="cpu-1",kind="cpu"} 1.0
    hivesync_gpu_worker_state{worker="gpu-1",state="idle"} 1.0
    hivesync_gpu_instance_seconds_total{instance_type="g5.xlarge",lifecycle="spot"} 86400.0

The age of a heartbeat is that by the clock of Redis, or of PostgreSQL by the setting WORKERS_FROM, never by that of
this process (`heartbeats.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Protocol

import structlog

from exporter import disk
from exporter.collector import SKIPPED, Sources, skipped
from exporter.collectors.cost import MONTH_TO_DATE, PROJECTED, gpu_dollars
from exporter.definitions import WORKERS
from exporter.errors import StateError
from exporter.gpu_usage import Beat, GpuUsage
from exporter.heartbeats import Heartbeats, Worker
from exporter.inputs import Need
from exporter.labels import OTHER, bounded, clean_worker
from exporter.prices import Prices
from exporter.remembered import BEYOND, Excess
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.state import StateFile
from exporter.vocabulary import GPU, GPU_STATES

_SOURCE = "heartbeats of workers (Redis, or PostgreSQL by WORKERS_FROM)"
_TABLE = "workers"
_HEARTBEATS = (Need(("workers",)),)
HEALTHY = MetricSpec(
    "hivesync_worker_healthy",
    "gauge",
    "1 while the worker's last heartbeat is recent (at most 120 s old by default), else 0.",
    _SOURCE,
    (Label("worker"), Label("kind")),
    Definition(f"{WORKERS} SELECT worker, kind, healthy::int FROM workers_known", _TABLE),
    needs=_HEARTBEATS,
)
LAST_HEARTBEAT = MetricSpec(
    "hivesync_worker_last_heartbeat_timestamp_seconds",
    "gauge",
    "Unix time of the worker's last heartbeat.",
    _SOURCE,
    (Label("worker"), Label("kind")),
    Definition(f"{WORKERS} SELECT worker, kind, extract(epoch FROM beat)::float8 FROM workers_known", _TABLE),
    needs=_HEARTBEATS,
)
GPU_STATE = MetricSpec(
    "hivesync_gpu_worker_state",
    "gauge",
    "1 for the current state of the GPU worker, 0 for the others; offline without a recent heartbeat.",
    _SOURCE,
    (Label("worker"), Label("state", GPU_STATES)),
    Definition(
        f"""{WORKERS}
SELECT worker, states.name, (CASE WHEN healthy THEN states.name = state ELSE states.name = 'offline' END)::int
FROM workers_known CROSS JOIN (VALUES ('active'), ('idle'), ('offline')) AS states(name) WHERE kind = 'gpu'
""",
        _TABLE,
    ),
    needs=_HEARTBEATS,
)
GPU_INFO = MetricSpec(
    "hivesync_gpu_worker_info",
    "info",
    "Instance of a GPU worker: its type, and its lifecycle (spot or on-demand).",
    _SOURCE,
    (Label("worker"), Label("instance_type"), Label("lifecycle")),
    Definition(
        f"{WORKERS} SELECT worker, instance_type, lifecycle, 1 FROM workers_known WHERE kind = 'gpu'",
        _TABLE,
    ),
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


class HeartbeatSource(Protocol):
    """The server that holds the heartbeats."""

    source: str
    """Its name in `hivesync_source_up`."""

    async def read(self, sources: Sources, forgotten_seconds: float) -> Heartbeats:
        """Read every heartbeat."""


class Workers:
    """The collector of heartbeats; GPU time is counted from one refresh to the next."""

    name = "workers"
    periods = 1
    inputs = _HEARTBEATS
    specs = (HEALTHY, LAST_HEARTBEAT, GPU_STATE, GPU_INFO, GPU_SECONDS, MONTH_TO_DATE, PROJECTED, SKIPPED)
    proved = (HEALTHY, LAST_HEARTBEAT, GPU_STATE, GPU_INFO)

    def __init__(
        self,
        heartbeats: HeartbeatSource,
        state: StateFile,
        prices: Prices | None,
        *,
        healthy_seconds: float,
        forgotten_seconds: float,
        refresh_seconds: float = 0.0,
    ) -> None:
        self.sources = (heartbeats.source,)
        self._heartbeats, self._prices = heartbeats, prices
        self._healthy_seconds, self._forgotten_seconds = healthy_seconds, forgotten_seconds
        self._state = state
        self._usage = _load(state)
        self._overdue_after = max(OVERDUE_SECONDS, 2 * refresh_seconds)
        self._saving: disk.Step[None] | None = None
        self._remembers = True
        self._excess = Excess(self.name)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return health, heartbeat and, for GPU workers, state and instance; the GPU component of the cost."""
        read = await self._heartbeats.read(sources, self._forgotten_seconds)
        now, workers = read.now, read.workers
        merged, reasons = await asyncio.to_thread(_summed_up, read)
        self._excess.note(reasons[BEYOND])
        reasons["state_unwritable"] = int(not await self._count(workers, now))
        samples = [sample for worker in merged for sample in self._samples(worker, now)]
        if self._prices is not None and GPU not in read.rest:
            samples += gpu_dollars(self._prices, self._usage, now)
        return samples + skipped(self.name, reasons)

    def use_prices(self, prices: Prices) -> None:
        """Use these prices from the next refresh on."""
        self._prices = prices

    def counters(self) -> Sequence[Sample]:
        """Return GPU time by instance; nothing before the first GPU worker."""
        return [
            GPU_SECONDS.sample(seconds, instance_type=instance_type, lifecycle=lifecycle)
            for (instance_type, lifecycle), seconds in sorted(self._usage.total.items())
        ]

    async def _count(self, workers: Sequence[Worker], now: float) -> bool:
        """Add the new heartbeats of GPU workers, and save them before they are shown.

        Return False where saving failed, or takes longer than two periods: the counters then keep their values, and the
        next refresh counts from there.
        """
        if self._saving is not None and not await self._saved(self._saving):
            return self._remembers
        beats = (Beat(w.id, w.last_heartbeat, w.instance_type, w.lifecycle) for w in workers if w.kind == GPU)
        usage = await asyncio.to_thread(self._usage.after, beats, now, self._healthy_seconds, self._forgotten_seconds)
        if usage == self._usage:
            return self._remembers
        self._saving = disk.Step(self._save(usage))
        await self._saved(self._saving)
        return self._remembers

    async def _save(self, usage: GpuUsage) -> None:
        await disk.run(lambda: self._state.save(usage.to_state()))
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
        if worker.kind == GPU:
            state = worker.state if healthy else "offline"
            samples += [GPU_STATE.sample(int(name == state), worker=worker.id, state=name) for name in GPU_STATES]
            samples.append(
                GPU_INFO.sample(1, worker=worker.id, instance_type=worker.instance_type, lifecycle=worker.lifecycle)
            )
        return samples


def _summed_up(read: Heartbeats) -> tuple[list[Worker], dict[str, int]]:
    """Return the workers under their labels, and the number of heartbeats left out and of workers beyond the limit, by
    reason. Takes noticeable time at thousands of workers."""
    return _merged(read.workers, read.rest.values()), {**read.left_out, BEYOND: read.beyond}


def _merged(workers: Sequence[Worker], rest: Collection[Worker]) -> list[Worker]:
    """Return the workers (by id) under their labels, and those of the rest as `other`; of workers with the same label,
    the state of the one silent for longest."""
    ids = bounded((worker.id for worker in workers), clean_worker)
    types = bounded(sorted(worker.instance_type for worker in (*workers, *rest)))
    lifecycles = bounded(sorted(worker.lifecycle for worker in (*workers, *rest)))
    merged: dict[tuple[str, str], Worker] = {}
    labelled = ((ids[worker.id], worker) for worker in workers)
    for label, worker in chain(labelled, ((OTHER, worker) for worker in rest)):
        known = merged.get((label, worker.kind))
        if known is None or worker.last_heartbeat <= known.last_heartbeat:
            merged[label, worker.kind] = Worker(
                label,
                worker.kind,
                worker.last_heartbeat,
                worker.state,
                types[worker.instance_type],
                lifecycles[worker.lifecycle],
            )
    return list(merged.values())


def _load(state: StateFile) -> GpuUsage:
    stored = state.load()
    if stored is None:
        return GpuUsage()
    try:
        return GpuUsage.from_state(stored)
    except (KeyError, TypeError, ValueError) as error:
        state.set_aside(type(error).__name__)
        return GpuUsage()
