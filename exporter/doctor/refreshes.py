"""The time of one real refresh of each collector, as the running exporter has measured it, or measured here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from exporter.collector import Dependent
from exporter.doctor.exposed import Shown, read_samples
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, wrong
from exporter.doctor.installation import Installation
from exporter.doctor.remedies import EXPLAINED, remedy
from exporter.errors import AnalyticsError, CollectionFailed
from exporter.sources.postgres import Postgres

TOTAL_SECONDS = 4.0
"""The longest time for all refreshes made here."""

SLOW_SECONDS = 1.0


@check("refreshes.time", seconds=8)
async def time_of_refreshes(installation: Installation) -> Findings:
    """A refresh of each collector takes a fraction of its period."""
    samples = await read_samples(installation)
    if samples is not None and (measured := _measured(samples)):
        return _judged(installation, measured, "as the running exporter has measured")
    durations, failures = await _tried(installation)
    return [*failures, *(_judged(installation, durations, "a first reading, made now") if durations else ())]


def _measured(samples: list[Shown]) -> dict[str, float]:
    name = "hivesync_refresh_duration_seconds"
    sums = {each.labels["collector"]: each.value for each in samples if each.name == f"{name}_sum"}
    counts = {each.labels["collector"]: each.value for each in samples if each.name == f"{name}_count"}
    return {collector: total / counts[collector] for collector, total in sums.items() if counts.get(collector)}


def _judged(installation: Installation, durations: Mapping[str, float], how: str) -> list[Finding]:
    period = installation.settings.refresh_seconds
    periods = {each.name: each.periods for each in installation.build()}
    shown = listed((f"{name} {seconds:.3f} s" for name, seconds in durations.items()), most=20)
    late = {name: took for name, took in durations.items() if took > period * periods.get(name, 1)}
    slow = {name: took for name, took in durations.items() if took > SLOW_SECONDS and name not in late}
    mend = "see indexes.windows"
    if late:
        longer = f"HIVESYNC_REFRESH_SECONDS={max(late.values()) * 2:.0f}"
        return [wrong(f"longer than their period: {listed(late)} ({how}: {shown})", f"{longer}  # or {mend}")]
    if slow:
        return [look(f"over {SLOW_SECONDS:g} s: {listed(slow)} ({how}: {shown})", mend)]
    return [ok(f"{how}: {shown}")]


async def _tried(installation: Installation) -> tuple[dict[str, float], list[Finding]]:
    """Return the duration of each collector's first refresh, and the collectors that fail."""
    durations: dict[str, float] = {}
    failures: list[Finding] = []
    loop = asyncio.get_running_loop()
    end = loop.time() + TOTAL_SECONDS
    for collector in sorted(installation.build(), key=lambda each: isinstance(each, Dependent)):
        if Postgres.name not in collector.sources or isinstance(collector, Dependent):
            continue
        began = loop.time()
        try:
            async with asyncio.timeout_at(end):
                await collector.refresh(replace(installation.sources))
        except TimeoutError:
            left = "its first reading takes longer than the doctor has; the service reads in the background"
            failures.append(look(f"{collector.name}: {left}", "python -m exporter  # and run the doctor beside it"))
            break
        except CollectionFailed as error:
            if error.source == Postgres.name and error.kind not in EXPLAINED:
                failures.append(wrong(f"{collector.name} fails: {error}", remedy(error.source, error.kind)))
            continue
        except AnalyticsError:
            continue  # the source is down, and its own checks say so
        durations[collector.name] = loop.time() - began
    return durations, failures


CHECKS = (time_of_refreshes,)
