"""Users by plan class, and projects (contract §2 "plan class"; spec §3.4).

    hivesync_users{plan="paid"} 120.0
    hivesync_users{plan="trial_expired"} 31.0
    hivesync_projects 870.0

`users`, `subscriptions` and `projects` do not say which of their rows are new, so they are read whole: at every refresh
up to 100,000 users, beyond after a pause in proportion to the rows (`recount.py`).

`Plans` is also what splits active users by plan (`activity.py`): it holds who is not simply free, with the times at
which that changes, so that a trial ends on the instant, between two readings too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from exporter.collector import SKIPPED, Sources, skipped
from exporter.columns import USER, WORD
from exporter.definitions import PLAN_CLASS
from exporter.labels import clean, folded
from exporter.recount import READ_ALWAYS, Recount, longest_pause
from exporter.sources.postgres import Transaction
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import FREE_PLANS, PAID_PLANS, PLAN_CLASSES, TRIAL
from exporter.windows import MINUTE, SECOND, Integers, contained
from exporter.windows.sql import MICROSECONDS

_PAID, _TRIAL, _TRIAL_EXPIRED, _FREE = range(len(PLAN_CLASSES))

MAX_NAMED_PLANS = 100

FRESHNESS = (
    f"Up to {READ_ALWAYS:,} users a change shows within five refresh periods (75 s by default),"
    " beyond within ten minutes."
)

USERS = MetricSpec(
    "hivesync_users",
    "gauge",
    f"Users by plan class, now. {FRESHNESS}",
    "PostgreSQL (users, subscriptions)",
    (Label("plan", PLAN_CLASSES),),
    Definition(f"""
SELECT plan, (SELECT count(*) FROM users WHERE {PLAN_CLASS} = plan)
FROM (VALUES ('paid'), ('trial'), ('trial_expired'), ('free')) AS classes(plan)
"""),
)
PROJECTS = MetricSpec(
    "hivesync_projects",
    "gauge",
    f"Projects, now. {FRESHNESS}",
    "PostgreSQL (projects)",
    definition=Definition("SELECT count(*) FROM projects"),
)

# A time that is not set is never, as infinity is. (A trial without an end says nothing, and is not read.)
_TIME = MICROSECONDS.format("least(greatest(coalesce(subscriptions.{0}, 'infinity'), 'epoch'), '9999-12-31')")

_PLAN = f"coalesce({WORD.format('subscriptions.plan')}, '')"

_PAID_OR_TRIAL = f"""
CASE WHEN {_PLAN} = '{TRIAL}' THEN subscriptions.trial_ends_at IS NOT NULL
     WHEN {_PLAN} = ANY(%(free_plans)s::text[]) THEN false
     ELSE {WORD.format("subscriptions.status")} IN ('active', 'past_due') END
"""
_IS_UNKNOWN = f"{_PLAN} <> ALL(%(known)s::text[])"

# A foreign key is no proof that their users exist: it is not looked at while rows are restored with triggers disabled.
_SUBSCRIPTIONS = f"""
SELECT coalesce({USER.format("subscriptions.user_id")}, 0), ({_PLAN} = '{TRIAL}')::int::bigint,
       {_TIME.format("ended_at")}, {_TIME.format("trial_ends_at")}, (users.id IS NULL)::int::bigint,
       ({_IS_UNKNOWN})::int::bigint
FROM subscriptions LEFT JOIN users ON users.id = subscriptions.user_id
WHERE {_PAID_OR_TRIAL}
"""

_UNKNOWN_PLANS = f"SELECT DISTINCT {_PLAN} FROM subscriptions WHERE {_PAID_OR_TRIAL} AND {_IS_UNKNOWN} LIMIT %(most)s"

PLANS_AGE = 2 * MINUTE
"""How long ago somebody may have seen to the plans when active users are split; mostly the `users` collector has done
so more recently."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Classed:
    """Every user who is or was more than free, and the index of each one's class in PLAN_CLASSES, at one instant."""

    users: Integers
    """Sorted. Two that are the same array are of the same reading."""

    classes: NDArray[np.int8]

    def of(self, users: Integers) -> NDArray[np.int8]:
        """The classes of these users (sorted, unique), whoever is not known here being free."""
        classes = np.full(len(users), _FREE, dtype=np.int8)
        if len(users) < len(self.users):
            known = contained(users, self.users)
            classes[known] = self.classes[np.searchsorted(self.users, users[known])]
        else:
            known = contained(self.users, users)
            classes[np.searchsorted(users, self.users[known])] = self.classes[known]
        return classes

    def moved_since(self, before: Classed) -> Integers:
        """The users whose class has changed since another instant of the same reading."""
        moved: Integers = self.users[self.classes != before.classes]
        return moved


