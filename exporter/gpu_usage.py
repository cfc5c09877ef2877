"""GPU instance time, added up from heartbeats: in total, and for the current calendar month
(docs/definitions.md#ai-cost).

The time between two heartbeats of a worker counts as running time of its instance, up to the longest gap of a healthy
worker; a longer gap was not observed and is not counted. Only the workers' own timestamps are used, so that neither
this process' clock nor the interval of its readings matters. The totals are kept over restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter
from typing import Any

from exporter import remembered
from exporter.labels import MAX_VALUES, OTHER, clean

MOST_SECONDS = 2.0**53
"""Seconds beyond which one more would be lost in a float."""

Instance = tuple[str, str]
"""(instance_type, lifecycle), as label values."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The latest heartbeat (unix seconds) of a GPU worker, and its instance."""

    worker: str
    at: float
    instance_type: str
    lifecycle: str


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """Seconds per instance since counting began, seconds per instance in `month`, and the last heartbeat per worker."""

    total: Mapping[Instance, float] = field(default_factory=dict)
    month: str = ""
    in_month: Mapping[Instance, float] = field(default_factory=dict)
    last_beats: Mapping[str, float] = field(default_factory=dict)

    def after(self, beats: Iterable[Beat], now: float, longest_silence: float, forgotten: float) -> GpuUsage:
        """Return the usage with these heartbeats added, as of `now` (unix seconds).

        `longest_silence` (seconds) is the longest gap between two heartbeats of a running worker; workers silent for
        more than `forgotten` seconds are dropped, and beyond `remembered.LIMIT` those silent for longest.
        """
        month_start = start_of_month(now)
        month = datetime.fromtimestamp(month_start, UTC).strftime("%Y-%m")
        total = dict(self.total)
        # A beat far ahead, of a clock that was set back since, would keep its worker from being counted.
        last_beats = {worker: at for worker, at in self.last_beats.items() if abs(now - at) <= forgotten}
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
        if len(last_beats) > remembered.LIMIT:
            last_beats = dict(nlargest(remembered.LIMIT, last_beats.items(), key=itemgetter(1)))
        return replace(self, total=total, month=month, in_month=in_month, last_beats=last_beats)

    def to_state(self) -> dict[str, Any]:
        """Return the usage as JSON for the state directory."""
        return {
            "total": [[*instance, seconds] for instance, seconds in self.total.items()],
            "month": self.month,
            "in_month": [[*instance, seconds] for instance, seconds in self.in_month.items()],
            "last_beats": dict(self.last_beats),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> GpuUsage:
        """Restore a result of `to_state`. Raises KeyError, TypeError or ValueError on anything else."""
        month, last_beats = state["month"], state["last_beats"]
        if not isinstance(month, str) or not isinstance(last_beats, dict):
            raise TypeError("no month, or no heartbeats")
        return cls(
            total=_seconds_by_instance(state["total"]),
            month=month,
            in_month=_seconds_by_instance(state["in_month"]),
            last_beats={worker: _seconds(at) for worker, at in last_beats.items()},
        )


def _seconds_by_instance(stored: Any) -> dict[Instance, float]:
    found = {}
    for instance_type, lifecycle, seconds in stored:
        if clean(instance_type) != instance_type or clean(lifecycle) != lifecycle:
            raise ValueError("not an instance")
        found[instance_type, lifecycle] = _seconds(seconds)
    if len(found) != len(stored):
        raise ValueError("an instance is there twice")
    return found


def _seconds(stored: Any) -> float:
    if type(stored) not in (int, float) or not 0 <= stored <= MOST_SECONDS:
        raise ValueError("not a number of seconds")
    return float(stored)


def start_of_month(now: float) -> float:
    """Return the first instant of the UTC month of `now`, both in unix seconds."""
    time = datetime.fromtimestamp(now, UTC)
    return time.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def share_of_month(now: float) -> float:
    """Return the share of the UTC month of `now` (unix seconds) that has passed, from 0 to 1."""
    start = start_of_month(now)
    end = start_of_month(start + 32 * 86_400)
    return (now - start) / (end - start)


def _bounded(instance: Instance, known: Mapping[Instance, float]) -> Instance:
    """Return the instance, or `other` beyond the limit of instances: a counter drops no label."""
    return instance if instance in known or len(known) < MAX_VALUES else (OTHER, OTHER)
