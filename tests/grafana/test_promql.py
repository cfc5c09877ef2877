"""Expressions built from metric specs: labels that a metric does not have are refused."""

from __future__ import annotations

import pytest

from exporter.collectors.ai import REQUESTS
from exporter.collectors.logs import LINES
from exporter.collectors.queues import DEPTH
from exporter.collectors.users import PROJECTS, USERS
from exporter.collectors.workers import GPU_STATE, HEALTHY
from grafana.drawing import stat
from grafana.layout import assemble
from grafana.promql import Not, log_rate, max_by, min_by, select, sum_by
from grafana.queries import PromQL
from presentation.panels import Operations


def test_a_label_that_the_metric_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="hivesync_users has no label queue"):
        select(USERS, queue="ai")
    with pytest.raises(ValueError, match="hivesync_users has no label queue"):
        max_by(USERS, "plan", "queue")


def test_a_value_that_a_label_never_has_is_refused() -> None:
    with pytest.raises(ValueError, match="hivesync_ai_requests_in_window: window is never '2h'"):
        select(REQUESTS, window="2h")
    with pytest.raises(ValueError, match="state is never 'asleep'"):
        select(GPU_STATE, state=Not("asleep"))
    assert select(REQUESTS, window="1h") == 'hivesync_ai_requests_in_window{window="1h"}'


def test_a_label_that_is_neither_kept_nor_fixed_is_refused() -> None:
    """A maximum over all plans would be meaningless."""
    with pytest.raises(ValueError, match="neither kept nor fixed: plan"):
        max_by(USERS)
    with pytest.raises(ValueError, match="neither kept nor fixed: worker"):
        min_by(HEALTHY, "kind")
    with pytest.raises(ValueError, match="neither kept nor fixed: kind"):
        max_by(HEALTHY, "worker", kind=Not("gpu"))


def test_matchers_and_groups_are_written_as_prometheus_reads_them() -> None:
    assert select(PROJECTS) == "hivesync_projects"
    assert max_by(USERS, plan="paid") == 'max(hivesync_users{plan="paid"})'
    assert max_by(HEALTHY, "worker", "kind", kind=Not("gpu")) == (
        'max by (worker, kind) (hivesync_worker_healthy{kind!="gpu"})'
    )


def test_a_sum_takes_each_series_once() -> None:
    assert sum_by(USERS) == "sum(max by (plan) (hivesync_users))"
    assert sum_by(DEPTH, queue="ai") == 'sum(max by (name) (hivesync_queue_depth{queue="ai"}))'


def test_what_logs_say_is_taken_once_a_host_and_label_and_then_added_up() -> None:
    """By each label of the metric: a maximum over two logs would lose one of them."""
    assert log_rate(LINES, "result") == (
        "sum by (result) (max by (log_host, log, result) (rate(hivesync_log_lines_total[$__rate_interval])))"
    )


def test_a_panel_that_is_not_drawn_is_refused() -> None:
    one = stat(Operations.ALERTS_NOW, "One.", PromQL("vector(1)"))
    with pytest.raises(ValueError, match="HiveSync Operations: not each panel of the catalogue is drawn once"):
        assemble(Operations, "Half.", [one], since="now-1h", others=[])
    others = sum(not panel.is_row for panel in Operations) - 1
    with pytest.raises(ValueError, match="is drawn once"):
        assemble(Operations, "One again and again.", [one] * (1 + others), since="now-1h", others=[])
