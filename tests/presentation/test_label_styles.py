"""Titles and colours: for each value of the closed labels that are shown, and for no others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from admin.documents.cards import LABEL_STYLES
from exporter.vocabulary import WORKER_KINDS
from presentation import label_styles as styles
from presentation.colors import TOKENS
from tests.grafana.boards import ROOT, metrics_in, specs, targets

BY_LABEL: Mapping[str, tuple[styles.LabelStyles, ...]] = {
    "alertstate": (styles.ALERT_STATES,),
    "component": (styles.COMPONENTS,),
    "device_type": (styles.DEVICES,),
    "direction": (styles.DIRECTIONS,),
    "event": (styles.LOG_EVENTS,),
    "kind": (styles.ERROR_KINDS, styles.FAILURE_KINDS, styles.WORKER_KINDS),
    "log": (styles.LOGS,),
    "plan": (styles.PLANS,),
    "queue": (styles.QUEUES,),
    "result": (styles.LOG_RESULTS,),
    "source": (styles.SOURCES,),
    "state": (styles.WORKER_STATES, styles.JOB_STATES, styles.ACTIVE_SINCE),
    "statistic": (styles.STATISTICS,),
}

NO_LABEL = {"healthy", "unhealthy", "unknown", *WORKER_KINDS, styles.IN_THE_QUEUE}
"""Words for a worker's health, which is the value of its metric, and for a state that is not known; kinds of workers,
which are a setting; a legend."""


def test_every_closed_label_on_a_dashboard_has_titles_and_colours() -> None:
    """Except `window`, which the titles of panels name."""
    known = specs()
    shown = {name for target in targets("prometheus") for name in metrics_in(target.expression) & known.keys()}
    closed = {
        (known[name].name, label.name): set(label.values)
        for name in shown
        for label in known[name].labels
        if label.values is not None and label.name != "window"
    }
    assert len(closed) > 20
    assert {
        place for place, values in closed.items() if not any(values <= group.keys() for group in BY_LABEL[place[1]])
    } == set()


def test_every_title_is_of_a_value_of_a_closed_label() -> None:
    values = {value for spec in specs().values() for label in spec.labels for value in label.values or ()}
    titled = {value for groups in BY_LABEL.values() for group in groups for value in group}
    assert titled - values <= NO_LABEL
    assert styles.WINDOWS.keys() | styles.DAYS.keys() <= values


def test_every_group_of_styles_is_of_a_label_or_on_the_page() -> None:
    groups = [value for name, value in vars(styles).items() if name.isupper() and isinstance(value, dict)]
    assert len(groups) > 15
    windows = (styles.WINDOWS, styles.DAYS)
    known = [styles.UP, *windows, *LABEL_STYLES.values(), *(g for groups in BY_LABEL.values() for g in groups)]
    assert [group for group in groups if group not in known] == []


def test_the_colours_are_those_of_the_style_sheet() -> None:
    """A colour is a token, or the opaque form of a transparent one."""
    sheet = (ROOT / "admin" / "page" / "styles" / "tokens.css").read_text()
    opaque = {"#{:02X}{:02X}{:02X}".format(*map(int, rgb)) for rgb in re.findall(r"rgba\((\d+), (\d+), (\d+),", sheet)}
    assert len(TOKENS) > 8
    assert TOKENS - set(re.findall(r"#[0-9A-F]{6}", sheet)) - opaque == set()
