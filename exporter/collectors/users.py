"""Users by plan class (docs/definitions.md#plan-class), and projects.

    hivesync_users{plan="paid"} 120.0
    hivesync_users{plan="trial_expired"} 31.0
    hivesync_projects 870.0

`users`, `subscriptions` and `projects` have no column that marks new rows, so they are read as a whole: at every
refresh up to 100,000 users, beyond that after a pause in proportion to the rows (`recount.py`).

`Plans` is also used to split active users by plan (`activity.py`) and for new users and ended plans (`growth.py`): it
holds the users with a paid plan or a trial, with the times at which their class changes, so that a trial ends at the
exact instant, between two readings too.
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
from exporter.sources.postgres import Transaction, moment
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import FREE_PLANS, PAID_PLANS, PAYING_STATUSES, PLAN_CLASSES, TRIAL
from exporter.windows import DAY, MINUTE, SECOND, Integers, contained
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

_TRIAL_ENDS_AT, _ENDED_AT = "subscriptions.trial_ends_at", "subscriptions.ended_at"

RECENT = 30 * DAY
"""The longest window over new users, and over trials and paid plans that ended. Of new users the same is known once
more: the window before."""

_NEVER = 253_370_764_800 * SECOND
"""The year 9999: later times stand for none (`_TIME`)."""

_SINCE_CREATED = f"""
SELECT CASE WHEN users.created_at > %(since)s AND isfinite(users.created_at)
            THEN {_TIME.format("users.created_at")} ELSE -1 END, count(*)
FROM users GROUP BY 1
"""
"""All users in one scan: those created since then by their times, the others together as -1."""


def _paid_or_trial(not_provided: Collection[str]) -> str:
    return f"""
CASE WHEN {_PLAN} = '{TRIAL}' THEN {optional(_TRIAL_ENDS_AT, not_provided)} IS NOT NULL
     WHEN {_PLAN} = ANY(%(free_plans)s::text[]) THEN false
     ELSE {WORD.format("subscriptions.status")} IN {words(PAYING_STATUSES)} END
"""


_IS_UNKNOWN = f"{_PLAN} <> ALL(%(known)s::text[])"


def _subscriptions(not_provided: Collection[str]) -> str:
    # A foreign key does not prove that the users exist: it is not checked while rows are restored with triggers
    # disabled. Beside the rows that give a class are those of paid plans and trials that ended lately, or at no known
    # time.
    gives_class = f"coalesce({_paid_or_trial(not_provided)}, false)"
    ended_at = optional(_ENDED_AT, not_provided)
    return f"""
SELECT coalesce({USER.format("subscriptions.user_id")}, 0), ({_PLAN} = '{TRIAL}')::int::bigint,
       {_TIME.format(ended_at)}, {_TIME.format(optional(_TRIAL_ENDS_AT, not_provided))},
       (users.id IS NULL)::int::bigint, ({_IS_UNKNOWN} AND {gives_class})::int::bigint, ({gives_class})::int::bigint
