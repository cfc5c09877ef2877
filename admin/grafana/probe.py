"""A probe of Grafana in the background, so that the page knows at once how to draw its charts.

probe (this) -> proxy -> page, /admin/analytics/status
"""

from __future__ import annotations

import asyncio

import httpx2
import structlog

_log = structlog.get_logger()

PERIOD_SECONDS = 15.0
ANSWER_SECONDS = 2.0


class GrafanaProbe:
    """Requests `/api/health` under Grafana's public path: a response there shows that Grafana is configured for that
    path. `up` is None before the first response."""

    def __init__(self, url: str, period_seconds: float = PERIOD_SECONDS) -> None:
        self.up: bool | None = None
        self._url = url
        self._transport = httpx2.AsyncHTTPTransport()  # its own, so that it never waits for a connection
        self._period_seconds = period_seconds

    async def run(self) -> None:
        """Probe periodically until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(self._period_seconds)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()

    async def ask(self) -> None:
        """Probe once."""
        request = httpx2.Request("GET", self._url, headers={"user-agent": "hivesync-analytics"})
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self._transport.handle_async_request(request)
                await response.aclose()
        except (httpx2.TransportError, TimeoutError, OSError) as error:
            self.note(False, type(error).__name__)
        else:
            self.note(response.status_code == 200, f"http_{response.status_code}")

    def note(self, up: bool, reason: str) -> None:
        """Note whether Grafana responds, to a probe or to the proxy; log a change once."""
        if up and not self.up:
            _log.info("admin.grafana.up")
        elif not up and self.up is not False:
            _log.warning("admin.grafana.down", reason=reason)
        self.up = up
