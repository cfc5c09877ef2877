"""Results of `verify` for a served value, a fresh one, and the definition."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext

import psycopg
import pytest

from exporter.collector import Collector, Sources
from exporter.collectors.users import PROJECTS, USERS, Plans, Users
from exporter.definitions import Terms
from exporter.errors import MadeWay
from exporter.spec import Sample
from exporter.verify import NOT_PROVED, Comparison, compare, render
from exporter.view import Served
from exporter.vocabulary import PLAN_CLASSES
from tests.rows import insert, sources, users

PROMISED = 75.0
PAID = 'hivesync_users{plan="paid"}'


def shown(paid: float = 2, projects: float = 1) -> tuple[Sample, ...]:
    """The samples of a collector `users` with these numbers."""
    return (
        *(USERS.sample(paid if plan == "paid" else 0, plan=plan) for plan in PLAN_CLASSES),
        PROJECTS.sample(projects),
    )


@pytest.fixture
def compared(database: str, connection: psycopg.Connection) -> Comparing:
    """Two paying users and a project, compared with given served values: five samples of the collector's metrics."""
    for somebody in users(connection, 2):
        insert(connection, "subscriptions", user_id=somebody, plan="pro")
    insert(connection, "projects", name="one")
    return Comparing(database)


class Comparing:
    def __init__(self, database: str) -> None:
        self._database = database

    def __call__(
        self, samples: Sequence[Sample], age: float, promised_age: float = PROMISED, *, fails: bool = False
    ) -> list[Comparison]:
        return self.with_served([Served("users", fails, tuple(samples), age, promised_age)])

    def with_served(self, served: Sequence[Served]) -> list[Comparison]:
        async def ask() -> list[Comparison]:
            asked: list[Collector] = [Users(Plans())]
            async with sources(self._database) as opened:
                found = await compare(lambda: nullcontext(asked), opened, Terms(), served)
            return [each for each in found if each.metric.partition("{")[0] in (USERS.name, PROJECTS.name)]

        return asyncio.run(ask())


def line(comparisons: Sequence[Comparison], metric: str) -> str:
    return next(line for line in render(comparisons).splitlines() if line.startswith(f"{metric} "))


def test_what_is_served_as_it_is_has_no_difference_however_old(compared: Comparing) -> None:
    found = compared(shown(), 10 * PROMISED)
    assert [comparison.nil for comparison in found] == [True] * 5
    assert line(found, PAID).split() == [PAID, "2", "750", "s", "2", "2", "0"]
    assert render(found).endswith(f"\n\n5 samples, difference: nil\n{NOT_PROVED}")


def test_a_served_value_older_than_promised_is_a_difference(compared: Comparing) -> None:
    found = compared(shown(paid=1), PROMISED + 1)
    assert [comparison.metric for comparison in found if not comparison.nil] == [PAID]
    assert line(found, PAID).split()[1:7] == ["1", "76", "s", "2", "2", "-1"]
    assert line(found, PAID).endswith("<-- served is older than 75 s")
    assert "1 of 5 samples differ; 1 not served in time\n" in render(found)


def test_a_served_value_within_its_promised_age_may_differ(compared: Comparing) -> None:
    found = compared(shown(paid=1), PROMISED)
    assert all(comparison.nil for comparison in found)
    assert line(found, PAID).endswith(" -1  within its age")
    assert "5 samples, difference: nil; 1 served differ within their age\n" in render(found)


@pytest.mark.parametrize("samples", [(), shown()[:-1]], ids=["nothing", "one too few"])
def test_what_should_be_served_and_is_not_is_a_difference(samples: Sequence[Sample], compared: Comparing) -> None:
    late = compared(samples, PROMISED + 1)
    assert {comparison.metric for comparison in late if not comparison.nil} == {
        comparison.metric for comparison in late if comparison.served is None
    }
    assert line(late, "hivesync_projects").split()[1:] == ["-", "76", "s", "1", "1", "missing", "<--", "not", "served"]
    assert all(comparison.nil for comparison in compared(samples, PROMISED))


def test_a_collector_that_fails_has_no_time_left(compared: Comparing) -> None:
    found = compared((), 0.1, fails=True)
    assert not any(comparison.nil for comparison in found)
    assert "5 of 5 samples differ; 5 not served in time\n" in render(found)


def test_what_is_served_and_is_not_there_any_more_is_a_difference(compared: Comparing) -> None:
    gone = Sample(USERS, ("gold",), 3)
    found = compared((*shown(), gone), PROMISED + 1)
    assert [comparison.metric for comparison in found if not comparison.nil] == ['hivesync_users{plan="gold"}']
    assert line(found, 'hivesync_users{plan="gold"}').split()[1:7] == ["3", "76", "s", "-", "-", "missing"]


def test_without_an_exporter_there_is_no_served_column(compared: Comparing) -> None:
    found = compared.with_served([])
    assert all(comparison.nil for comparison in found)
    head, *_ = render(found).splitlines()
    assert head.split() == ["metric", "fresh", "from", "scratch", "difference"]
    assert line(found, PAID).split() == [PAID, "2", "2", "0"]


def test_a_window_that_is_wrong_is_a_difference_whatever_is_served() -> None:
    for served in (3.0, 4.0, 5.0, None):
        wrong = Comparison("m", 4.0, 3.0, served=served, age=1.0, promised_age=75.0)
        assert (wrong.nil, wrong.difference) == (False, 1.0)
        assert line([wrong], "m").endswith("<-- differs")
    assert "1 of 1 samples differ\n" in render([Comparison("m", 4.0, 3.0, served=4.0, age=1.0, promised_age=75.0)])


def test_what_could_not_be_read_is_no_nil() -> None:
    unread = Comparison("collector online", error="redis: refused")
    assert not unread.nil
    assert "nothing was compared; 1 collectors could not be read\n" in render([unread])


def test_a_part_that_made_way_for_a_migration_is_compared_again(database: str, connection: psycopg.Connection) -> None:
    """The lock of each part ends with it: a migration waits for no more than the part at work."""
    asked = [_Waiting("first", times=0), _Waiting("second", times=1)]

    async def verify() -> list[Comparison]:
        async with sources(database) as opened:
            for each in asked:
                each.connection = connection
            return await compare(lambda: nullcontext(list(asked)), opened, Terms())

    found = asyncio.run(verify())
    assert [comparison.error for comparison in found] == [None] * len(found)
    assert [each.refreshes for each in asked] == [1, 2]
    assert not any(each.met_locks for each in asked), "the locks of an earlier part were still held"


class _Waiting(Users):
    """A collector whose first refreshes are given up for another client."""

    connection: psycopg.Connection

    def __init__(self, name: str, times: int) -> None:
        super().__init__(Plans())
        self.name = name
        self.refreshes = 0
        self.met_locks = False
        self._left = times

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        self.refreshes += 1
        rows = self.connection.execute("SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass").fetchall()
        self.met_locks |= rows != [(0,)]
        samples = await super().refresh(sources)
        if self._left:
            self._left -= 1
            raise MadeWay("postgres")
        return samples
