"""The windows against the definitions, under a random stream of inserts, late commits, updates and deletes.

The definitions are plain SQL over whole tables (`exporter/definitions.py`); the collectors follow the stream and read
only new rows. The test fixes the clock, so that edges of windows are hit exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from exporter.collector import Collector
from exporter.collectors.activity import Activity, Before
from exporter.collectors.ai import Ai
from exporter.collectors.cost import TokenCost
from exporter.collectors.growth import Growth
from exporter.collectors.latency import Latency
from exporter.collectors.previews import Previews
from exporter.collectors.users import Plans, Users
from exporter.definitions import Terms
from exporter.prices import Prices
from exporter.verify import Comparison, compare, render
from servers.valkey import ValkeyServer
from tests.rows import NOON, insert, sources, users

PRICES = Prices.model_validate({"models": {"gpt-4.1": {"prompt": 2, "completion": 8}}})
LATE = timedelta(minutes=5)
TABLES = ("ai_usage_events", "preview_jobs", "sessions")

# Times on the edges of minutes and windows are as frequent as all others.
steps = st.one_of(
    st.sampled_from([timedelta(seconds=15), timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1)]),
    st.timedeltas(timedelta(microseconds=1), timedelta(minutes=7)),
    st.timedeltas(timedelta(hours=1), timedelta(hours=30)),
)
ages = st.one_of(
    st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(minutes=5) - timedelta(microseconds=1)]),
    st.timedeltas(timedelta(0), timedelta(minutes=5) - timedelta(microseconds=1)),
)
ends = st.one_of(
    st.none(),
    st.sampled_from([timedelta(0), timedelta(minutes=15), timedelta(hours=1), timedelta(days=-30)]),
    st.timedeltas(timedelta(hours=-2), timedelta(hours=2)),
    st.timedeltas(timedelta(days=-30, hours=-1), timedelta(days=-30, hours=1)),
)


DAY = timedelta(days=1)

# The starts and ends of the windows of days, to which the steps above come back.
past = st.one_of(
    st.timedeltas(timedelta(0), 62 * DAY),
    st.builds(
        lambda edge, step: edge + step,
        st.sampled_from([DAY, 2 * DAY, 7 * DAY, 30 * DAY, 60 * DAY]),
        st.one_of(
            st.sampled_from([timedelta(0), timedelta(microseconds=1)]),
            st.timedeltas(timedelta(minutes=-20), timedelta(minutes=20)),
        ),
    ),
)

BEFORE = """
SELECT count(DISTINCT user_id) FILTER (WHERE created_at > %(now)s - interval '48 hours'
                                         AND created_at <= %(now)s - interval '24 hours'),
       count(DISTINCT user_id) FILTER (WHERE created_at > %(now)s - interval '1440 hours'
                                         AND created_at <= %(now)s - interval '720 hours')
FROM (SELECT user_id, created_at FROM sessions UNION ALL SELECT user_id, created_at FROM ai_usage_events
      UNION ALL SELECT user_id, created_at FROM preview_jobs) AS activity
