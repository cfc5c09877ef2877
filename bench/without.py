"""The exporter without its memory savings, for comparison: `python -m bench.without memory`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

from exporter import memory
from exporter.__main__ import main


async def _keep_everything(is_loaded: Callable[[], bool]) -> None:
    del is_loaded
    await asyncio.Event().wait()


def run(arguments: Sequence[str]) -> int:
    """Run the exporter and return its exit status."""
    if "memory" in arguments:
        memory.keep_small = _keep_everything
    return main([])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
