"""A window that ended some time ago, without a database."""

from __future__ import annotations

import pytest

from exporter.windows import Part
from exporter.windows.earlier import EarlierActivity
from exporter.windows.latest import LatestActivity
from tests.exporter.windows.arrays import rows

NOW = 1_000
"""With a length of 100 and a delay of 200, the window is (700, 800]."""


@pytest.fixture
def earlier() -> EarlierActivity:
    """Users 1, 2 and 3, active at 701, 750 and 800."""
    window, latest = EarlierActivity(100, 200), LatestActivity()
    latest.merge(rows((1, 701), (2, 750), (3, 800)))
    window.fill(latest, NOW)
    return window


def test_the_window_ends_its_delay_before_now(earlier: EarlierActivity) -> None:
    assert earlier.window(NOW) == Part(700, 800)
    assert earlier.count() == 3


def test_users_enter_and_leave_by_the_passing_of_time(earlier: EarlierActivity) -> None:
    assert earlier.entering(NOW + 10) == Part(800, 810)
    assert earlier.move(rows((4, 805)), [], NOW + 10) == (0, 0)
    assert earlier.count() == 3  # without user 1, whose time is 710 or less
    assert earlier.entering(NOW + 15) == Part(810, 815)


@pytest.mark.parametrize(
    ("part", "read"),
    [
        (Part(720, 780), Part(720, 780)),
        (Part(650, 750), Part(650, 750)),
        (Part(780, 900), Part(780, 800)),
        (Part(650, 900), Part(650, 800)),
        (Part(600, 700), None),
        (Part(800, 900), None),
        (Part(850, 900), None),
    ],
)
def test_a_part_of_the_past_is_read_again_up_to_the_end_of_the_window(
    earlier: EarlierActivity, part: Part, read: Part | None
) -> None:
    assert earlier.within(part, NOW) == read


def test_a_part_that_is_read_again_corrects_its_users_and_tells_who_vanished(earlier: EarlierActivity) -> None:
    part = Part(740, 800)
    assert earlier.move(rows(), [(part, rows((2, 745), (5, 760)))], NOW) == (2, 1)
    assert earlier.count() == 4  # with user 5; user 3, who vanished, is counted until the window is filled again