"""


def collectors() -> list[Collector]:
    plans = Plans()
    return [Users(plans), Activity(plans), Growth(plans), Ai(), Previews(), Latency(), TokenCost(PRICES)]


class Stream(RuleBasedStateMachine):
    """HiveSync's changes to its tables; after every step the windows must equal the definitions."""

    jobs = Bundle("jobs")
    database: str
    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.connection = psycopg.connect(self.database, autocommit=True)
        self.connection.execute("TRUNCATE users, subscriptions, projects, sessions, ai_usage_events, preview_jobs")
        self.users = users(self.connection, 4)
        self.loop = asyncio.Runner()
        self.collectors = collectors()
        self.now = NOON
        self.refreshed_at = NOON
        self.unseen_deletion = False
        self.created = 0
        self.context = sources(self.database, self.redis_url, self.now)
        self.sources = self.loop.run(self.context.__aenter__())

    def teardown(self) -> None:
        self.loop.run(self.context.__aexit__(None, None, None))
        self.loop.close()
        self.connection.close()

    @initialize(target=jobs, back=st.lists(past, max_size=12))
    def history(self, back: Sequence[timedelta]) -> Any:
        """Rows from before the exporter was started."""
        rows = [self._job(TABLES[index % 3], index % 4, self.now - age) for index, age in enumerate(back)]
        self._refresh()
        return multiple(*rows)

    @rule(target=jobs, table=st.sampled_from(TABLES), owner=st.integers(0, 4), age=ages)
    def row_is_committed_late(self, table: str, owner: int, age: timedelta) -> Any:
        return self._job(table, owner, self.now - age)

    @rule(step=steps)
    def time_passes(self, step: timedelta) -> None:
        self.now += step
        self._refresh()

    @rule(
        job=jobs,
        status=st.sampled_from(["succeeded", "failed", "cancelled"]),
        kind=st.sampled_from(["provider_error", "timeout", "safety_rejection", "surprise", None]),
        model=st.sampled_from(["gpt-4.1", "unpriced", None]),
        tokens=st.sampled_from([0, 7, 100_000, -3, None]),
        age=ages,
    )
    def job_ends(
        self, job: tuple[str, str], status: str, kind: str | None, model: str | None, tokens: int | None, age: timedelta
    ) -> None:
        table, identity = job
        if table == "sessions":
            return
        columns: dict[str, object] = {"status": status, "error_kind": kind, "completed_at": self.now - age}
        if table == "ai_usage_events":
            columns |= {"model": model, "prompt_tokens": tokens, "completion_tokens": tokens}
        (ended,) = self._one(f"SELECT completed_at FROM {table} WHERE id = %s", identity) or (None,)
        if ended is not None:
            return  # a job ends once
        assignments = ", ".join(f"{column} = %s" for column in columns)
        self.connection.execute(
            f"UPDATE {table} SET {assignments} WHERE id = %s".encode(), [*columns.values(), identity]
        )

    @rule(job=jobs)
    def row_is_deleted(self, job: tuple[str, str]) -> None:
        table, identity = job
        self.connection.execute(f"DELETE FROM {table} WHERE id = %s".encode(), [identity])
        self.unseen_deletion = True

    @rule(age=past)
    def user_is_created(self, age: timedelta) -> None:
        self.created += 1
        insert(self.connection, "users", email=f"new-{self.created}", created_at=self.now - age)

    @rule()
    def newest_user_is_deleted(self) -> None:
        newest = "SELECT id FROM users WHERE username IS NULL ORDER BY created_at DESC LIMIT 1"
        self.connection.execute(f"DELETE FROM users WHERE id = ({newest})".encode())

    @rule(
        owner=st.integers(0, 3),
        plan=st.sampled_from(["free", "trial", "pro"]),
        status=st.sampled_from(["active", "past_due", "canceled", "expired"]),
        trial_ends=ends,
        ends=ends,
    )
    def plan_changes(
        self, owner: int, plan: str, status: str, trial_ends: timedelta | None, ends: timedelta | None
    ) -> None:
        insert(
            self.connection,
            "subscriptions",
            user_id=self.users[owner],
            plan=plan,
            status=status,
            trial_ends_at=None if trial_ends is None else self.now + trial_ends,
            ended_at=None if ends is None else self.now + ends,
        )

    @rule()
    def resync_is_due(self) -> None:
        self.now += timedelta(hours=1)
        self._refresh()  # notices the gap of an hour
        self.unseen_deletion = False
        self._refresh()  # re-reads everything

    @rule(step=st.timedeltas(timedelta(minutes=1), timedelta(hours=3)))
    def clock_goes_back(self, step: timedelta) -> None:
        self.now -= step
        self.unseen_deletion = False
        self._refresh()

    @invariant()
    def a_second_look_finds_the_same(self) -> None:
        if self.now == self.refreshed_at:
            self._refresh()

    def _refresh(self) -> None:
        self.sources.postgres.fixed_now = self.now
        compared = self.loop.run(compare(lambda: nullcontext(self.collectors), self.sources, Terms(PRICES)))
        self.refreshed_at = self.now
        assert len(compared) > 20
        if not self.unseen_deletion:
            wrong = [comparison for comparison in compared if not comparison.same]
            assert not wrong, render(wrong)
            (before,) = (each.content for each in self.collectors if isinstance(each, Activity))
            assert before == Before(*self._one(BEFORE, now=self.now))

    def _job(self, table: str, owner: int, created_at: Any) -> tuple[str, str]:
        user_id = self.users[owner] if owner < len(self.users) else None
        return table, insert(self.connection, table, user_id=user_id, created_at=created_at)

    def _one(self, query: str, *values: object, **named: object) -> Any:
        return self.connection.execute(query.encode(), named or values).fetchone()


def test_windows_equal_the_definitions_whatever_happens_to_the_tables(
    database: str, valkey_server: ValkeyServer
) -> None:
    machine = type("OnThisDatabase", (Stream,), {"database": database, "redis_url": valkey_server.url})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=25))


def test_the_definitions_find_a_window_that_is_wrong(database: str, connection: psycopg.Connection) -> None:
    (somebody,) = users(connection, 1)
    for minutes in (10, 20, 30):
        insert(connection, "ai_usage_events", user_id=somebody, created_at=NOON - timedelta(minutes=minutes))
    asked: list[Collector] = [Ai()]

    async def twice() -> list[Comparison]:
        async with sources(database, now=NOON) as opened:
            before = await compare(lambda: nullcontext(asked), opened, Terms())
            assert all(comparison.same for comparison in before)
            opened.postgres.fixed_now = NOON + timedelta(seconds=15)
            connection.execute("DELETE FROM ai_usage_events")  # too old to be noticed before the resync
            return await compare(lambda: nullcontext(asked), opened, Terms())

    wrong = {comparison.metric: comparison.difference for comparison in asyncio.run(twice()) if not comparison.same}
    assert wrong['hivesync_ai_requests_in_window{window="24h"}'] == 3


def test_what_a_collector_read_before_the_comparison_is_not_taken_for_the_future(
    database: str, connection: psycopg.Connection
) -> None:
    """A time in the future would be a reason to refill the windows, and hide their errors from `verify`."""
    asked = Ai()
    created_at = datetime.now(UTC) - timedelta(minutes=10)
    insert(connection, "ai_usage_events", user_id=users(connection, 1)[0], created_at=created_at)

    async def deleted_then_compared() -> list[Comparison]:
        async with sources(database) as opened:
            await asked.refresh(opened)
            connection.execute("DELETE FROM ai_usage_events")

            @asynccontextmanager
            async def once_it_has_refreshed() -> AsyncIterator[list[Collector]]:
                await asked.refresh(opened)
                yield [asked]

            return await compare(once_it_has_refreshed, opened, Terms())

    assert not all(comparison.same for comparison in asyncio.run(deleted_then_compared()))
