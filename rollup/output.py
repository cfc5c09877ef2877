"""Standard output: all of it or an error, and no traceback when its reader closes it (`| head`)."""

from __future__ import annotations

import os
import sys

from rollup.errors import ReaderGone, RunFailed


def show(text: str) -> None:
    """Write a text and the end of its line."""
    write(f"{text}\n".encode(errors="replace"))


def write(text: bytes) -> None:
    """Write bytes unchanged. Raises ReaderGone, or RunFailed when they cannot be written."""
    if sys.stdout is None:
        raise RunFailed("standard output is closed")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except OSError as error:
        _drop_what_is_left()
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from None
        raise RunFailed(f"cannot write to standard output: {error.strerror}") from None


def _drop_what_is_left() -> None:
    """Drop the unwritten rest: Python would try to write it again at exit, and end with a status of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
