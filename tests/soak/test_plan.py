"""The plan and the paces of the load: the same for a seed, every fault before a repetition, nothing that ends it."""

from __future__ import annotations

from faults.catalogue import CATALOGUE
from soak.load import MADE_UP_SECONDS, Pace
from soak.plan import OWN, REPLACED, left_out, make_plan, obstacle

HOUR = 3600.0


def test_a_plan_has_one_fault_in_each_interval_but_the_last() -> None:
    plan = make_plan(CATALOGUE.values(), seconds=HOUR, every=60, seed=7)
    assert [int(stroke.at // 60) for stroke in plan] == list(range(59))
    assert all(stroke.at % 60 <= 30 and 1 <= stroke.hold <= 10 for stroke in plan)


def test_a_seed_decides_on_the_plan() -> None:
    plans = [make_plan(CATALOGUE.values(), seconds=HOUR, every=60, seed=seed) for seed in (7, 7, 8)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_every_fault_strikes_before_one_is_repeated() -> None:
    able = [name for name, fault in CATALOGUE.items() if not obstacle(fault)]
    plan = make_plan(CATALOGUE.values(), seconds=(2 * len(able) + 1) * 60, every=60, seed=7)
    names = [stroke.fault.name for stroke in plan]
    assert sorted(names[: len(able)]) == sorted(able)
    assert sorted(names[len(able) :]) == sorted(able)


def test_a_fault_is_left_out_only_if_the_exporter_would_be_another() -> None:
    reasons = left_out(CATALOGUE.values())
    assert "exporter-killed" in reasons[REPLACED]
    assert "few-descriptors" in reasons[OWN]
    for name in ("postgres-fail-over", "log-rotations", "redis-killed", "state-deleted", "exporter-signals"):
        assert obstacle(CATALOGUE[name]) == ""
    others = {fault.name for fault in CATALOGUE.values() if fault.obstacle()}
    assert {name for names in reasons.values() for name in names} - others == {
        fault.name for fault in CATALOGUE.values() if obstacle(fault) in {OWN, REPLACED}
    } - others


def test_without_a_fault_that_can_strike_the_plan_is_empty() -> None:
    assert make_plan([], seconds=0, every=60, seed=7) == []


def test_a_pace_makes_up_for_a_pause_of_some_seconds_alone() -> None:
    now = 0.0
    pace = Pace(100, lambda: now)
    now = 0.5
    assert pace.due() == 50
    pace.take(50)
    assert pace.due() == 0
    now = 100.0
    assert pace.due() == MADE_UP_SECONDS * 100
