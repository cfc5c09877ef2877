"""Access to each system, and whether it answered. This package has no knowledge of HiveSync; that is in
`collectors/`."""

from __future__ import annotations

import time
from collections.abc import Callable


class Reachability:
    """Whether the last attempt to reach a source worked, and the time of the last success (unix seconds, the exporter's
    clock).

    `up` is None until the first attempt. A source records every attempt here, at the one place where it is made; the
    snapshot reads it for `hivesync_source_up` and logs its changes.
    """

    def __init__(self, source: str, clock: Callable[[], float] = time.time, *, has_identity: bool = False) -> None:
        """`has_identity`: the source can tell whether another server answers."""
        self.source = source
        self.changes: int | None = 0 if has_identity else None
        """Number of times that another server answered; None where that is not known."""
        self.up: bool | None = None
        self.error: str | None = None
        self.last_success: float | None = None
        self._clock = clock
        self._listener: Callable[[str, str], None] = lambda _source, _reason: None

    def worked(self) -> None:
        """Record that the source answered."""
        self.up, self.error, self.last_success = True, None, self._clock()

    def failed(self, kind: str) -> None:
        """Record that the source did not answer; `kind` is a short constant, as in `errors.SourceUnavailable`."""
        self.up, self.error = False, kind

    def changed(self, reason: str) -> None:
        """Record that another server answered than before; `reason` is a short constant."""
        self.changes = (self.changes or 0) + 1
        self._listener(self.source, reason)

    def watch(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener` with source and reason at each such change, at once."""
        self._listener = listener