class Plans:
    """Every paid plan and trial, as last read, and the plan classes at any time since."""

    def __init__(self, free_plans: Sequence[str] = FREE_PLANS) -> None:
        self._free_plans = [*map(folded, free_plans), ""]  # no plan at all is not a paid one
        self._known_plans = {TRIAL, *PAID_PLANS, *self._free_plans}
        self._named_plans = 0
        self._users = np.empty(0, dtype=np.int64)  # sorted, unique
        self._first = np.empty(0, dtype=np.int64)  # parallel: where each one's subscriptions begin in
        self._is_trial = np.empty(0, dtype=np.bool_)
        self._ended_at = np.empty(0, dtype=np.int64)  # parallel to it, as is:
        self._trial_ends_at = np.empty(0, dtype=np.int64)
        self._total = 0
        self.orphans = 0
        """Paid plans and trials, as last read, whose user there is not: they are nobody's."""
        self._seen_to_at: int | None = None
        self.read_at = 0
        """When they were read, by the database's clock (microseconds)."""

    async def read(self, transaction: Transaction) -> None:
        """Read them anew."""
        blocks = [np.empty((0, 4), dtype=np.int64)]
        orphans = unknown = 0

        def take(rows: Integers) -> None:
            nonlocal orphans, unknown
            is_orphan = rows[:, 4] == 1
            orphans += int(is_orphan.sum())
            unknown += int(rows[:, 5].sum())
            owned = rows[~is_orphan, :4]
            blocks.append(owned[np.argsort(owned[:, 0])])

        plans = {"free_plans": self._free_plans, "known": sorted(self._known_plans)}
        await transaction.integers_in_blocks(_SUBSCRIPTIONS, 6, plans, take)
        total = await transaction.integers("SELECT count(*) FROM users", 1)
        if unknown:
            await self._name_unknown_plans(transaction)
        self.orphans = orphans
        user, is_trial, self._ended_at, self._trial_ends_at = map(
            np.concatenate, zip(*(b.T for b in blocks), strict=True)
        )
        self._is_trial = is_trial == 1
        self._first = np.flatnonzero(np.diff(user, prepend=user[:1] - 1))
        self._users = user[self._first]
        self._total = int(total[0, 0])
        self.read_at = transaction.now_us
        self.seen_to(transaction)

    async def _name_unknown_plans(self, transaction: Transaction) -> None:
        """Log each plan that is neither known nor named before, so that it is not taken for a paid one unnoticed."""
        most = MAX_NAMED_PLANS - self._named_plans
        if most > 0:
            plans = {"free_plans": self._free_plans, "known": sorted(self._known_plans), "most": most}
            for (plan,) in await transaction.rows(_UNKNOWN_PLANS, plans):
                self._known_plans.add(plan)
                self._named_plans += 1
                _log.warning("plan.unknown", plan=clean(plan), plan_class="paid", setting="HIVESYNC_FREE_PLANS")

    @property
    def users(self) -> int:
        """All users there were at the last reading."""
        return self._total

    @property
    def rows(self) -> int:
        """Rows of the last reading: users, paid plans and trials."""
        return self._total + len(self._is_trial)

    def seen_to(self, transaction: Transaction) -> None:
        """Note that somebody sees to it that they are read as often as need be, and did just now."""
        self._seen_to_at = transaction.now_us

    async def read_if_neglected(self, transaction: Transaction) -> None:
        """Read them anew if nobody has seen to it for PLANS_AGE."""
        if self._seen_to_at is None or not 0 <= transaction.now_us - self._seen_to_at < PLANS_AGE:
            await self.read(transaction)

    def neglect(self) -> None:
        """Have them read by whoever comes next."""
        self._seen_to_at = None

    def at(self, now: int) -> Classed:
        """The plan classes at `now` (contract §2: the first that holds of paid, trial, trial_expired)."""
        holds = np.full(len(self._is_trial), _FREE, dtype=np.int8)
        holds[self._is_trial & (self._trial_ends_at <= now)] = _TRIAL_EXPIRED
        goes_on = self._ended_at > now
        holds[self._is_trial & goes_on & (self._trial_ends_at > now)] = _TRIAL
        holds[~self._is_trial & goes_on] = _PAID
        return Classed(self._users, np.minimum.reduceat(holds, self._first) if len(holds) else holds)

    def count(self, now: int) -> dict[str, int]:
        """How many users, of all there were at the last reading, are of each class at `now`."""
        counts = np.bincount(self.at(now).classes, minlength=len(PLAN_CLASSES))
        counts[_FREE] = self._total - counts[:_FREE].sum()
        return dict(zip(PLAN_CLASSES, counts.tolist(), strict=True))


class Users:
    """Reads the small tables; looks once a minute whether it has to."""

    name = "users"
    sources = ("postgres",)
    periods = 4
    specs = (USERS, PROJECTS, SKIPPED)

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._projects = 0
        self._recount = Recount()
        self.behind = 0.0

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a plan class, and the projects."""
        async with sources.postgres.transaction() as transaction:
            now = transaction.now_us
            if self._recount.is_due(now):
                await self._plans.read(transaction)
                projects = await transaction.integers("SELECT count(*) FROM projects", 1)
                self._projects = int(projects[0, 0])
                self._recount.read(now, self._plans.users, self._plans.rows + self._projects)
            self._plans.seen_to(transaction)
        self.behind = (now - self._plans.read_at) / SECOND
        by_plan = self._plans.count(now)
        return [
            *(USERS.sample(by_plan[plan], plan=plan) for plan in PLAN_CLASSES),
            PROJECTS.sample(self._projects),
            *skipped(self.name, {"orphan": self._plans.orphans}),
        ]

    def read_afresh(self) -> None:
        """Count at the next refresh, whatever the pause."""
        self._recount.forget()

    def promised_age(self, interval: float) -> float:
        """One refresh period more than its interval, and the pause."""
        return interval * (self.periods + 1) / self.periods + longest_pause(self._plans.users) / SECOND
