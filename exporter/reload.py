"""SIGHUP: the price file and the admin's credentials are read again, each on its own.

A file that is wrong changes nothing, and one event says why. The web configuration and its certificates are re-read by
themselves (`web_config/port.py`). Other changed settings need a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from exporter.errors import AnalyticsError

_log = structlog.get_logger()

Part = Callable[[], Awaitable[None]]
"""Read one file again, and use it. Raises AnalyticsError or ValueError with the problem."""


async def reload_at(signal: asyncio.Event, parts: Mapping[str, Part]) -> None:
    """Reload all parts, by their names, each time that the signal is set; until cancelled."""
    while True:
        await signal.wait()
        signal.clear()
        for name, part in parts.items():
            try:
                await part()
            except (AnalyticsError, ValueError) as error:
                _log.error("service.reload_failed", part=name, reason=str(error))
            else:
                _log.info("service.reloaded", part=name)
