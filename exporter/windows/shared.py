"""A window that two collectors need: one keeps it, others read it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Window = TypeVar("Window")


class SharedWindow(Generic[Window]):
    """A window, once its keeper has filled it."""

    def __init__(self, keeper: str) -> None:
        """`keeper` is the name of the collector that keeps it."""
        self.keeper = keeper
        self._window: Window | None = None
        self._filled = asyncio.Event()

    @property
    def is_filled(self) -> bool:
        """Whether there is a window yet."""
        return self._window is not None

    def put(self, window: Window) -> None:
        """Show a window as it is kept from now on; its keeper goes on changing it."""
        self._window = window
        self._filled.set()

    async def get(self) -> Window:
        """The window, once it was filled: wait with a time-out."""
        while self._window is None:
            await self._filled.wait()
        return self._window
