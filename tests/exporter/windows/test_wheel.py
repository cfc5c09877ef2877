"""The turns of the parts of the past."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.windows import DAY, HOUR, MINUTE
from exporter.windows.wheel import Wheel
from tests.exporter.windows.arrays import NOON


@given(
    wheel=st.sampled_from([Wheel(HOUR, 25, HOUR), Wheel(HOUR, 721, DAY), Wheel(10 * MINUTE, 7, HOUR)]),
    start=st.integers(NOON, NOON + DAY),
    steps=st.lists(st.integers(1, 20 * MINUTE), max_size=50),
)
def test_every_part_that_is_over_is_read_again_once_in_a_period(wheel: Wheel, start: int, steps: list[int]) -> None:
    now, end, read = start, start + wheel.period, list[tuple[int, int]]()
    for step in [*steps, wheel.period]:
        later = min(now + step, end)
        due = wheel.due(now, later)
        assert all(until <= later and until - since == wheel.length for since, until in due)
        read += due
        now = later
    newest = start // wheel.length
    for number in range(newest - wheel.parts + wheel.period // wheel.length + 1, newest):
        assert (number * wheel.length, (number + 1) * wheel.length) in read
    assert len(read) <= wheel.parts + 1


def test_turns_are_spread_evenly_and_a_long_gap_is_no_more_than_one_of_each() -> None:
    wheel = Wheel(HOUR, 24, HOUR)
    seen = [len(wheel.due(NOON + step * MINUTE // 4, NOON + (step + 1) * MINUTE // 4)) for step in range(240)]
    assert (sum(seen), max(seen)) == (24, 1)
    assert len(wheel.due(NOON - 30 * DAY, NOON)) == 24
    assert wheel.due(NOON, NOON) == []
    assert wheel.due(NOON, NOON - HOUR) == []
