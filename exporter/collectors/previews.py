"""Preview requests (contract §2; spec §1 "Preview builder load").

hivesync_preview_requests_in_window{window="1h"} 17.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.collectors.ai import REQUEST_WINDOWS
from exporter.spec import MetricSpec, Sample
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.resync import Resync
from exporter.windows.sums import SlidingSums, Sums

REQUESTS = MetricSpec(
    "hivesync_preview_requests_in_window",
    "gauge",
    "Preview builds requested in the window that ends now.",
    "PostgreSQL (preview_jobs.created_at)",
    ("window",),
)


class Previews:
    """One window on `preview_jobs`."""

    name = "previews"
    sources = ("postgres",)
    periods = 1
    specs = (REQUESTS, *RESYNC_SPECS)

    def __init__(self) -> None:
        self._requests = SlidingSums(Sums("preview_jobs", "preview_jobs.created_at", ("count(*)",)), REQUEST_WINDOWS)
        self._resync = Resync(self.name, max(REQUEST_WINDOWS.values()), {"preview_jobs": True})

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a window."""
        async with sources.postgres.transaction(fill=self._requests.cursor.filling) as transaction:
            again = await self._resync.due(transaction)
            requests = await self._requests.read(transaction, again)
        self._resync.done(again)
        return [REQUESTS.sample(int(sums[0]), window=window) for window, sums in requests.items()]

    def read_afresh(self) -> None:
        """Look for late rows at the next refresh, whenever that was done last."""
        self._requests.cursor.look_back()

    def counters(self) -> Sequence[Sample]:
        """How the past was looked at again."""
        return self._resync.counters()
