"""The bits of users' days, against sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollup.masks import BITS, DayMasks

FIRST = 20_000

changes = st.lists(
    st.tuples(st.sampled_from(["add", "replace"]), st.integers(0, 62), st.sets(st.integers(-3, 9), max_size=6)),
    max_size=12,
)


@given(changes, st.integers(0, BITS), st.integers(0, 62), st.integers(0, 62))
def test_masks_hold_the_users_of_each_day(
    made: list[tuple[str, int, set[int]]], forgotten: int, first: int, last: int
) -> None:
    masks, days = DayMasks(), {day: set[int]() for day in range(63)}
    masks.forget(FIRST)
    for change, day, users in made:
        getattr(masks, change)(FIRST + day, np.array(sorted(users), dtype=np.int64))
        days[day] = users if change == "replace" else days[day] | users
    masks.forget(FIRST + forgotten)
    kept = {day: users for day, users in days.items() if day >= forgotten}
    expected = set[int]().union(*(users for day, users in kept.items() if first <= day <= last))
    assert masks.count(FIRST + first, FIRST + last) == len(expected)


def test_a_forgotten_day_leaves_its_bit_to_a_day_to_come() -> None:
    masks = DayMasks()
    masks.forget(FIRST)
    masks.add(FIRST, np.array([1, 2], dtype=np.int64))
    masks.forget(FIRST + 1)
    masks.add(FIRST + BITS, np.array([2], dtype=np.int64))
    assert masks.count(FIRST + BITS, FIRST + BITS) == 1
