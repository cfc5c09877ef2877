"""Users by plan class (docs/definitions.md#plan-class), and projects.

    hivesync_users{plan="paid"} 120.0
    hivesync_users{plan="trial_expired"} 31.0
    hivesync_projects 870.0

`users`, `subscriptions` and `projects` have no column that marks new rows, so they are read as a whole: at every
refresh up to 100,000 users, beyond that after a pause in proportion to the rows (`recount.py`).

`Plans` is also used to split active users by plan (`activity.py`): it holds the users with a paid plan or a trial, with
the times at which their class changes, so that a trial ends at the exact instant, between two readings too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from exporter.collector import SKIPPED, Sources, skipped
from exporter.columns import USER, WORD, optional, words
from exporter.definitions import PLAN_CLASS
from exporter.inputs import Need
from exporter.labels import clean, folded_forms
from exporter.recount import READ_ALWAYS, Recount, longest_pause
from exporter.sources.postgres import Transaction
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import FREE_PLANS, PAID_PLANS, PAYING_STATUSES, PLAN_CLASSES, TRIAL
from exporter.windows import MINUTE, SECOND, Integers, contained
from exporter.windows.sql import MICROSECONDS

_PAID, _TRIAL, _TRIAL_EXPIRED, _FREE = range(len(PLAN_CLASSES))

MAX_NAMED_PLANS = 100

FRESHNESS = (
    f"A change shows within five refresh periods (75 s by default) up to {READ_ALWAYS:,} users,"
    " within ten minutes beyond."
)

TRIALS = Need(("subscriptions.trial_ends_at",), "plan", ("trial", "trial_expired"))
"""Without the end of a trial, a present trial cannot be told from a past one."""

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
    (TRIALS,),
)
PROJECTS = MetricSpec(
    "hivesync_projects",
    "gauge",
    f"Projects, now. {FRESHNESS}",
    "PostgreSQL (projects)",
    definition=Definition("SELECT count(*) FROM projects"),
    needs=(Need(("projects",)),),
)

# A time that is not set means never, like infinity. (A trial without an end has no meaning, and is not read.)
_TIME = MICROSECONDS.format("least(greatest(coalesce({0}, 'infinity'), 'epoch'), '9999-12-31')")

_PLAN = f"coalesce({WORD.format('subscriptions.plan')}, '')"

_TRIAL_ENDS_AT = "subscriptions.trial_ends_at"


def _paid_or_trial(not_provided: Collection[str]) -> str:
    return f"""
CASE WHEN {_PLAN} = '{TRIAL}' THEN {optional(_TRIAL_ENDS_AT, not_provided)} IS NOT NULL
     WHEN {_PLAN} = ANY(%(free_plans)s::text[]) THEN false
     ELSE {WORD.format("subscriptions.status")} IN {words(PAYING_STATUSES)} END
"""


_IS_UNKNOWN = f"{_PLAN} <> ALL(%(known)s::text[])"


def _subscriptions(not_provided: Collection[str]) -> str:
    # A foreign key does not prove that the users exist: it is not checked while rows are restored with triggers
    # disabled.
    return f"""
SELECT coalesce({USER.format("subscriptions.user_id")}, 0), ({_PLAN} = '{TRIAL}')::int::bigint,
       {_TIME.format("subscriptions.ended_at")}, {_TIME.format(optional(_TRIAL_ENDS_AT, not_provided))},
       (users.id IS NULL)::int::bigint, ({_IS_UNKNOWN})::int::bigint
FROM subscriptions LEFT JOIN users ON users.id = subscriptions.user_id
WHERE {_paid_or_trial(not_provided)}
"""


def _unknown_plans(not_provided: Collection[str]) -> str:
    return (
        f"SELECT DISTINCT {_PLAN} FROM subscriptions WHERE {_paid_or_trial(not_provided)} AND {_IS_UNKNOWN}"
        " LIMIT %(most)s"
    )


PLANS_AGE = 2 * MINUTE
"""Age of the last check of the plans at which `activity` reads them itself; normally the `users` collector has checked
them more recently."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Classed:
    """The users with a paid plan or a trial, also an ended one, and the index of each user's class in PLAN_CLASSES, at
    one instant."""

    users: Integers
    """Sorted. The identical array object means the same reading."""

    classes: NDArray[np.int8]

    def of(self, users: Integers) -> NDArray[np.int8]:
        """Return the classes of these users (sorted, unique); unknown users are free."""
        classes = np.full(len(users), _FREE, dtype=np.int8)
        if len(users) < len(self.users):
            known = contained(users, self.users)
            classes[known] = self.classes[np.searchsorted(self.users, users[known])]
        else:
            known = contained(self.users, users)
            classes[np.searchsorted(users, self.users[known])] = self.classes[known]
        return classes

    def moved_since(self, before: Classed) -> Integers:
        """Return the users whose class has changed since another instant of the same reading."""
        moved: Integers = self.users[self.classes != before.classes]
        return moved


