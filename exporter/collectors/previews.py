"""Preview requests (docs/definitions.md#preview-request).

hivesync_preview_requests_in_window{window="1h"} 17.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.collectors.ai import REQUEST_WINDOWS
from exporter.definitions import requests_in_windows
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.sums import SlidingSums, Sums, history_of

REQUESTS = MetricSpec(
    "hivesync_preview_requests_in_window",
    "gauge",
    "Preview builds requested in the window that ends now.",
    "PostgreSQL (preview_jobs.created_at)",
    (Label("window", tuple(REQUEST_WINDOWS)),),
    Definition(requests_in_windows("preview_jobs")),
)


class Previews:
    """One window on `preview_jobs`."""

    name = "previews"
    sources = ("postgres",)
    periods = 1
    specs = (REQUESTS, *RESYNC_SPECS)

    def __init__(self) -> None:
        self._requests = SlidingSums(Sums("preview_jobs", "preview_jobs.created_at", ("count(*)",)), REQUEST_WINDOWS)
        self._history = history_of(self.name, self._requests)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a window."""
        async with self._history.reading(sources.postgres) as plan:
            requests = await self._requests.read(plan)
        return [REQUESTS.sample(int(sums[0]), window=window) for window, sums in requests.items()]

    def read_afresh(self) -> None:
        """Look for late rows at the next refresh, whenever that was done last."""
        self._history.look_back()

    def counters(self) -> Sequence[Sample]:
        """The account of the resync."""
        return self._history.counters()
