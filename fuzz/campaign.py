"""One target under fire: executions are counted, and each new way to break the property is made small and kept.

engines -> campaign (this) -> corpus
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz import corpus
from fuzz.target import Check

HANG_SECONDS = 30
"""Time after which an input counts as endless: a thousand times the usual, on a busy machine too."""

SHRINK_SECONDS = 5.0
FINDINGS_AT_MOST = 20

ROOT = Path(__file__).parents[1]


class HangError(Exception):
    """An input that is not finished in time."""


@dataclass(frozen=True)
class Breach:
    """A way to break the property: the error and its place, and the name of the smallest input in the corpus."""

    error: str
    where: str
    entry: str


@dataclass
class Tally:
    """The result of a campaign."""

    target: str
    engine: str
    seed: int
    executions: int = 0
    seconds: float = 0.0
    findings: list[Breach] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Tally:
        """Restore a result of `to_json`."""
        return cls(**{**content, "findings": [Breach(**each) for each in content["findings"]]})


class Campaign:
    """The executions of one check, until a time."""

    def __init__(
        self,
        tally: Tally,
        check: Check,
        seconds: float,
        directory: Path = corpus.CORPUS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = tally
        self._check, self._directory, self._clock = check, directory, clock
        self._started = clock()
        self._until = self._started + seconds

    @property
    def is_over(self) -> bool:
        """Whether time is up, or enough was found."""
        return self._clock() >= self._until or len(self.tally.findings) >= FINDINGS_AT_MOST

    def run(self, content: bytes) -> None:
        """Execute the check once."""
        self.tally.executions += 1
        found = self.broken_by(content)
        self.tally.seconds = self._clock() - self._started
        if found is not None:
            error, where = found
            if (error, where) not in {(each.error, each.where) for each in self.tally.findings}:
                entry = corpus.add(self.tally.target, self._shrunk(content, found), self._directory)
                self.tally.findings.append(Breach(error, where, entry))

    def broken_by(self, content: bytes) -> tuple[str, str] | None:
        """Return the error that this input causes and its place; None where the property holds."""
        try:
            with _bounded():
                self._check(content)
        except Exception as error:  # noqa: BLE001 - of any kind: that is what is looked for
            return type(error).__name__, place(error)
        return None

    def _shrunk(self, content: bytes, found: tuple[str, str]) -> bytes:
        """Return a smaller input with the same effect: pieces are left out while the effect stays."""
        until, size = self._clock() + SHRINK_SECONDS, len(content) // 2
        while size and self._clock() < until:
            start = 0
            while start < len(content) and self._clock() < until:
                shorter = content[:start] + content[start + size :]
                if self.broken_by(shorter) == found:
                    content = shorter
                else:
                    start += size
            size //= 2
        return content


def place(error: BaseException) -> str:
    """Return the last line of this project that an error came through, as file:line."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename]
    last = (ours or frames)[-1]
    path = Path(last.filename)
    return f"{path.relative_to(ROOT) if ours else path.name}:{last.lineno}"


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise HangError in a body that does not end."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise HangError(f"not finished after {HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
