"""What a card, a chart and a table of the Analytics page are: a title, a meaning, and where in the API the values are.

    values.py, charts.py, tables.py -> JSON -> the page's modules write it into what is described here
    cards.py (this) -> overview.py, sections.py (what there is) -> page/ (templates render it), tests (against the API)

A number is explained where it is shown: what it counts, over which window, from which source. The words are the
contract's definitions. A new card is an entry in one of the two and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from grafana.panels import Panel
from grafana.style import (
    BLUE,
    DEVICES,
    ERROR_KINDS,
    FAILURE_KINDS,
    LIGHT_BLUE,
    ORANGE,
    PLANS,
    QUEUES,
    RED,
    SOURCES,
    WINDOWS,
    WORKER_KINDS,
    WORKER_STATES,
    Thing,
    Things,
)

Format = Literal["count", "ratio", "seconds", "dollars"]
"""How a number is written; the page's formats.js knows each."""

ColumnType = Literal["text", "number", "time"]

POSTGRES, REDIS, AI_LOG = (SOURCES[name].title for name in ("postgres", "redis", "ai_events_log"))
BOTH = f"{POSTGRES} and {REDIS}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a card's popover says; `source` in words, the API names those of each value."""

    counts: str
    window: str
    source: str


@dataclass(frozen=True, slots=True)
class Number:
    """One value of the API. `path`: the document and the keys in it, as in "users/online_devices/desktop"."""

    label: str
    path: str
    format: Format = "count"
    empty: str = ""
    """What a null says that is not an error; a dash if nothing."""

    @property
    def document(self) -> str:
        """The path of the API below /admin/analytics/."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Card:
    """One or more numbers under one title. On the header's cards the first is large and the others stand below it."""

    id: str
    title: str
    meaning: Meaning
    numbers: tuple[Number, ...]
    trend: str = ""
    """Which of the summary's trends is drawn."""
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `things` are the words for the values that the API gives."""

    name: str
    label: str
    type: ColumnType = "text"
    things: str = ""
    """One of `WORDS`."""
    is_code: bool = False
    """An identifier: in letters of one width."""
    has_dot: bool = False
    """The word has its colour before it."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of the API. `path` leads to a list of them; a cell is a value, or an object with `value`."""

    id: str
    title: str
    meaning: Meaning
    path: str
    columns: tuple[Column, ...]
    empty: str
    has_csv: bool = False
    is_estimate: bool = False

    @property
    def document(self) -> str:
        """The path of the API below /admin/analytics/."""
        return self.path.rpartition("/")[0]

    @property
    def rows(self) -> str:
        """The key of the list in the document."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: Grafana's panel where there is one for the range, otherwise drawn from the API."""

    id: str
    title: str
    meaning: Meaning
    height: int
    frames: Mapping[str, Panel]
    """The panel by range. Some panels keep to a span of their own whatever the URL says, so other ranges need another
    panel, or are drawn from the API."""
    ranges: tuple[str, ...] = ()
    range: str = ""
    """The one shown at first."""
    unit: Format = "count"
    has_days: bool = False
    """Its times are UTC days, and are written as such; others are in the viewer's zone."""

    @property
    def document(self) -> str:
        """The path of the API below /admin/analytics/."""
        return f"charts/{self.id}"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, cards and tables."""

    id: str
    title: str
    cards: tuple[Card, ...]
    tables: tuple[Table, ...] = field(default=())


WORDS: Mapping[str, Things] = {
    "plans": PLANS,
    "devices": DEVICES,
    "error_kinds": {**FAILURE_KINDS, **ERROR_KINDS},
    "incidents": {"ai_error": Thing("AI error", RED), "preview_failure": Thing("Preview failure", ORANGE)},
    "worker_kinds": WORKER_KINDS,
    "worker_states": WORKER_STATES,
    "health": {"true": WORKER_STATES["healthy"], "false": WORKER_STATES["unhealthy"]},
    "windows": WINDOWS,
    "queues": QUEUES,
    "directions": {"prompt": Thing("Prompt", LIGHT_BLUE), "completion": Thing("Completion", BLUE)},
}
"""What the values of labels are called, and their colours: one title and one colour for each, as in Grafana."""


def each(path: str, things: Things, format: Format = "count", empty: str = "") -> tuple[Number, ...]:  # noqa: A002
    """One number for each thing, at `path/<name>`."""
    return tuple(Number(thing.title, f"{path}/{name}", format, empty) for name, thing in things.items())


WHO_IS_ONLINE = (
    "Different users with an open WebSocket, or with a session whose heartbeat came in the last 2 minutes and that has "
    "not ended."
)
NO_QUEUE = "no queue"
"""In place of a depth: no key matches the patterns, which may be the wrong ones, so that 0 would be a guess."""

ACTIVE = "Different users with a login, a Live View join, an AI request or a preview request"
PLAN_CLASSES = (
    "Paid: a paid plan that is active or past due. Trial: a trial that still runs. Trial expired: one that ran out "
    "without an upgrade. Free: everybody else."
)
