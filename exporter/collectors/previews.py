"""Preview requests (contract §2; spec §1 "Preview builder load").

hivesync_preview_requests_in_window{window="1h"} 17.0
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import Sources
from exporter.collectors.ai import REQUEST_WINDOWS
from exporter.sliding import SlidingSums, Sums
from exporter.spec import MetricSpec, Sample

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
    specs = (REQUESTS,)

    def __init__(self) -> None:
        self._requests = SlidingSums(Sums("preview_jobs", "preview_jobs.created_at", ("count(*)",)), REQUEST_WINDOWS)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a window."""
        async with sources.postgres.transaction(fill=self._requests.cursor.filling) as transaction:
            requests = await self._requests.read(transaction)
        return [REQUESTS.sample(int(sums[0]), window=window) for window, sums in requests.items()]
