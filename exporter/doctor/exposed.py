"""The samples of the exporter that is running here, read from its own port."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from exporter.addresses import reachable
from exporter.doctor.installation import Installation
from exporter.sources.web import NoAnswer, fetch


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample."""

    name: str
    labels: dict[str, str]
    value: float


async def read_samples(installation: Installation) -> list[Shown] | None:
    """Return the samples of the running exporter; None where none answers, and from a guarded port."""
    if installation.metrics_are_guarded:
        return None
    try:
        answer = await fetch(f"http://{reachable(installation.settings.metrics_listen)}/metrics", seconds=2)
    except NoAnswer:
        return None
    if answer.status != 200:
        return None
    return [
        Shown(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    ]
