"""The errors of this package, and their effect.

    AnalyticsError
    ├── SettingsError          the configuration is wrong: reported once, exit status 2
    ├── SourceUnavailable      the source is down, and all its metrics are absent
    ├── CollectionFailed       the source answered, a query of one collector failed: only that collector fails
    │   └── MadeWay            the query was given up for another client's lock, and is repeated
    └── StateError             the state directory cannot be used: values that depend on it are not counted

Exceptions of drivers are converted to these in `sources/`. The `kind` of each is a short constant from a closed set
(`refused`, `timeout`, `undefined_table`, ...): it appears in log events and is safe to show. Messages of drivers may
contain values of rows, and are not shown.
"""

from __future__ import annotations

MOST_REPEATS = 3
"""Number of times that a reading is repeated which was given up for other clients, before that is a failure."""


class AnalyticsError(Exception):
    """The base class: no other exception is raised on purpose."""


class SettingsError(AnalyticsError):
    """One or more settings are missing or wrong; the message has one line per variable."""


class SourceUnavailable(AnalyticsError):
    """A source did not answer. `source` is the label value in `hivesync_source_up`; `kind` is the reason."""

    def __init__(self, source: str, kind: str) -> None:
        super().__init__(f"{source}: {kind}")
        self.source = source
        self.kind = kind


class CollectionFailed(AnalyticsError):
    """A source that works refused a query of a collector; `detail` names the table and column, never a row. `altered`:
    the query does not fit the tables, which are others than before or will be others."""

    def __init__(self, source: str, kind: str, detail: str = "", *, altered: bool = False) -> None:
        super().__init__(f"{source}: {kind}: {detail}" if detail else f"{source}: {kind}")
        self.source = source
        self.kind = kind
        self.detail = detail
        self.altered = altered


class MadeWay(CollectionFailed):
    """A reading was given up for another client, which waited for one of its locks (a migration). It is to be
    repeated."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "made_way")


class StateError(AnalyticsError):
    """A file in the state directory cannot be read or written; the message names it."""


def loggable(error: Exception) -> dict[str, str]:
    """Return the details of a failure that may be logged: the table and column for errors of this package; the code
    location for others, whose message may contain data."""
    if isinstance(error, CollectionFailed):
        return {"detail": error.detail} if error.detail else {}
    if isinstance(error, AnalyticsError):
        return {"detail": str(error)}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return {} if trace is None else {"where": f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"}
