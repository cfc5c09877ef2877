"""The sources, opened from settings and closed again: for whoever runs collectors, `__main__` or a process that the
Analytics section is mounted in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from exporter.collector import Sources
from exporter.settings import Settings
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis


@asynccontextmanager
async def open_sources(settings: Settings) -> AsyncIterator[Sources]:
    """Every source; connects to nothing yet."""
    archives = [Path(directory) for directory in settings.log_archive_dirs]
    sources = Sources(
        postgres=Postgres(settings.database_url.get_secret_value()),
        redis=Redis(settings.redis_url.get_secret_value()),
        ai_events_log=JsonlLog("ai_events_log", settings.ai_events_log, archives),
        preview_log=JsonlLog("preview_log", settings.preview_log, archives),
    )
    try:
        yield sources
    finally:
        await sources.postgres.close()
        await sources.redis.close()
