"""Bounds grow with the machine's load, and stay bounds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from servers import bound
from tests.waiting import bounded, patience, until, until_async


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "slowness", lambda: 1.0)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has become ten times slower since the wait began."""
    monkeypatch.setattr(bound, "slowness", lambda: 10.0)


def test_until_gives_the_first_true_value() -> None:
    values: Iterator[object] = iter([0, None, [], "found", "too late"])
    assert until(lambda: next(values), "something", poll=0) == "found"


@pytest.mark.usefixtures("quiet")
def test_a_condition_that_never_holds_is_named_with_its_last_value() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: three users; last \[\]"):
        until(list, "three users", within=0.01, poll=0)
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: three users; last \[\]"):
        asyncio.run(until_async(list, "three users", within=0.01, poll=0))


@pytest.mark.usefixtures("busy")
def test_on_a_busy_machine_a_condition_may_hold_later() -> None:
    holds_at = time.monotonic() + 0.3
    assert until(lambda: time.monotonic() > holds_at, within=0.1)

    async def waited() -> None:
        async with bounded(0.1):
            await until_async(lambda: time.monotonic() > holds_at + 0.3, within=0.1)
            await asyncio.sleep(0.1)

    asyncio.run(waited())


@pytest.mark.usefixtures("quiet")
def test_what_is_bounded_ends_at_the_bound() -> None:
    async def waited() -> None:
        async with bounded(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(waited())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("getloadavg", lambda: (7.0 * (os.cpu_count() or 1), 0.0, 0.0)),
        ("_running", lambda: 7 * (os.cpu_count() or 1)),
        ("_loop_seconds", lambda: 7 * bound.LOOP_SECONDS),
    ],
)
def test_slowness_is_the_load_by_whichever_measure_sees_it(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for measure, quiet in (("_running", 0), ("_loop_seconds", 0.0)):
        monkeypatch.setattr(bound, measure, lambda quiet=quiet: quiet)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    bound._measured.cache_clear()
    assert patience(3) == 3
    monkeypatch.setattr(os if name == "getloadavg" else bound, name, value)
    bound._measured.cache_clear()
    assert patience(3) == pytest.approx(21)
    bound._measured.cache_clear()
