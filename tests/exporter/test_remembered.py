"""Limits on what is kept of keys that others write (docs/definitions.md#limits-of-workers-and-lists)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import remembered
from exporter.remembered import ID_LENGTH, Distinct, Remembered, cut_id

LIMIT = 5

keys = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), max_size=60)


@pytest.fixture(autouse=True, scope="module")
def small_limit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "LIMIT", LIMIT)
        yield


def rank(key: int) -> int:
    return key % 3


@given(keys)
def test_the_first_by_rank_and_key_are_kept_in_any_order_of_arrival(arriving: Sequence[tuple[int, int]]) -> None:
    values = dict(arriving)
    for _ in range(2):
        kept, dropped = Remembered[int, int](), Distinct()
        for key, value in values.items():
            left = kept.put(key, value, rank(key))
            if left is not None:
                dropped.add(*left)
        order = sorted(values, key=lambda key: (rank(key), key))
        assert kept.items() == [(key, values[key]) for key in order[:LIMIT]]
        assert dropped.summed_up() == (len(order[LIMIT:]), sum(values[key] for key in order[LIMIT:]))
        values = dict(reversed(values.items()))


@given(keys, st.sets(st.integers(0, 30)))
def test_a_key_counts_once_however_often_it_is_added(added: Sequence[tuple[int, int]], but: set[int]) -> None:
    values = dict(added)
    distinct = Distinct()
    for key, _ in added:
        distinct.add(f"key {key}", values[key])
    expected = {key: value for key, value in values.items() if key not in but}
    assert distinct.summed_up(but=(f"key {key}" for key in but)) == (len(expected), sum(expected.values()))


def test_a_known_key_keeps_its_place_and_takes_the_new_value() -> None:
    kept = Remembered[str, int]()
    for key in "abcde":
        assert kept.put(key, 1) is None
    assert kept.put("c", 2) is None
    assert kept.put("f", 3) == ("f", 3)
    assert kept.put("A", 4) == ("e", 1)
    assert kept.items() == [("A", 4), ("a", 1), ("b", 1), ("c", 2), ("d", 1)]
    assert kept.get("e") is None


@pytest.mark.parametrize("length", [0, 1, ID_LENGTH, ID_LENGTH + 1, 10 * ID_LENGTH])
def test_a_cut_id_is_short_and_differs_as_the_whole_does(length: int) -> None:
    one, other = "\ud800" * length + "a", "\ud800" * length + "b"
    assert len(cut_id(one)) <= ID_LENGTH
    assert cut_id(one) != cut_id(other)
    assert cut_id(one[:ID_LENGTH]) == one[:ID_LENGTH]
