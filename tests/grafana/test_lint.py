"""Rules for the generated dashboards, as for dashboards made by hand with care."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import yaml

from grafana.drawing import COUNT, RECORDED_ONLY
from grafana.thresholds import QUEUE_DEPTH, ROLLUP_AGE
from presentation.colors import BAD, GOOD, TOKENS, WARNING
from presentation.panels import ANALYTICS, EMBEDDED, OPERATIONS
from tests.grafana.boards import (
    RULES,
    SELECTOR,
    dashboards,
    everything_in,
    is_row,
    metrics_in,
    panels,
    recorded,
    specs,
    targets,
    walk,
)
from tests.prometheus.rules import values_never_had

UIDS = {"prometheus": "hivesync-prometheus", "grafana-postgresql-datasource": "hivesync-postgres"}
PRIVATE = re.compile(
    r"\b(?:e-?mail|prompt(?!_tokens)|password|username|source[ _]code|file_contents?)\b", re.IGNORECASE
)
PANEL_TYPES = {"stat", "timeseries", "bargauge", "state-timeline", "table"}
"""Panel types of every Grafana, without plugins, and without scripts or HTML of ours."""

TEXT = "text"
"""Grafana's name for the colour of text in the theme."""

NOW = {"stat", "bargauge", "table"}
"""Panel types that show the end of the time range alone."""

ALL = [pytest.param(panel, id=f"{uid}-{panel['id']}") for uid, panel in panels()]
BOARDS = [pytest.param(board, id=name) for name, board in dashboards().items()]
PROMQL = [pytest.param(target, id=target.where) for target in targets("prometheus")]


def test_there_is_something_to_look_at() -> None:
    assert len(BOARDS) == 3
    assert len(ALL) > 55
    assert len(PROMQL) > 55
    assert len(targets("grafana-postgresql-datasource")) == 2
    assert sum(len(panel["targets"]) for _, panel in panels()) == len(PROMQL) + 2
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
    assert sorted(uids) == ["hivesync-analytics", "hivesync-embedded", "hivesync-operations"]


@pytest.mark.parametrize("board", BOARDS)
def test_ids_are_unique_and_nothing_overlaps_or_goes_over_the_edge(board: dict[str, Any]) -> None:
    everything = everything_in(board)
    assert len(everything) >= 4
    assert max(Counter(panel["id"] for panel in everything).values()) == 1
    assert all(panel["id"] > 0 for panel in everything)
    folded = [[row, *row["panels"]] for row in board["panels"] if is_row(row) and row["collapsed"]]
    for together in [board["panels"], *folded]:
        places = [(panel["id"], panel["gridPos"]) for panel in together]
        assert [number for number, p in places if p["x"] < 0 or p["x"] + p["w"] > 24 or p["w"] < 1 or p["h"] < 1] == []
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
def test_folded_rows_hold_their_panels_and_open_rows_none(board: dict[str, Any]) -> None:
    """Grafana drops the panels inside an open row, and leaves a folded row without panels empty."""
    rows = [panel for panel in board["panels"] if is_row(panel)]
    assert [row["title"] for row in rows if row["collapsed"] is not bool(row["panels"])] == []
    last = next((index for index, panel in enumerate(board["panels"]) if panel.get("collapsed")), None)
    assert last is None or all(panel.get("collapsed") for panel in board["panels"][last:])


def test_panels_for_frames_have_nothing_that_the_page_has() -> None:
    """Title, definition, legend and background are the card's."""
    framed = [panel for uid, panel in panels() if uid == EMBEDDED.uid]
    assert len(framed) == 4
    for panel in framed:
        assert (panel["title"], panel.get("description"), panel["transparent"]) == ("", None, True)
        assert panel["options"].get("legend", {"showLegend": False})["showLegend"] is False
    assert {panel["id"] for uid, panel in panels() if uid != EMBEDDED.uid and panel.get("transparent")} == set()


def test_one_title_is_one_number_and_no_panel_is_there_twice() -> None:
    for uid in (ANALYTICS.uid, OPERATIONS.uid):
        shown = [panel for its, panel in panels() if its == uid]
        assert [title for title, times in Counter(panel["title"] for panel in shown).items() if times > 1] == []
        drawn = Counter(f"{panel['type']} {_queries(panel)}" for panel in shown)
        assert [queries for queries, times in drawn.items() if times > 1] == []


def _queries(panel: dict[str, Any]) -> str:
    return " ".join(sorted(query.get("expr", query.get("rawSql")) for query in panel["targets"]))


@pytest.mark.parametrize("panel", ALL)
def test_a_panel_says_what_it_shows_and_what_it_shows_without_data(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["type"] in PANEL_TYPES
    if panel["title"]:
        assert panel["description"].endswith(".")
        assert "Source: " in panel["description"]
        assert "\n" not in panel["description"]
    assert defaults["unit"]
    assert defaults["noValue"] == ("none firing" if panel["title"] == "Alerts" else "no data")
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
            assert target["instant"] is (panel["type"] in NOW), "a number is that of now, a line that of its time"
            assert target["instant"] or "$__range" not in target["expr"].replace("[$__range] @ end()", "")
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
    assert named <= TOKENS | {TEXT}


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
        assert [query["expr"][:10] for query in panel["targets"]] == ["sort_desc("]


@pytest.mark.parametrize("panel", ALL)
def test_counts_are_whole_numbers_in_full(panel: dict[str, Any]) -> None:
    """`short` rounds 1,624 users to 1.62 K: it is for rates, quotients and millions."""
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["unit"] == COUNT:
        assert defaults["decimals"] == 0
    if defaults["unit"] == "short":
        asked = _queries(panel)
        assert "rate(" in asked or " / " in asked or "_per_user" in asked or "_tokens_" in asked, asked
    for query in panel["targets"]:
        shown = query.get("expr", "").replace("[$__range] @ end()", "")
        assert len(re.findall(r"increase\([a-z_]+\[", shown)) == shown.count("round(")


@pytest.mark.parametrize("panel", ALL)
def test_numbers_without_judgement_have_the_colour_of_text(panel: dict[str, Any]) -> None:
    """No colour of a design token reaches 4.5:1 on the backgrounds of both themes."""
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "stat" and defaults["color"]["mode"] == "fixed":
        assert (defaults["color"]["fixedColor"], panel["options"]["colorMode"]) == (TEXT, "none")
    words = [
        result["color"]
        for text in walk(panel)
        if isinstance(text, dict) and text.get("type") == "value"
        for result in text["options"].values()
    ]
    assert set(words) <= {TEXT, GOOD, WARNING, BAD}


@pytest.mark.parametrize("panel", ALL)
def test_a_line_without_a_written_past_says_since_when(panel: dict[str, Any]) -> None:
    if panel["type"] == "timeseries" and panel["title"] and panel["datasource"]["type"] == "prometheus":
        spans = [panel["fieldConfig"]["defaults"]["custom"]["spanNulls"]]
        spans += [
            entry["value"]
            for override in panel["fieldConfig"]["overrides"]
            for entry in override["properties"]
            if entry["id"] == "custom.spanNulls"
        ]
        assert (RECORDED_ONLY in panel["description"]) is not any(spans)


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
