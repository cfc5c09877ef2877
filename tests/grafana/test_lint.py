"""Rules for the generated dashboards, as for dashboards made by hand with care."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import yaml

from grafana.thresholds import QUEUE_DEPTH, ROLLUP_AGE
from presentation.colors import TOKENS
from presentation.panels import ANALYTICS, ANALYTICS_PATH, GRAFANA_PATH, OPERATIONS
from tests.grafana.boards import RULES, SELECTOR, dashboards, is_row, metrics_in, panels, recorded, specs, targets, walk
from tests.prometheus.rules import values_never_had

UIDS = {"prometheus": "hivesync-prometheus", "grafana-postgresql-datasource": "hivesync-postgres"}
PRIVATE = re.compile(
    r"\b(?:e-?mail|prompt(?!_tokens)|password|username|source[ _]code|file_contents?)\b", re.IGNORECASE
)
PANEL_TYPES = {"stat", "timeseries", "bargauge", "state-timeline", "table"}
"""Panel types of every Grafana, without plugins, and without scripts or HTML of ours."""

ALL = [pytest.param(panel, id=f"{uid}-{panel['id']}") for uid, panel in panels()]
BOARDS = [pytest.param(board, id=name) for name, board in dashboards().items()]
PROMQL = [pytest.param(target, id=target.where) for target in targets("prometheus")]


def test_there_is_something_to_look_at() -> None:
    assert len(BOARDS) == 2
    assert len(ALL) > 55
    assert len(PROMQL) > 55
    assert len(targets("grafana-postgresql-datasource")) == 1
    assert sum(len(panel["targets"]) for _, panel in panels()) == len(PROMQL) + 1
    assert len(specs()) > 40


@pytest.mark.parametrize("board", BOARDS)
def test_a_dashboard_is_read_only_fresh_and_in_the_viewers_time(board: dict[str, Any]) -> None:
    assert board["editable"] is False
    assert board["refresh"] == "30s"
    assert board["timezone"] == "browser"
    assert board["schemaVersion"] == 42
    assert board["time"]["to"] == "now"
    assert board["description"]
    assert board["templating"] == {"list": []}
    assert "id" not in board
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", board["uid"])


def test_uids_are_unique_and_the_ones_that_are_known() -> None:
    uids = [board["uid"] for board in dashboards().values()]
    assert sorted(uids) == ["hivesync-analytics", "hivesync-operations"]


@pytest.mark.parametrize("board", BOARDS)
def test_ids_are_unique_and_nothing_overlaps_or_goes_over_the_edge(board: dict[str, Any]) -> None:
    everything = board["panels"]
    assert len(everything) > 20
    assert max(Counter(panel["id"] for panel in everything).values()) == 1
    assert all(panel["id"] > 0 for panel in everything)
    places = [(panel["title"], panel["gridPos"]) for panel in everything]
    assert [title for title, p in places if p["x"] < 0 or p["x"] + p["w"] > 24 or p["w"] < 1 or p["h"] < 1] == []
    overlapping = [
        (one, other)
        for (one, a), (other, b) in combinations(places, 2)
        if a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    ]
    assert overlapping == []


@pytest.mark.parametrize("board", BOARDS)
def test_rows_are_open_and_hold_no_panels_of_their_own(board: dict[str, Any]) -> None:
    """Grafana drops the panels inside an open row, and does not draw a panel of a closed row alone."""
    rows = [panel for panel in board["panels"] if is_row(panel)]
    assert len(rows) >= 5
    assert [row["title"] for row in rows if row["collapsed"] or row["panels"]] == []


@pytest.mark.parametrize("panel", ALL)
def test_a_panel_says_what_it_shows_and_what_it_shows_without_data(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["type"] in PANEL_TYPES
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert "Source: " in panel["description"]
    assert "\n" not in panel["description"]
    assert defaults["unit"]
    assert defaults["noValue"] == "no data"
    assert panel["pluginVersion"]


@pytest.mark.parametrize("panel", ALL)
def test_panel_and_queries_ask_one_known_datasource(panel: dict[str, Any]) -> None:
    source = panel["datasource"]
    assert UIDS[source["type"]] == source["uid"]
    assert panel["targets"]
    assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])


@pytest.mark.parametrize("panel", ALL)
def test_queries_have_ids_and_say_how_they_are_asked(panel: dict[str, Any]) -> None:
    refs = [target["refId"] for target in panel["targets"]]
    assert refs == list("ABCDEFGH"[: len(refs)])
    for target in panel["targets"]:
        if target["datasource"]["type"] == "prometheus":
            assert target["instant"] is not target["range"]
            assert target["format"] == ("table" if panel["type"] == "table" else "time_series")
            assert target["instant"] or panel["type"] != "table"
            assert target["instant"] or "$__range" not in target["expr"]
        else:
            assert target["rawQuery"] is True
            assert target["format"] in {"time_series", "table"}
            assert re.search(r'AS "time"', target["rawSql"])
            assert "ORDER BY 1" in target["rawSql"]
            assert re.findall(r"\bFROM (\w+)", target["rawSql"]) == ["usage_analytics_daily"]


@pytest.mark.parametrize("target", PROMQL)
def test_every_metric_and_label_is_one_there_is(target: Any) -> None:
    known = specs()
    names = metrics_in(target.expression)
    assert names
    assert names - known.keys() - recorded() == set()
    for name, matchers in SELECTOR.findall(target.expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
        assert labels
        assert labels <= set(known[name].label_names), target.expression
        assert list(values_never_had(known[name], matchers)) == [], target.expression


def test_a_metric_or_label_that_is_not_there_would_be_noticed() -> None:
    expression = (
        'sum by (plan) (max by (a, b) (hivesync_userz{plan="paid"})) / on (plan) rate(nothing_total[5m]) > bool 0'
    )
    assert metrics_in(expression) == {"hivesync_userz", "nothing_total"}


@pytest.mark.parametrize("target", PROMQL)
def test_rates_go_by_the_scrape_interval_and_counters_are_never_shown_raw(target: Any) -> None:
    """A fixed range as in `rate(x[5m])` is empty with a slow scrape, and smooths a short chart."""
    ranges = re.findall(r"\[([^]]+)\]", target.expression)
    assert set(ranges) <= {"$__rate_interval", "$__range"}
    known = specs()
    for name in metrics_in(target.expression) & known.keys():
        if known[name].type in {"counter", "histogram", "summary"}:
            assert re.search(rf"(?:rate|increase)\({name}(?:\{{[^}}]*\}})?\[", target.expression), name


@pytest.mark.parametrize("target", PROMQL)
def test_nothing_is_added_up_over_exporters(target: Any) -> None:
    """Sums are over values taken once: `sum` over `max` or `min`, or over a histogram's own counts."""
    for inner in re.findall(r"sum(?: by \([^)]*\))? ?\((.{0,45})", target.expression):
        assert re.match(r"max by \(|1 - min by \(|rate\(hivesync_refresh_duration_seconds_", inner), target.expression