class Plans:
    """Every paid plan and trial, as last read, and the plan classes at any later time."""

    def __init__(self, free_plans: Sequence[str] = FREE_PLANS, not_provided: Collection[str] = ()) -> None:
        self._not_provided = not_provided
        self._free_plans = [*folded_forms(free_plans), ""]  # an empty plan is not a paid plan
        self._known_plans = {TRIAL, *PAID_PLANS, *self._free_plans}
        self._named_plans = 0
        self._users = np.empty(0, dtype=np.int64)  # sorted, unique
        self._first = np.empty(0, dtype=np.int64)  # parallel: index of each user's first subscription in the next
        self._is_trial = np.empty(0, dtype=np.bool_)
        self._ended_at = np.empty(0, dtype=np.int64)  # parallel to it, like the next:
        self._trial_ends_at = np.empty(0, dtype=np.int64)
        self._total = 0
        self.orphans = 0
        """Number of paid plans and trials, as last read, whose user does not exist; they belong to no class."""
        self._seen_to_at: int | None = None
        self._server: int | None = None  # the number of the server that they are read from
        self.read_at = 0
        """The time of the reading, by the database's clock (microseconds)."""

    async def read(self, transaction: Transaction) -> None:
        """Read the plans."""
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
        await transaction.integers_in_blocks(_subscriptions(self._not_provided), 6, plans, take)
        total = await transaction.integers("SELECT count(*) FROM users", 1)
        if unknown:
            await self._name_unknown_plans(transaction)
        await transaction.check_tables()
        self.orphans = orphans
        user, is_trial, self._ended_at, self._trial_ends_at = map(
            np.concatenate, zip(*(b.T for b in blocks), strict=True)
        )
        self._is_trial = is_trial == 1
        self._first = np.flatnonzero(np.diff(user, prepend=user[:1] - 1))
        self._users = user[self._first]
        self._total = int(total[0, 0])
        self.read_at, self._server = transaction.now_us, transaction.server.number
        self.seen_to(transaction)

    async def _name_unknown_plans(self, transaction: Transaction) -> None:
        """Log each plan that is neither known nor logged before, so that it does not count as a paid plan unnoticed."""
        most = MAX_NAMED_PLANS - self._named_plans
        if most > 0:
            plans = {"free_plans": self._free_plans, "known": sorted(self._known_plans), "most": most}
            for (plan,) in await transaction.rows(_unknown_plans(self._not_provided), plans):
                self._known_plans.add(plan)
                self._named_plans += 1
                _log.warning("plan.unknown", plan=clean(plan), plan_class="paid", setting="HIVESYNC_FREE_PLANS")

    @property
    def users(self) -> int:
        """The number of all users at the last reading."""
        return self._total

    @property
    def rows(self) -> int:
        """The number of rows at the last reading: users, paid plans and trials."""
        return self._total + len(self._is_trial)

    def seen_to(self, transaction: Transaction) -> None:
        """Note that the plans were checked just now, and are read as often as necessary."""
        self._seen_to_at = transaction.now_us

    async def read_if_neglected(self, transaction: Transaction) -> None:
        """Read the plans if they were not checked for PLANS_AGE, or are another server's."""
        is_same = self._server == transaction.server.number
        if not is_same or self._seen_to_at is None or not 0 <= transaction.now_us - self._seen_to_at < PLANS_AGE:
            await self.read(transaction)

    def neglect(self) -> None:
        """Make the next user of the plans read them."""
        self._seen_to_at = None

    def at(self, now: int) -> Classed:
        """Return the plan classes at `now` (docs/definitions.md#plan-class)."""
        holds = np.full(len(self._is_trial), _FREE, dtype=np.int8)
        holds[self._is_trial & (self._trial_ends_at <= now)] = _TRIAL_EXPIRED
        goes_on = self._ended_at > now
        holds[self._is_trial & goes_on & (self._trial_ends_at > now)] = _TRIAL
        holds[~self._is_trial & goes_on] = _PAID
        return Classed(self._users, np.minimum.reduceat(holds, self._first) if len(holds) else holds)

    def count(self, now: int) -> dict[str, int]:
        """Return the number of users in each class at `now`, out of all users at the last reading."""
        counts = np.bincount(self.at(now).classes, minlength=len(PLAN_CLASSES))
        counts[_FREE] = self._total - counts[:_FREE].sum()
        return dict(zip(PLAN_CLASSES, counts.tolist(), strict=True))


class Users:
    """The collector of the small tables; it checks once a minute whether a reading is due."""

    name = "users"
    sources = ("postgres",)
    periods = 4
    specs = (USERS, PROJECTS, SKIPPED)

    def __init__(self, plans: Plans, not_provided: Collection[str] = ()) -> None:
        self._plans = plans
        self._has_projects = "projects" not in not_provided
        self._projects = 0
        self._recount = Recount()
        self.behind = 0.0

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per plan class, and the projects."""
        async with sources.postgres.transaction() as transaction:
            now, server = transaction.now_us, transaction.server.number
            if self._recount.is_due(now, server):
                await self._plans.read(transaction)
                if self._has_projects:
                    projects = await transaction.integers("SELECT count(*) FROM projects", 1)
                    self._projects = int(projects[0, 0])
                self._recount.read(now, server, self._plans.users, self._plans.rows + self._projects)
            self._plans.seen_to(transaction)
        self.behind = (now - self._plans.read_at) / SECOND
        by_plan = self._plans.count(now)
        return [
            *(USERS.sample(by_plan[plan], plan=plan) for plan in PLAN_CLASSES),
            PROJECTS.sample(self._projects),
            *skipped(self.name, {"orphan": self._plans.orphans}),
        ]

    def read_afresh(self) -> None:
        """Make the next refresh read, regardless of the pause."""
        self._recount.forget()

    def promised_age(self, interval: float) -> float:
        """Return one refresh period more than the interval, plus the pause."""
        return interval * (self.periods + 1) / self.periods + longest_pause(self._plans.users) / SECOND
