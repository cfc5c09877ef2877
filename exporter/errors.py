"""Every error of our own, and what it means for the rest.

    AnalyticsError
    ├── SettingsError          the configuration is wrong: said once, exit status 2
    ├── SourceUnavailable      a source could not be reached: the source is down, and all it feeds is absent
    ├── CollectionFailed       the source answered, this collector's question went wrong: only the collector fails
    └── StateError             the state directory cannot be used: what must be remembered is not counted

Drivers' own exceptions end in `sources/`, which turn them into one of these. The `kind` of each is a short constant
from a closed set (`refused`, `timeout`, `undefined_table`, ...): it goes into log events and is safe to show;
messages of drivers may hold values of rows, and are not.
"""

from __future__ import annotations


class AnalyticsError(Exception):
    """The root: nothing outside this tree is raised on purpose."""


class SettingsError(AnalyticsError):
    """One or more settings are missing or wrong; the message names every variable concerned, a line each."""


class SourceUnavailable(AnalyticsError):
    """A source did not answer. `source` as in the label of `hivesync_source_up`; `kind` says how it failed."""

    def __init__(self, source: str, kind: str) -> None:
        super().__init__(f"{source}: {kind}")
        self.source = source
        self.kind = kind


class CollectionFailed(AnalyticsError):
    """A collector's question was refused by a source that works; `detail` names the table and column, never a row."""

    def __init__(self, source: str, kind: str, detail: str = "") -> None:
        super().__init__(f"{source}: {kind}: {detail}" if detail else f"{source}: {kind}")
        self.source = source
        self.kind = kind
        self.detail = detail


class StateError(AnalyticsError):
    """A file in the state directory could not be read or written; the message names it."""