def test_links_lead_to_the_other_dashboard_and_to_the_page() -> None:
    for board in dashboards().values():
        (other,) = {ANALYTICS, OPERATIONS} - {d for d in (ANALYTICS, OPERATIONS) if d.uid == board["uid"]}
        links = {link["url"]: link for link in board["links"]}
        assert links.keys() == {ANALYTICS_PATH, f"{GRAFANA_PATH}d/{other.uid}/"}
        # Without a target, Grafana opens any path of its own origin inside itself, and the page is not there.
        assert links[ANALYTICS_PATH]["targetBlank"] is True
        assert links[other.path]["keepTime"] is True
        assert all(link["type"] == "link" and "placement" not in link for link in links.values())


def test_nothing_asks_for_annotations() -> None:
    for board in dashboards().values():
        (builtin,) = board["annotations"]["list"]
        assert (builtin["builtIn"], builtin["enable"]) == (1, False)


def test_no_panel_knows_of_anything_private() -> None:
    """Aggregates and numbers only; no code, prompts, e-mail addresses or names of users."""
    asked = [query.get("expr", "") + query.get("rawSql", "") for _, panel in panels() for query in panel["targets"]]
    assert len(asked) > 55
    assert [text for text in asked if PRIVATE.search(text)] == []
    texts = [str(text) for _, panel in panels() for text in walk(panel) if isinstance(text, str)]
    assert len(texts) > 500
    assert [text for text in texts if PRIVATE.search(text)] == []


