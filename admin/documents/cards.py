"""The parts of the page: cards with numbers, tables with columns, and the styles of the values in them.

    presentation/label_styles.py -> cards (this) -> one module per document -> page/ (templates, modules)

A card says which numbers of the API it shows, and what each number counts, over which window, from which source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from admin.documents.models import Model
from admin.documents.values import Values
from exporter.inputs import Need
from presentation.label_styles import (
    DEVICES,
    DIRECTIONS,
    ERROR_KINDS,
    FAILURE_KINDS,
    INCIDENT_KINDS,
    PLANS,
    QUEUES,
    SOURCES,
    WINDOWS,
    WORKER_HEALTH,
    WORKER_KINDS,
    WORKER_STATES,
    LabelStyles,
)

Format = Literal["count", "ratio", "percent", "seconds", "dollars"]
"""The format of a number; page/modules/formats.js has each."""

ColumnType = Literal["text", "number", "time"]

POSTGRES, REDIS, AI_LOG = (SOURCES[name].title for name in ("postgres", "redis", "ai_events_log"))
BOTH = f"{POSTGRES} and {REDIS}"

SLIDING = "sliding, given per line"
"""The window of a card whose lines have one each."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """The text of a card's popover; `source` in words, as the API names the sources of each value."""

    counts: str
    window: str
    source: str
    numbers: tuple[Number, ...] = ()
    """Further values, shown in the popover alone."""


@dataclass(frozen=True, slots=True)
class Number:
    """One value of the API. `path`: the document and the keys in it, as in "users/online_devices/desktop"; `label` is
    empty for a number that the card's title names."""

    label: str
    path: str
    format: Format = "count"
    empty: str = ""
    """The text for a null that is no failure; by default a dash."""
    than: str = ""
    """The span before with which it is compared, in words; empty for a value without one."""
    than_week: str = ""
    """The span a week before, for a value that has that too."""


@dataclass(frozen=True, slots=True)
class Card:
    """One or more numbers under one title. A card of the summary shows the first number large and the others below."""

    id: str
    title: str
    meaning: Meaning
    numbers: tuple[Number, ...]
    trend: str = ""
    """The name of the summary's trend to draw."""
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a table; `styles` names the entry of `LABEL_STYLES` for the values of the API."""

    name: str
    label: str
    type: ColumnType = "text"
    styles: str = ""
    is_code: bool = False
    """An identifier, in a fixed-width font."""
    has_dot: bool = False
    """A dot in the value's colour before it."""
    has_runbook: bool = False
    """The text is a link to the runbook of the value's kind, in INCIDENT_RUNBOOKS."""
    is_repeats: bool = False
    """Says something of several equal rows; without any, the page shows the identifiers in its place."""
    needs: tuple[Need, ...] = ()
    """The inputs without which it has no values."""


REPEATS = (
    TableColumn("count", "Times", "number", is_repeats=True),
    TableColumn("first", "First", "time", is_repeats=True),
)
"""The columns that the page adds where equal rows are one: of these, the number and the time of the first."""


@dataclass(frozen=True, slots=True)
class TableCard:
    """Rows of the API. `path` leads to a list of them; a cell is a value, or an object with `value`. `shown` names the
    columns on the page in their order there; by default all columns."""

    id: str
    title: str
    meaning: Meaning
    path: str
    columns: tuple[TableColumn, ...]
    empty: str
    shown: tuple[str, ...] = ()
    has_csv: bool = False
    needs: tuple[Need, ...] = ()
    """The inputs without which it has no rows."""
    equal_by: tuple[str, ...] = ()
    """The columns in which equal rows agree: the page shows these as one row, with `count` and `first`."""
    kinds: tuple[tuple[str, str], ...] = ()
    """The values of `kind` by which the page filters, with their titles."""
    spans: tuple[str, ...] = ()
    """The ranges that the page offers, the longest being that of the API."""

    @property
    def document(self) -> str:
        """The path of the document below /admin/analytics/."""
        return self.path.rpartition("/")[0]

    @property
    def rows(self) -> str:
        """The key of the list in the document."""
        return self.path.rpartition("/")[2]

    @property
    def columns_on_page(self) -> tuple[TableColumn, ...]:
        """The columns that the page shows."""
        columns = {column.name: column for column in (*self.columns, *(REPEATS if self.equal_by else ()))}
        return tuple(columns[name] for name in self.shown or columns)


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the API, `path` below /admin/analytics/, and its section of the page."""

    path: str
    title: str
    model: type[Model]
    build: Callable[[Values], Model]
    cards: tuple[Card, ...]
    tables: tuple[TableCard, ...] = ()


LABEL_STYLES: Mapping[str, LabelStyles] = {
    "plans": PLANS,
    "devices": DEVICES,
    "error_kinds": {**FAILURE_KINDS, **ERROR_KINDS},
    "incidents": INCIDENT_KINDS,
    "worker_kinds": WORKER_KINDS,
    "worker_states": WORKER_STATES,
    "health": WORKER_HEALTH,
    "windows": WINDOWS,
    "queues": QUEUES,
    "directions": DIRECTIONS,
}
"""Titles and colours of label values for the page, by the name that columns refer to; the same as in Grafana."""


def each(path: str, styles: LabelStyles, format: Format = "count", empty: str = "") -> tuple[Number, ...]:  # noqa: A002
    """A number for each label value, at `path/<value>`."""
    return tuple(Number(style.title, f"{path}/{value}", format, empty) for value, style in styles.items())


ONLINE = (
    "Distinct users with an open WebSocket, or with a session that has not ended and sent a heartbeat in the last "
    "2 minutes."
)
ACTIVE = "Distinct users with a login, a Live View join, an AI request or a preview request"
NO_QUEUE = "no queue"
"""In place of a depth: no key matches the patterns, which may be the wrong ones, so that 0 would be a guess."""

PLAN_CLASSES = (
    "Paid: a paid plan that is active or past due. Trial: a trial that has not expired. Trial expired: a trial that "
    "expired without an upgrade. Free: all other users."
)
