"""GPU time and its cost, from heartbeats (docs/definitions.md#ai-cost)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceUnavailable
from tests.exporter.collectors.fleet import HOUR, PRICES, SECOND, SPOT, Fleet
from tests.rows import NOON, NOWHERE, only


def test_gpu_time_is_counted_from_heartbeat_to_heartbeat(fleet: Fleet) -> None:
    """The heartbeats' own times count, not the number of refreshes."""
    fleet.gpu("gpu-1", NOON - 100 * SECOND)
    fleet.gpu("gpu-2", NOON, lifecycle="on-demand")
    fleet.read()
    assert fleet.seconds() == {"g5.xlarge,spot": 0.0, "g5.xlarge,on-demand": 0.0}
    fleet.gpu("gpu-1", NOON)
    fleet.read()
    fleet.read(NOON + HOUR)
    assert fleet.seconds() == {"g5.xlarge,spot": 100.0, "g5.xlarge,on-demand": 0.0}
    fleet.gpu("gpu-1", NOON + 120 * SECOND)
    fleet.gpu("gpu-2", NOON + 30 * SECOND, lifecycle="on-demand")
    fleet.read(NOON + 130 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 220.0, "g5.xlarge,on-demand": 30.0}
    fleet.gpu("gpu-1", NOON + 241 * SECOND)  # longer than the silence of a running worker
    fleet.read(NOON + 250 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 220.0, "g5.xlarge,on-demand": 30.0}


def test_an_idle_gpu_worker_costs_as_much_as_an_active_one_and_a_cpu_worker_nothing(fleet: Fleet) -> None:
    for at in (NOON, NOON + 60 * SECOND):
        fleet.gpu("gpu-1", at, state="idle")
        fleet.beat("cpu-1", at, **SPOT)
        fleet.read(at)
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}


def test_gpu_time_goes_on_after_a_restart(fleet: Fleet) -> None:
    fleet.gpu("gpu-1", NOON)
    fleet.read(NOON)
    fleet.gpu("gpu-1", NOON + 60 * SECOND)
    fleet.read(NOON + 60 * SECOND)
    fleet.restart()
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}
    fleet.gpu("gpu-1", NOON + 100 * SECOND)
    fleet.read(NOON + 100 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 100.0}


def test_gpu_time_that_was_counted_stays_while_redis_is_down(fleet: Fleet) -> None:
    for at in (NOON, NOON + 60 * SECOND):
        fleet.gpu("gpu-1", at)
        fleet.read(at)
    up, fleet.url = fleet.url, NOWHERE
    with pytest.raises(SourceUnavailable, match="redis: refused"):
        fleet.read(NOON + 70 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}
    fleet.url = up
    fleet.gpu("gpu-1", NOON + 120 * SECOND)
    fleet.read(NOON + 120 * SECOND)
    assert fleet.seconds() == {"g5.xlarge,spot": 120.0}


def test_time_that_cannot_be_remembered_is_not_counted_and_none_is_lost(fleet: Fleet, tmp_path: Path) -> None:
    fleet.gpu("gpu-1", NOON)
    fleet.read(NOON)
    fleet.gpu("gpu-1", NOON + 60 * SECOND)
    (tmp_path / ".gpu.new").mkdir()  # blocks every new state file
    with capture_logs() as logs:
        for _ in range(2):
            values = fleet.read(NOON + 60 * SECOND)
            assert values["hivesync_skipped_values{workers,state_unwritable}"] == 1
            assert values["hivesync_worker_healthy{gpu-1,gpu}"] == 1  # known values are shown
            assert fleet.seconds() == {"g5.xlarge,spot": 0.0}
        (tmp_path / ".gpu.new").rmdir()
        fleet.gpu("gpu-1", NOON + 110 * SECOND)
        assert fleet.read(NOON + 110 * SECOND)["hivesync_skipped_values{workers,state_unwritable}"] == 0
    assert fleet.seconds() == {"g5.xlarge,spot": 110.0}
    assert [log["event"] for log in logs] == ["system.analytics.degraded", "system.analytics.recovered"]
    assert str(tmp_path / "gpu") in logs[0]["detail"]


def test_nothing_is_written_while_nothing_changes(fleet: Fleet, tmp_path: Path) -> None:
    fleet.gpu("gpu-1")
    fleet.read()
    before = (tmp_path / "gpu").stat()
    fleet.read(NOON + SECOND)
    after = (tmp_path / "gpu").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    "content",
    ['{"total": 3}', '{"total": [], "month": "2026-03", "in_month": []}', '{"total": [["a"]]}', "[]", "half of it"],
)
def test_a_state_that_makes_no_sense_costs_the_counts_and_is_said(content: str, fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "gpu").write_text(content)
    with capture_logs() as logs:
        fleet.restart()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "state.corrupt")]
    for at in (NOON, NOON + 60 * SECOND):
        fleet.gpu("gpu-1", at)
        fleet.read(at)
    assert fleet.seconds() == {"g5.xlarge,spot": 60.0}


def test_without_prices_there_are_no_dollars(fleet: Fleet) -> None:
    fleet.gpu("gpu-1")
    assert not [name for name in fleet.read() if "dollars" in name]


def test_gpu_cost_is_this_months_hours_at_the_prices_of_type_and_lifecycle(fleet: Fleet) -> None:
    fleet.prices = PRICES
    fleet.restart()
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for age in (0, 100):
        at = start + age * SECOND
        fleet.gpu("spot", at)
        fleet.gpu("on-demand", at, lifecycle="on-demand")
        fleet.gpu("priceless", at, instance_type="p5.48xlarge")
        fleet.read(at)
    middle = start + timedelta(days=15.5)  # half of March
    values = fleet.read(middle)
    assert only(values, "hivesync_ai_cost_month_to_date_dollars") == {"gpu": pytest.approx(0.01 + 0.1)}
    assert only(values, "hivesync_ai_cost_month_projected_dollars") == {"gpu": pytest.approx(0.22)}


def test_gpu_cost_begins_anew_with_the_month_and_the_counter_does_not(fleet: Fleet) -> None:
    fleet.prices = PRICES
    fleet.restart()
    april = datetime(2026, 4, 1, tzinfo=UTC)
    costs = []
    for seconds in (-60, -20, 80):
        fleet.gpu("gpu-1", april + seconds * SECOND)
        values = fleet.read(april + seconds * SECOND)
        costs.append(values["hivesync_ai_cost_month_to_date_dollars{gpu}"])
    assert costs == pytest.approx([0.0, 40 * 0.0001, 80 * 0.0001])
    assert fleet.seconds() == {"g5.xlarge,spot": 140.0}


def test_a_month_that_has_just_begun_has_no_projection(fleet: Fleet) -> None:
    fleet.prices = PRICES
    fleet.restart()
    values = fleet.read(datetime(2026, 4, 1, tzinfo=UTC))
    assert only(values, "hivesync_ai_cost_month_to_date_dollars") == {"gpu": 0.0}
    assert only(values, "hivesync_ai_cost_month_projected_dollars") == {}