def test_colours_are_the_design_tokens() -> None:
    colours = {
        str(text).upper()
        for _, panel in panels()
        for text in walk(panel)
        if isinstance(text, str) and re.fullmatch(r"#[0-9A-Fa-f]{3,8}|rgba?\(.*\)", text)
    }
    assert len(colours) > 5
    assert colours <= TOKENS
    named = {
        text["fixedColor"]
        for _, panel in panels()
        for text in walk(panel)
        if isinstance(text, dict) and "fixedColor" in text
    }
    assert named <= TOKENS


def test_one_thing_has_one_colour() -> None:
    """A title has the same colour in all panels of both dashboards."""
    colours: dict[str, set[str]] = {}
    for _, panel in panels():
        for override in panel["fieldConfig"]["overrides"]:
            values = {entry["id"]: entry["value"] for entry in override["properties"]}
            if {"color", "displayName"} <= values.keys():
                colours.setdefault(values["displayName"], set()).add(values["color"]["fixedColor"])
    assert len(colours) > 25
    assert {title: found for title, found in colours.items() if len(found) > 1} == {}


@pytest.mark.parametrize("panel", ALL)
def test_counts_begin_at_zero(panel: dict[str, Any]) -> None:
    """With another minimum, the smallest bar would have no length."""
    if panel["type"] == "bargauge":
        assert panel["fieldConfig"]["defaults"]["min"] == 0
        assert panel["options"]["reduceOptions"]["calcs"] == ["lastNotNull"]


@pytest.mark.parametrize("panel", ALL)
def test_tables_hide_the_time_of_their_query(panel: dict[str, Any]) -> None:
    if panel["type"] == "table":
        (organize,) = panel["transformations"]
        assert organize["id"] == "organize"
        assert organize["options"]["excludeByName"]["Time"] is True


def test_only_what_the_past_is_written_for_joins_points_an_hour_apart() -> None:
    """The roll-up writes the past of these five metrics; all others keep their gaps."""
    told = {
        "hivesync_active_users",
        "hivesync_ai_requests_in_window",
        "hivesync_preview_requests_in_window",
        "hivesync_ai_errors_in_window",
        "hivesync_job_latency_average_seconds",
    }
    joined: set[str] = set()
    for target in targets("prometheus"):
        span = target.panel["fieldConfig"]["defaults"].get("custom", {}).get("spanNulls", False)
        overridden = [
            entry["value"]
            for override in target.panel["fieldConfig"]["overrides"]
            for entry in override["properties"]
            if entry["id"] == "custom.spanNulls"
        ]
        for threshold in [span, *overridden]:
            if threshold is not False:
                assert 3_600_000 < threshold <= 2 * 3_600_000
                joined |= metrics_in(target.expression)
    assert joined == told


def test_what_is_bad_on_a_chart_is_what_an_alert_begins_at() -> None:
    rules = [
        rule for group in yaml.safe_load((RULES / "thresholds.yml").read_text())["groups"] for rule in group["rules"]
    ]
    thresholds = {(rule["record"], rule.get("labels", {}).get("queue")): float(rule["expr"]) for rule in rules}
    assert thresholds
    for queue, depth in QUEUE_DEPTH.items():
        assert depth.bad == thresholds["queue:hivesync_queue_depth:threshold", queue]
    assert ROLLUP_AGE.bad == thresholds["hivesync:rollup_age_seconds:threshold", None]


def test_files_end_in_a_newline_and_are_sorted() -> None:
    for name, board in dashboards().items():
        assert list(board) == sorted(board), name
        assert json.dumps(board, ensure_ascii=False).isprintable()
