"""A refresh beside scrapes of the same event loop, and keys of Redis by the hundred thousand."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis

from exporter.collector import Collector
from exporter.exposition import Renderer
from exporter.httpd.server import serve
from exporter.snapshot import Snapshot
from exporter.web import build_site
from servers.ports import LOOPBACK
from tests.rows import NO_DATABASE, NOON, by_name, sources

FILLED_AT_ONCE = 20_000
SCRAPES = 10


def fill(valkey: redis.Redis, number: int, command: str, *arguments: object) -> None:
    """Run a command of Lua, with `n` from 0 to `number` and these ARGV, in steps that the client waits for."""
    for first in range(0, number, FILLED_AT_ONCE):
        last = min(number, first + FILLED_AT_ONCE) - 1
        valkey.eval(f"for n = {first}, {last} do redis.call({command}) end", 0, *map(str, arguments))


@dataclass
class Turns:
    """The event loop's turns, and the number of steps of work in each."""

    turn: int = 0
    work: Counter[int] = field(default_factory=Counter)

    def note(self) -> None:
        """Note a step of work."""
        self.work[self.turn] += 1

    async def count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


@dataclass(frozen=True)
class Refreshed:
    """The values of a refresh, and the number of scrapes, up to SCRAPES, answered in full before it ended."""

    values: Mapping[str, Any]
    scrapes: int


def refresh(collector: Collector, url: str, turns: Turns, now: datetime = NOON) -> Refreshed:
    """Refresh a collector beside scrapes, one after the other, of a port that the same event loop serves."""
    return asyncio.run(_refresh(collector, url, turns, now))


async def _refresh(collector: Collector, url: str, turns: Turns, now: datetime) -> Refreshed:
    async with sources(NO_DATABASE, url, now) as opened:
        snapshot = Snapshot([collector], opened, 15)
        renderer = Renderer(snapshot.view)
        listener = socket.create_server((LOOPBACK, 0))
        port = asyncio.create_task(serve(build_site(lambda: renderer.current, lambda: True), listener, "metrics"))
        counting = asyncio.create_task(turns.count())
        scrapes = 0
        reading = asyncio.create_task(snapshot.refresh_all())
        while not reading.done() and scrapes < SCRAPES:
            assert b"hivesync_exporter_build_info" in await _scraped(listener.getsockname()[1])
            scrapes += not reading.done()
        await reading
        for task in (port, counting):
            task.cancel()
        await asyncio.gather(port, counting, return_exceptions=True)
        view, *_ = snapshot.view().collectors
        assert view.error is None
        return Refreshed(by_name(view.samples), scrapes)


async def _scraped(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read(-1)
    finally:
        writer.close()
