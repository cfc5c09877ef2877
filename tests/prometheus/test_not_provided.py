"""No alert fires for want of an input that is not provided: its series are absent, and every alert that needs them is
silent, with the series that fire it otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.collectors import build_collectors
from exporter.inputs import INPUTS
from exporter.settings import Settings
from exporter.state import StateFile
from tests.prometheus.rules import RULE_TESTS, SHIPPED, read, specs
from tests.prometheus.test_promtool import run

pytestmark = pytest.mark.prometheus

RESTING = {
    "workers": {"HiveSyncNoHealthyWorker", "HiveSyncGPUWorkerOffline", "HiveSyncProjectedCostHigh"},
    "queue_stats": {"HiveSyncQueueDrainSlow", "HiveSyncQueueStalled"},
    "ai_events_log": {"HiveSyncAIErrorRatioHigh", "HiveSyncLogTailBehind", "HiveSyncDataStale"},
    "preview_log": {
        "HiveSyncPreviewFailureRatioHigh",
        "HiveSyncLogTailBehind",
        "HiveSyncQueueDrainSlow",
        "HiveSyncQueueStalled",
        "HiveSyncSourceDown",
    },
    "ai_usage_events.model": {"HiveSyncProjectedCostHigh"},
    "ai_usage_events.prompt_tokens": {"HiveSyncProjectedCostHigh"},
    "ai_usage_events.completion_tokens": {"HiveSyncProjectedCostHigh"},
}
"""The alerts that rest on an input, of those whose tests have its series."""


def collectors(folder: Path, *not_provided: str) -> set[str]:
    settings = Settings.model_construct(not_provided=not_provided)
    return {collector.name for collector in build_collectors(settings, lambda name: StateFile(folder, name))}


def is_absent(series: str, name: str, dropped: set[str]) -> bool:
    """Whether the exporter has no such series if this input is not provided."""
    metric, _, matchers = series.partition("{")
    labels: Mapping[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
    spec = specs().get(metric)
    of_source = metric.startswith("hivesync_source_") and labels["source"] == name
    lacks = spec is not None and spec.lacks([name], labels) is not None
    return of_source or lacks or labels.get("collector") in dropped


def is_of_other_log(alert: Mapping[str, Any], name: str) -> bool:
    return alert["exp_labels"].get("source", "") in {"ai_events_log", "preview_log"} - {name}


def without(name: str, dropped: set[str], test: dict[str, Any]) -> dict[str, Any] | None:
    """The firing case of a rule's test without the series that are absent; None if none is."""
    series = [one for one in test["input_series"] if not is_absent(one["series"], name, dropped)]
    firing = [case for case in test.get("alert_rule_test", ()) if case["exp_alerts"]]
    silent = [
        {**case, "exp_alerts": [one for one in case["exp_alerts"] if is_of_other_log(one, name)]} for case in firing
    ]
    if silent == firing or len(series) == len(test["input_series"]):
        return None
    return {key: test[key] for key in ("name", "interval")} | {"input_series": series, "alert_rule_test": silent}


def test_alerts_are_silent_without_their_input(tmp_path: Path) -> None:
    resting: dict[str, set[str]] = {}
    files = []
    for each in INPUTS:
        dropped = collectors(tmp_path) - collectors(tmp_path, each.name)
        for path in RULE_TESTS:
            content = read(path)
            tests = [case for test in content["tests"] if (case := without(each.name, dropped, test))]
            if not tests:
                continue
            resting.setdefault(each.name, set()).add(path.name.partition(".")[0])
            files.append(tmp_path / f"{each.name}-{path.name}")
            rule_files = [str(SHIPPED / "tests" / file) for file in content["rule_files"]]
            files[-1].write_text(yaml.safe_dump({**content, "rule_files": rule_files, "tests": tests}))
    said = run("promtool", "test", "rules", *files)
    assert said.count("SUCCESS") == len(files)
    assert resting == RESTING
