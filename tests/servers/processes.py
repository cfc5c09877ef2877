"""Observation of processes from outside, by their ids."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable


def alive(pids: Iterable[int]) -> list[str]:
    """The command lines of those processes that still run, except zombies."""
    listing = subprocess.run(["ps", "-axo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    wanted = set(map(str, pids))
    return [" ".join(row) for row in rows if row[0] in wanted and not row[1].startswith("Z")]
