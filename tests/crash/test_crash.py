"""A choice of the points against the whole exporter, and of the kills of the roll-up; `make crash` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.calls import EIO, KILL, Call, unknown
from crash.days import RollupDatabase
from crash.points import Point, observe, points, strike
from crash.trace import no_strace

CHOICE = (
    Point(Call("new counts", "fsync"), EIO, 1, ("state/.ai-events.new",)),
    Point(Call("new counts", "rename"), KILL, 1, ("state/.ai-events.new",)),
    Point(Call("lock", "newfstatat"), EIO, 2, ("state/lock",)),
)
"""Errors of a save and of a look at the lock, and a kill between a count and its save."""


@pytest.mark.strace
@pytest.mark.parametrize("point", CHOICE, ids=lambda point: f"{point.call.name}-{point.fault}")
def test_a_fault_of_a_system_call_costs_no_line(tmp_path: Path, point: Point) -> None:
    assert no_strace() == ""
    struck = strike(point, tmp_path)
    assert struck.wrong == ()
    assert struck.faults > 0


@pytest.mark.strace
def test_the_calls_of_an_ordinary_run_are_all_known(tmp_path: Path) -> None:
    calls, wrong = observe(tmp_path)
    assert wrong == []
    assert unknown(calls) == []
    assert {point.call for point in CHOICE} <= calls.keys()
    assert len(points(calls, errors=1, kills=1)) > 80


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollupDatabase]:
    with RollupDatabase(tmp_path_factory.mktemp("rollup")) as database:
        yield database


def test_a_roll_up_killed_while_it_writes_leaves_whole_days(database: RollupDatabase) -> None:
    statements = database.statements()
    written = [number for number, text in enumerate(statements, 1) if text.startswith("INSERT INTO usage_analytics")]
    assert len(written) > 3
    for number in (written[0], written[1] + 1):  # in the first day's transaction, and at the second one's COMMIT
        assert database.kill(statements[number - 1], number).wrong == ()


def test_half_a_day_is_found(database: RollupDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed at the first statement, and a table that something else has changed meanwhile."""
    table = database.table()
    day = max(table)
    spoilt = {**table, day: type(table[day])(day, -1, -1, -1, -1, None)}
    monkeypatch.setattr(database, "table", lambda: spoilt)
    wrong = database.kill("SELECT", 1).wrong
    assert f"half a day: {day}" in wrong
    assert f"{day} differs after the following run" in wrong
