"""The interval between full reads of tables, by their rows alone."""

from __future__ import annotations

import pytest

from exporter.recount import LONGEST, READ_ALWAYS, ROWS_A_MINUTE, Recount, longest_pause
from exporter.windows import HOUR, MINUTE

NOW = 1_767_268_800_000_000
MANY = READ_ALWAYS + 1
SERVER = 1


def read(users: int, rows: int) -> Recount:
    """A recount with one read at NOW."""
    recount = Recount()
    assert recount.is_due(NOW, SERVER)
    recount.read(NOW, SERVER, users, rows)
    return recount


@pytest.mark.parametrize("rows", [0, READ_ALWAYS, 50 * READ_ALWAYS])
def test_up_to_a_hundred_thousand_users_it_is_read_at_every_look(rows: int) -> None:
    assert READ_ALWAYS == 100_000
    assert longest_pause(READ_ALWAYS) == 0
    assert read(READ_ALWAYS, rows).is_due(NOW, SERVER)
    assert read(READ_ALWAYS, rows).is_due(NOW + 1, SERVER)


@pytest.mark.parametrize("minutes", [3, 5, 8])
def test_beyond_that_the_pause_is_in_proportion_to_the_rows(minutes: int) -> None:
    recount = read(MANY, minutes * ROWS_A_MINUTE)
    assert not recount.is_due(NOW, SERVER)
    assert not recount.is_due(NOW + minutes * MINUTE - 1, SERVER)
    assert recount.is_due(NOW + minutes * MINUTE, SERVER)


@pytest.mark.parametrize("rows", [8 * ROWS_A_MINUTE, 10**9])
def test_a_change_shows_within_ten_minutes_however_many_rows_there_are(rows: int) -> None:
    """A check per minute, each possibly a moment before the pause ends, and a quarter of a minute to read."""
    assert longest_pause(MANY) == LONGEST
    assert LONGEST + MINUTE + MINUTE // 4 <= 10 * MINUTE
    recount = read(MANY, rows)
    assert not recount.is_due(NOW + LONGEST - 1, SERVER)
    assert recount.is_due(NOW + LONGEST, SERVER)


def test_the_pause_follows_the_last_reading() -> None:
    recount = read(MANY, 3 * ROWS_A_MINUTE)
    recount.read(NOW + HOUR, SERVER, READ_ALWAYS, 3 * ROWS_A_MINUTE)
    assert recount.is_due(NOW + HOUR + 1, SERVER)
    recount.read(NOW + HOUR, SERVER, MANY, 4 * ROWS_A_MINUTE)
    assert not recount.is_due(NOW + HOUR + 3 * MINUTE, SERVER)
    assert recount.is_due(NOW + HOUR + 4 * MINUTE, SERVER)


def test_a_clock_that_went_back_and_a_forgotten_reading_are_reasons_to_read() -> None:
    assert read(MANY, 10**9).is_due(NOW - 1, SERVER)
    recount = read(MANY, 10**9)
    recount.forget()
    assert recount.is_due(NOW + 1, SERVER)


def test_on_another_server_everything_is_read_again_at_once() -> None:
    recount = read(MANY, 10**9)
    assert not recount.is_due(NOW + 1, SERVER)
    assert recount.is_due(NOW + 1, SERVER + 1)
