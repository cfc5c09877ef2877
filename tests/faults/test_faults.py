"""A choice of the faults against real processes, which one scene shares; `make faults` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.catalogue import CATALOGUE
from faults.run import choose_pairs, strike
from faults.scene import Scene

QUICK = [each for each in CATALOGUE.values() if each.quick]
SEED = 7


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("faults"), seed=SEED, quick=True) as scene:
        yield scene


@pytest.mark.parametrize("name", [each.name for each in QUICK])
def test_the_fault_is_shown_ends_and_leaves_nothing_wrong(scene: Scene, name: str) -> None:
    row = strike(scene, CATALOGUE[name])
    assert row.wrong == ()
    assert row.verdict == "held"
    assert row.answered > 0


def test_two_faults_at_once_are_shown_end_and_leave_nothing_wrong(scene: Scene) -> None:
    ((one, other),) = choose_pairs(QUICK, scene, 1)
    row = strike(scene, one, other)
    assert row.wrong == ()
    assert row.answered > 0
