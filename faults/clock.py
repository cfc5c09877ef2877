"""Other clocks for a process, by libfaketime (Debian's package `faketime`)."""

from __future__ import annotations

from pathlib import Path

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1")


def _library() -> Path | None:
    return next((path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))), None)


def no_faketime() -> str:
    """Return why clocks cannot be changed; empty where they can."""
    return "" if _library() is not None else "libfaketime is not installed (on Debian: apt-get install faketime)"


def faketime(offset: str = "", file: Path | None = None) -> list[str]:
    """Return a command that runs another one with an offset of its clock, such as `+3h`; or with that in a file, which
    is read every time. Durations (the monotonic clock) stay true.
    """
    library = _library()
    chosen = {"FAKETIME": offset} if file is None else {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
    variables = {
        "LD_PRELOAD": str(library),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        **chosen,
    }
    return ["/usr/bin/env", *(f"{name}={value}" for name, value in variables.items())]
