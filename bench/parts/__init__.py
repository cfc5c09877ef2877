"""The registry of parts: one file per subject, each listed here once, in the order of execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.figures import Figure
from bench.parts import ablation, logs, redis, refresh, rollup, scrape
from bench.run import Run


@dataclass(frozen=True, slots=True)
class Part:
    """A subject of the bench. `measure` may raise NotMeasured for the whole of it."""

    name: str
    about: str
    measure: Callable[[Run], Sequence[Figure]]
    is_regular: bool = True
    """True for a part that runs by default, False for a part that runs only by name."""


PARTS = (
    Part(refresh.PART, "database time, start-up, CPU time and memory, beside SQL exporters", refresh.measure),
    Part(logs.PART, "lines of a log a second, beside mtail and pygtail", logs.measure),
    Part(redis.PART, "keys of a big Redis a second, and what that does to other clients", redis.measure),
    Part(scrape.PART, "requests of /metrics a second, beside prometheus_client and nginx", scrape.measure),
    Part(rollup.PART, "days of the roll-up, beside a COUNT(DISTINCT) a day", rollup.measure),
    Part(ablation.PART, "parts of the product that save something, with and without", ablation.measure, False),
)
