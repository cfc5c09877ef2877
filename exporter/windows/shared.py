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
        self._window: Window | None = None
        self._filled = asyncio.Event()

    @property
    def is_filled(self) -> bool:
        """Whether the window is available."""
        return self._window is not None

    def put(self, window: Window) -> None:
        """Share a window; its keeper continues to change it."""
        self._window = window
        self._filled.set()

    async def get(self) -> Window:
        """Return the window; wait until it is filled. To be called with a time-out."""
        while self._window is None:
            await self._filled.wait()
        return self._window
