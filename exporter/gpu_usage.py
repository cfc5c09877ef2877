"""GPU instance time, added up from heartbeats: in all, and for this calendar month (contract §3, §2 "estimated AI
cost").

From one heartbeat of a worker to its next is time its instance ran, as long as the two are no further apart than a
healthy worker's may be; what lies in a longer silence was seen by nobody and is not counted. Only the workers' own
timestamps are used, so that neither this process' clock nor how often it looks matters. All of it is remembered over
restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from exporter.labels import MAX_VALUES, OTHER, clean

Instance = tuple[str, str]
"""(instance_type, lifecycle), as they stand in labels."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A GPU worker's latest heartbeat (unix seconds) and the instance it runs on."""

    worker: str
    at: float
    instance_type: str
    lifecycle: str


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """Seconds by instance since counting began, seconds by instance in `month`, and each worker's last heartbeat."""

    total: Mapping[Instance, float] = field(default_factory=dict)
    month: str = ""
    in_month: Mapping[Instance, float] = field(default_factory=dict)
    last_beats: Mapping[str, float] = field(default_factory=dict)

    def after(self, beats: Iterable[Beat], now: float, longest_silence: float, forgotten: float) -> GpuUsage:
        """The usage once these heartbeats are taken in, as of `now` (unix seconds).

        `longest_silence` (seconds) is what may lie between two heartbeats of a running worker; a worker that has been
        silent for `forgotten` seconds is no longer remembered.
        """
        month_start = start_of_month(now)
        month = datetime.fromtimestamp(month_start, UTC).strftime("%Y-%m")
        total, last_beats = dict(self.total), dict(self.last_beats)
        in_month = dict(self.in_month) if month == self.month else {}
        for beat in beats:
            before = last_beats.get(beat.worker)
            last_beats[beat.worker] = beat.at if before is None else max(beat.at, before)
            instance = _bounded((clean(beat.instance_type), clean(beat.lifecycle)), total)
            total.setdefault(instance, 0.0)
            if before is None or not 0 < beat.at - before <= longest_silence:
                continue
            total[instance] += beat.at - before
            in_month[instance] = in_month.get(instance, 0.0) + max(0.0, beat.at - max(before, month_start))
        last_beats = {worker: at for worker, at in last_beats.items() if now - at <= forgotten}
        return replace(self, total=total, month=month, in_month=in_month, last_beats=last_beats)

    def to_state(self) -> dict[str, Any]:
        """As JSON for the state directory."""
        return {
            "total": [[*instance, seconds] for instance, seconds in self.total.items()],
            "month": self.month,
            "in_month": [[*instance, seconds] for instance, seconds in self.in_month.items()],
            "last_beats": dict(self.last_beats),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> GpuUsage:
        """The inverse of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            total={(str(kind), str(lifecycle)): float(seconds) for kind, lifecycle, seconds in state["total"]},
            month=str(state["month"]),
            in_month={(str(kind), str(lifecycle)): float(seconds) for kind, lifecycle, seconds in state["in_month"]},
            last_beats={str(worker): float(at) for worker, at in dict(state["last_beats"]).items()},
        )


def start_of_month(now: float) -> float:
    """The first instant of the UTC month of `now`, both in unix seconds."""
    time = datetime.fromtimestamp(now, UTC)
    return time.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def share_of_month(now: float) -> float:
    """How much of the UTC month of `now` (unix seconds) has gone, from 0 to 1."""
    start = start_of_month(now)
    end = start_of_month(start + 32 * 86_400)
    return (now - start) / (end - start)


def _bounded(instance: Instance, known: Mapping[Instance, float]) -> Instance:
    """The instance, or `other` where it would be one too many for a counter that never forgets."""
    return instance if instance in known or len(known) < MAX_VALUES else (OTHER, OTHER)