FROM subscriptions LEFT JOIN users ON users.id = subscriptions.user_id
WHERE {gives_class} OR {_PLAN} <> ALL(%(free_plans)s::text[]) AND ({ended_at} IS NULL OR {ended_at} > %(since)s)
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
        self._created_at = np.empty(0, dtype=np.int64)  # sorted: the times at which recent users were created
        self._created = np.zeros(1, dtype=np.int64)  # the number of recent users created before each, and in all
        self._ends = np.empty(
            (0, 3), dtype=np.int64
        )  # user, whether it is a trial, and its end, within RECENT or ahead
        self.undated = 0
        """Number of trials and of paid plans that no user pays for, as last read, without a time of their end."""
        self.orphans = 0
        """Number of paid plans and trials, as last read, whose user does not exist; they belong to no class."""
        self._seen_to_at: int | None = None
        self._server: int | None = None  # the number of the server that they are read from
        self.read_at = 0
        """The time of the reading, by the database's clock (microseconds)."""

    async def read(self, transaction: Transaction) -> None:
        """Read the plans."""
        blocks, ends = [np.empty((0, 4), dtype=np.int64)], [np.empty((0, 3), dtype=np.int64)]
        orphans = unknown = undated = 0
        since = transaction.now_us - RECENT

        def take(rows: Integers) -> None:
            nonlocal orphans, unknown, undated
            is_orphan, gives_class = rows[:, 4] == 1, rows[:, 6] == 1
            orphans += int((is_orphan & gives_class).sum())
            unknown += int(rows[:, 5].sum())
            ended, without_time = _ends_in(rows[~is_orphan], since)
            ends.append(ended)
            undated += self._undated_in(without_time)
            owned = rows[~is_orphan & gives_class, :4]
            blocks.append(owned[np.argsort(owned[:, 0])])

        plans = {
            "free_plans": self._free_plans,
            "known": sorted(self._known_plans),
            "since": moment(since),
        }
        await transaction.integers_in_blocks(_subscriptions(self._not_provided), 7, plans, take)
        created = await transaction.integers(_SINCE_CREATED, 2, {"since": moment(since - RECENT)})
        if unknown:
            await self._name_unknown_plans(transaction)
        await transaction.check_tables()
        self.orphans, self.undated, self._ends = orphans, undated, np.concatenate(ends)
        user, is_trial, self._ended_at, self._trial_ends_at = map(
            np.concatenate, zip(*(b.T for b in blocks), strict=True)
        )
        self._is_trial = is_trial == 1
        self._first = np.flatnonzero(np.diff(user, prepend=user[:1] - 1))
        self._users = user[self._first]
        self._total = int(created[:, 1].sum())
        recent = created[created[:, 0] >= 0]
        recent = recent[recent[:, 0].argsort()]
        self._created_at, self._created = recent[:, 0], np.concatenate([[0], recent[:, 1].cumsum()])
        self.read_at, self._server = transaction.now_us, transaction.server.number
        self.seen_to(transaction)

    def _undated_in(self, rows: Integers) -> int:
        """Return the number of rows whose end ought to be known."""
        is_trial = rows[:, 1] == 1
        trials, paid = (column not in self._not_provided for column in (_TRIAL_ENDS_AT, _ENDED_AT))
        return int(trials * is_trial.sum() + paid * (~is_trial).sum())

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

    def new(self, now: int, window: int) -> int:
        """Return the number of users created in a window, of RECENT at most, that ends at `now` or up to RECENT before
        it."""
        since, until = np.searchsorted(self._created_at, (now - window, now), side="right")
        return int(self._created[until] - self._created[since])

    def ended(self, now: int, window: int, *, trials: bool) -> dict[str, int]:
        """Return the number of users with a trial, or with a paid plan, that ended in a window, of RECENT at most, that
        ends at `now`: by their class at `now`."""
        user, is_trial, at = self._ends.T
        users = np.unique(user[(is_trial == trials) & (at > now - window) & (at <= now)])
        counts = np.bincount(self.at(now).of(users), minlength=len(PLAN_CLASSES))
        return dict(zip(PLAN_CLASSES, counts.tolist(), strict=True))


def _ends_in(rows: Integers, since: int) -> tuple[Integers, Integers]:
    """Return the ends after `since` of rows of `_subscriptions` (user, whether it is a trial, end), and the rows that
    give no class and have no time of their end. A trial ends at the earlier of its two times."""
    ends = np.where(rows[:, 1] == 1, np.minimum(rows[:, 2], rows[:, 3]), rows[:, 2])
    is_dated = ends < _NEVER
    shown = is_dated & (ends > since)
    return np.stack((rows[shown, 0], rows[shown, 1], ends[shown]), axis=1), rows[~is_dated & (rows[:, 6] == 0)]


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
