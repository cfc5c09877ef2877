"""The runbooks of the alerts as parts of pages, generated from docs/runbooks/ by docs.generate.

docs/runbooks/*.md -> *.html (here) -> page/ (a page each)
NAMES -> documents/attention.py (the runbook of each finding)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

HERE = Path(__file__).parent

NAMES = frozenset(path.stem for path in HERE.glob("*.html"))
"""The names of the alerts that have a runbook."""


@cache
def read(name: str) -> str:
    """The HTML of a runbook below its title. Raises KeyError for a name that is not in NAMES."""
    if name not in NAMES:
        raise KeyError(name)
    return (HERE / f"{name}.html").read_text(encoding="utf-8")
