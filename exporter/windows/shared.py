"""A window that two collectors need: one collector keeps it, others read it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Window = TypeVar("Window")


class SharedWindow(Generic[Window]):
    """A window that is available once its keeper has filled it."""

    def __init__(self, keeper: str) -> None:
        """`keeper` is the name of the collector that keeps the window."""
        self.keeper = keeper
        self.server = 0
        """The number of the server that the window was read from; 0 before the first reading."""
        self._window: Window | None = None
        self._changed = asyncio.Event()

    def put(self, window: Window, server: int) -> None:
        """Share a window read from the server of that number; its keeper continues to change it."""
        if server != self.server:
            self._changed.set()
            self._changed = asyncio.Event()
        self._window, self.server = window, server

    async def get(self, server: int = 1) -> Window:
        """Return the window; wait until it is filled from that server or a later one. To be called with a time-out."""
        while self._window is None or self.server < server:
            await self._changed.wait()
        return self._window
