"""Changes between working and failing, as events: `system.analytics.degraded` and `system.analytics.recovered`.

    snapshot -> Transitions (this) -> events

Of a subject that flaps, at most one pair is logged per `spacing`. The next event has the number of pairs left out; the
last event of a subject is its state, at most `spacing` late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

SPACING_SECONDS = 60.0
"""Time between the beginnings of two logged pairs."""

SPACING_PERIODS = 4
"""The same in refresh periods, where those are shorter."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Subject:
    fails: bool = False
    logged: bool = False  # its failure is in the log, and not yet its end
    logged_at: float | None = None
    left_out: int = 0


class Transitions:
    """The states of some subjects (sources, collectors), of which each change is logged."""

    def __init__(self, refresh_seconds: float, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never set back."""
        self._spacing = min(SPACING_SECONDS, SPACING_PERIODS * refresh_seconds)
        self._clock = clock
        self._subjects: dict[str, _Subject] = {}

    def note(self, key: str, subject: Mapping[str, str], fault: Mapping[str, str] | None) -> None:
        """Note the state of the subject with that key; to be called repeatedly. `subject` are the fields that name it;
        `fault` are those of its failure, None while it works."""
        state = self._subjects.setdefault(key, _Subject())
        fails = fault is not None
        state.left_out += state.fails and not fails and not state.logged
        state.fails = fails
        if state.logged and not fails:
            _log.info("system.analytics.recovered", **subject)
            state.logged = False
        now = self._clock()
        if state.logged or (state.logged_at is not None and now - state.logged_at < self._spacing):
            return
        left_out = {"left_out": state.left_out} if state.left_out else {}
        if fault is not None:
            _log.warning("system.analytics.degraded", **{**subject, **fault}, **left_out)
            state.logged, state.logged_at, state.left_out = True, now, 0
        elif left_out:
            _log.info("system.analytics.recovered", **subject, **left_out)
            state.logged_at, state.left_out = now, 0
