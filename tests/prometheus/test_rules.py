"""Every alert is complete, explained and tested, and refers to existing metrics only."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.state import StateFile
from tests.prometheus.rules import (
    OF_PROMETHEUS,
    RULE_TESTS,
    RUNBOOKS,
    SHIPPED,
    Rule,
    alert_names,
    fences,
    metrics_in,
    read,
    recorded,
    rules,
    selectors_in,
    specs,
    values_never_had,
)

ALERTS = rules("alerts")
EACH_ALERT = pytest.mark.parametrize("rule", ALERTS, ids=[f"{r['alert']}-{r['labels']['severity']}" for r in ALERTS])
PAGES = sorted(RUNBOOKS.iterdir())
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
HEADINGS = ["## Meaning", "## Diagnosis", "## Mitigation"]

SELECTOR = re.compile(r"\b(hivesync_\w+)\{([^}]*)\}")
DURATION = re.compile(r"\d+[smhd]")
LEVEL_METRIC_OPERATIONS = re.compile(r"[a-z]+:[a-z][a-z_]+:[a-z][a-z0-9_]+")


def test_there_are_alerts_for_all_that_somebody_should_be_told() -> None:
    assert len(ALERTS) > 15
    assert len(alert_names()) > 15


@EACH_ALERT
def test_an_alert_says_what_it_is_how_bad_and_where_to_read_on(rule: Rule) -> None:
    assert re.fullmatch(r"HiveSync([A-Z][a-z]+|AI|GPU)+", rule["alert"])
    assert DURATION.fullmatch(rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert re.fullmatch(r"[A-Z][^{}]+\.", rule["annotations"]["summary"]), "a sentence that is always the same"
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


@EACH_ALERT
def test_a_description_has_the_value_or_names_whom_a_state_is_of(rule: Rule) -> None:
    description = rule["annotations"]["description"]
    assert "$value" in description or (rule["expr"].endswith("== 1") and "$labels.worker" in description)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.name for page in PAGES} == {f"{name}.md" for name in alert_names()}


@EACH_PAGE
def test_a_page_has_meaning_diagnosis_and_mitigation(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n\n## ")
    assert re.findall(r"^##+ .+$", text, re.MULTILINE) == HEADINGS
    parts = re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]
    assert [part for part in parts if len(part.split()) < 20 and "```" not in part] == []
    assert fences(page, "promql")
    assert fences(page, "") == [], "every block names its language"


@EACH_PAGE
def test_a_page_links_to_and_names_only_what_is_there(page: Path) -> None:
    text = page.read_text()
    assert [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not (page.parent / link).exists()] == []
    levels = {name.partition(":")[0] for name in recorded()}
    in_passing = {name for name in re.findall(r"`([\w:]+)", text) if name.partition(":")[0] in levels and ":" in name}
    in_passing |= set(re.findall(r"(?<![\w:])hivesync_\w+", text))
    named = in_passing.union(*(metrics_in(block) for block in fences(page, "promql")))
    assert named - specs().keys() - recorded() - OF_PROMETHEUS == set()


@pytest.mark.parametrize("file", ["thresholds", "recording", "alerts"])
def test_a_rule_names_only_metrics_and_labels_that_are_there(file: str) -> None:
    named = {name for rule in rules(file) for name in metrics_in(str(rule["expr"]))}
    assert named or file == "thresholds"
    assert named - specs().keys() - recorded() - OF_PROMETHEUS == set()
    picked = {pair for rule in rules(file) for pair in selectors_in(str(rule["expr"]))}
    assert picked or file == "thresholds"
    assert {(name, label) for name, label in picked if label not in specs()[name].label_names} == set()
    selectors = [found for rule in rules(file) for found in SELECTOR.findall(str(rule["expr"]))]
    never = [
        (name, found)
        for name, matchers in selectors
        if name in specs()
        for found in values_never_had(specs()[name], matchers)
    ]
    assert never == []


def test_a_value_that_a_label_never_has_would_be_noticed() -> None:
    requests = specs()["hivesync_ai_requests_in_window"]
    assert list(values_never_had(requests, 'window="2h"')) == [("window", "2h")]
    assert list(values_never_had(requests, 'window=~"1h|2.",job="x"')) == [("window", "2.")]
    assert list(values_never_had(requests, 'window!="1h"')) == []


def test_what_is_recorded_is_named_level_metric_operations() -> None:
    assert len(recorded()) > 15
    assert [name for name in recorded() if not LEVEL_METRIC_OPERATIONS.fullmatch(name)] == []


def test_every_recorded_metric_and_threshold_is_used_by_a_rule() -> None:
    used = {name for file in ("recording", "alerts") for rule in rules(file) for name in metrics_in(rule["expr"])}
    assert recorded() - used == set()


def test_every_number_of_an_alert_is_a_threshold() -> None:
    """The only other numbers in expressions are states (0 and 1), days of a month, and ranges."""
    numbers = {
        (rule["alert"], number)
        for rule in ALERTS
        for number in re.findall(r"(?<![\w:\"])\d+(?:\.\d+)?(?!\w)", re.sub(r"\[\w+\]", "", rule["expr"]))
        if number not in {"0", "1"}
    }
    assert numbers == {("HiveSyncProjectedCostHigh", "2")}


def test_a_lost_threshold_is_noticed_whichever_it_is() -> None:
    (rule,) = (rule for rule in ALERTS if rule["alert"] == "HiveSyncThresholdMissing")
    looked_for = re.findall(r"absent\(([\w:]+)(?:\{queue=\"(\w+)\"\})?\)", rule["expr"])
    there = [(rule["record"], rule.get("labels", {}).get("queue", "")) for rule in rules("thresholds")]
    assert len(there) > 10
    assert Counter(looked_for) == Counter(there)


@EACH_ALERT
def test_an_alert_counts_no_exporter_twice(rule: Rule) -> None:
    """A sum over a metric of the exporter is a sum over maxima over exporters."""
    assert not re.search(r"\b(sum|count|avg)\b[^(]*\(\s*(?!max\b)\w*\(?hivesync_", rule["expr"])


def test_what_is_recorded_counts_no_exporter_twice() -> None:
    for rule in rules("recording"):
        if metrics_in(rule["expr"]) & specs().keys():
            assert re.match(r"(sum( by \(\w+\) )?\()?max ", rule["expr"]), rule["record"]
        if "log_events" in rule["expr"]:
            assert rule["expr"].startswith("sum(max without (instance) (")


def cases_of(path: Path) -> list[dict[str, Any]]:
    return [{"file": path.name, **case} for test in read(path)["tests"] for case in test.get("alert_rule_test", ())]


CASES = [case for path in RULE_TESTS for case in cases_of(path)]


@pytest.mark.parametrize("name", sorted(alert_names()))
def test_an_alert_is_tested_firing_silent_and_more_than_once_in_time(name: str) -> None:
    cases = [case for case in CASES if case["alertname"] == name]
    assert {case["file"] for case in cases} == {f"{name}.test.yml"}
    assert any(case["exp_alerts"] for case in cases), "firing"
    assert any(not case["exp_alerts"] for case in cases), "silent"
    assert len(read(SHIPPED / "tests" / f"{name}.test.yml")["tests"]) >= 2


def test_every_severity_of_an_alert_is_tested() -> None:
    fired = {(case["alertname"], alert["exp_labels"]["severity"]) for case in CASES for alert in case["exp_alerts"]}
    assert fired == {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS}


def test_the_folder_of_rule_tests_holds_nothing_else() -> None:
    expected = {f"{name}.test.yml" for name in alert_names()} | {"recording.test.yml"}
    assert {path.name for path in RULE_TESTS} == expected


def test_everything_recorded_is_tested() -> None:
    tested = {
        name
        for test in read(SHIPPED / "tests" / "recording.test.yml")["tests"]
        for case in test["promql_expr_test"]
        for name in metrics_in(case["expr"])
    }
    assert tested == {rule["record"] for rule in rules("recording")}


def test_an_alert_goes_by_the_job_that_is_scraped() -> None:
    jobs = {scrape["job_name"] for scrape in read(SHIPPED / "prometheus.yml")["scrape_configs"]}
    named = {job for rule in ALERTS for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert named == jobs


def test_a_source_that_is_down_silences_exactly_the_collectors_that_read_it(tmp_path: Path) -> None:
    silenced: dict[str, set[str]] = {}
    for rule in read(SHIPPED / "alertmanager.yml")["inhibit_rules"]:
        matchers = " ".join(rule["source_matchers"] + rule["target_matchers"])
        if source := re.search(r'source="(\w+)"', matchers):
            (collectors,) = re.findall(r'collector=~"([^"]+)"', matchers)
            silenced[source[1]] = set(collectors.split("|"))
    expected: dict[str, set[str]] = {}
    for collector in build_collectors(Settings.model_construct(), lambda name: StateFile(tmp_path, name)):
        for name in collector.sources:
            expected.setdefault(name, set()).add(collector.name)
    assert silenced == expected
