"""The table of faults: `@fault(...)` before a generator function enters it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faults.promises import PROMISES

if TYPE_CHECKING:
    from faults.scene import Scene
    from faults.subject import StruckExporter

Act = Callable[["Scene"], Iterator[None]]
Preparation = Callable[["Scene"], "StruckExporter"]


class NotHeld(Exception):
    """A promise that was broken; the message names the observation."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the state of the exporter while it lasts: exactly the sources `down` and the collectors `failing`,
    beside those that read a source that is down."""

    name: str
    strikes: str
    """The system that fails: `postgres`, `redis`, `logs`, `state`, `process` or `clients`."""
    promise: str
    act: Callable[[Scene], AbstractContextManager[None]]
    about: str
    down: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    said_of: frozenset[str] = frozenset()
    """The collectors that name the failure in an event, and go on."""
    may_degrade: bool = False
    """Whether anything may be degraded or not: a fault too short to be noticed for certain."""
    silent: bool = False
    """Whether answers may be missing while it lasts: the process itself is stopped or restarted."""
    own: Preparation | None = None
    """The exporter of this fault alone, not started yet; None for the common one."""
    quick: bool = False
    """Whether it belongs to the choice of `make test`."""
    obstacle: Callable[[], str] = str
    """The reason why this machine cannot have the fault; empty where it can."""

    @property
    def can_pair(self) -> bool:
        """Whether it may strike beside another fault."""
        return self.own is None and not self.silent and self.strikes in {"postgres", "redis", "logs", "clients"}


FAULTS: dict[str, Fault] = {}


def fault(
    strikes: str,
    promise: str,
    *,
    down: Sequence[str] = (),
    failing: Sequence[str] = (),
    said_of: Sequence[str] = (),
    may_degrade: bool = False,
    silent: bool = False,
    own: Preparation | None = None,
    quick: bool = False,
    obstacle: Callable[[], str] = str,
) -> Callable[[Act], Act]:
    """Enter a generator function in the table: it strikes before its `yield` and ends the fault after it. Its name is
    that of the fault, its docstring the explanation."""

    def enter(act: Act) -> Act:
        name = act.__name__.replace("_", "-")
        if name in FAULTS or promise not in PROMISES:
            raise ValueError(f"{name}: twice in the table, or without a promise")
        FAULTS[name] = Fault(
            name,
            strikes,
            promise,
            contextmanager(act),
            " ".join((act.__doc__ or "").split()),
            frozenset(down),
            frozenset(failing),
            frozenset(said_of),
            may_degrade,
            silent,
            own,
            quick,
            obstacle,
        )
        return act

    return enter
