"""Workers' heartbeats in Redis, and the collector that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from exporter.collectors.workers import Workers
from exporter.heartbeats import RedisHeartbeats
from exporter.prices import Prices
from exporter.state import StateFile
from exporter.worker_keys import Kinds
from tests.rows import NO_DATABASE, NOON, by_name, collect, keep, only

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)

PRICES = Prices.model_validate({"instances": {"g5.xlarge": {"spot": 0.36, "on-demand": 3.6}}})
SPOT = {"instance_type": "g5.xlarge", "lifecycle": "spot"}


class Fleet:
    """Workers' heartbeats in Redis, and the collector's values of them."""

    def __init__(self, url: str, valkey: redis.Redis, directory: Path) -> None:
        self.url, self.valkey, self.directory = url, valkey, directory
        self.prices: Prices | None = None
        self.patterns, self.kind_keys, self.kinds = ["worker:heartbeat:*"], list[str](), Kinds()
        self.healthy_seconds, self.forgotten_seconds = 120.0, 86_400.0
        self.restart()

    def restart(self) -> None:
        """Start a new exporter on the same state directory."""
        self.collector = Workers(
            RedisHeartbeats(self.patterns, self.kind_keys, self.kinds),
            StateFile(self.directory, "gpu"),
            self.prices,
            healthy_seconds=self.healthy_seconds,
            forgotten_seconds=self.forgotten_seconds,
        )

    def beat(self, worker: str, at: datetime | float | str | None = NOON, **fields: object) -> None:
        time = at.timestamp() if isinstance(at, datetime) else at
        keep(self.valkey, f"worker:heartbeat:{worker}", **{"last_heartbeat": time, "kind": "cpu", **fields})

    def gpu(self, worker: str, at: datetime = NOON, state: str | None = "active", **fields: object) -> None:
        self.beat(worker, at, kind="gpu", **{"state": state, **SPOT, **fields})

    def read(self, now: datetime = NOON) -> Mapping[str, Any]:
        return collect(self.collector, NO_DATABASE, self.url, now=now)

    def healthy(self, now: datetime = NOON) -> dict[str, int]:
        return only(self.read(now), "hivesync_worker_healthy")

    def states(self, now: datetime = NOON) -> dict[str, str | None]:
        """The state of each GPU worker; None where every sample is 0."""
        states: dict[str, str | None] = {}
        for labels, value in only(self.read(now), "hivesync_gpu_worker_state").items():
            worker, state = labels.split(",")
            states[worker] = state if value else states.get(worker)
        return states

    def seconds(self) -> dict[str, float]:
        return only(by_name(self.collector.counters()), "hivesync_gpu_instance_seconds_total")

    def left_out(self) -> dict[str, int]:
        """Skipped values by reason, without zeros."""
        counts = only(self.read(), "hivesync_skipped_values")
        assert set(counts) == {
            "workers,wrong_type",
            "workers,malformed",
            "workers,future_heartbeat",
            "workers,gone",
            "workers,state_unwritable",
            "workers,beyond_limit",
        }
        return {reason.removeprefix("workers,"): number for reason, number in counts.items() if number}
