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

    def __init__(self, source: str, clock: Callable[[], float] = time.time) -> None:
        self.source = source
        self.up: bool | None = None
        self.error: str | None = None
        self.last_success: float | None = None
        self._clock = clock

    def worked(self) -> None:
        """Record that the source answered."""
        self.up, self.error, self.last_success = True, None, self._clock()

    def failed(self, kind: str) -> None:
        """Record that the source did not answer; `kind` is a short constant, as in `errors.SourceUnavailable`."""
        self.up, self.error = False, kind
