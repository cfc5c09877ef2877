"""Users by plan class, and projects (contract §2 "plan class"; spec §3.4).

    hivesync_users{plan="paid"} 120.0
    hivesync_users{plan="trial_expired"} 31.0
    hivesync_projects 870.0

`Plans` is also what splits active users by plan (`activity.py`): it holds who is not simply free, with the times at
which that changes, so that a trial ends on the instant, between two readings too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exporter.collector import Sources
from exporter.sliding import MICROSECONDS, USER
from exporter.sources.postgres import Transaction
from exporter.spec import MetricSpec, Sample
from exporter.windows import MINUTE, Integers, contained

PLAN_CLASSES = ("paid", "trial", "trial_expired", "free")

USERS = MetricSpec(
    "hivesync_users", "gauge", "Users by plan class, now.", "PostgreSQL (users, subscriptions)", ("plan",)
)
PROJECTS = MetricSpec("hivesync_projects", "gauge", "Projects, now.", "PostgreSQL (projects)")

# A time that is not set is never, as infinity is. (A trial without an end says nothing, and is not read.)
_TIME = MICROSECONDS.format("least(greatest(coalesce(subscriptions.{0}, 'infinity'), 'epoch'), '9999-12-31')")

# Paid plans and trials only, of users that exist.
_SUBSCRIPTIONS = f"""
SELECT {USER.format("subscriptions.user_id")}, (subscriptions.plan = 'trial')::int::bigint,
       {_TIME.format("ended_at")}, {_TIME.format("trial_ends_at")}
FROM subscriptions
WHERE (CASE subscriptions.plan WHEN 'free' THEN false WHEN 'trial' THEN subscriptions.trial_ends_at IS NOT NULL
       ELSE subscriptions.status IN ('active', 'past_due') END)
  AND EXISTS (SELECT FROM users WHERE users.id = subscriptions.user_id)
"""


@dataclass(frozen=True, slots=True)
class PlanSets:
    """The users of each class but `free` at one instant: sorted, disjoint."""

    paid: Integers
    trial: Integers
    trial_expired: Integers

    def split(self, users: Integers, total: int | None = None) -> dict[str, int]:
        """How many of `users` (sorted, unique) are of each class; `total` where more are free than `users` names."""
        counts = {name: int(contained(getattr(self, name), users).sum()) for name in PLAN_CLASSES[:-1]}
        return counts | {"free": (len(users) if total is None else total) - sum(counts.values())}

    def everyone(self) -> Integers:
        """The users of all three classes, sorted."""
        return np.sort(np.concatenate([self.paid, self.trial, self.trial_expired]))


class Plans:
    """Every paid plan and trial, as last read, and the plan classes at any time since."""

    def __init__(self) -> None:
        self._rows: Integers = np.empty((0, 4), dtype=np.int64)
        self._read_at: int | None = None

    async def read(self, transaction: Transaction, max_age: int = 0) -> None:
        """Read them anew, unless they were read less than `max_age` microseconds before this transaction."""
        now = transaction.now_us
        if self._read_at is not None and 0 <= now - self._read_at < max_age:
            return
        self._rows = await transaction.integers(_SUBSCRIPTIONS, 4)
        self._read_at = now

    def at(self, now: int) -> PlanSets:
        """The plan classes at `now` (contract §2: the first that holds of paid, trial, trial_expired)."""
        user, is_trial, ended_at, trial_ends_at = self._rows.T
        is_trial = is_trial.astype(bool)
        paid = np.unique(user[~is_trial & (ended_at > now)])
        trial = np.setdiff1d(user[is_trial & (ended_at > now) & (trial_ends_at > now)], paid)
        expired = np.setdiff1d(user[is_trial & (trial_ends_at <= now)], np.union1d(paid, trial))
        return PlanSets(paid, trial, expired)


class Users:
    """Reads the small tables; slow, because `users` and `subscriptions` do not say which of their rows are new."""

    name = "users"
    sources = ("postgres",)
    periods = 4
    specs = (USERS, PROJECTS)

    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """One sample a plan class, and the projects."""
        async with sources.postgres.transaction() as transaction:
            await self._plans.read(transaction)
            counts = await transaction.integers(
                "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM projects)", 2
            )
            users, projects = counts[0].tolist()
            plans = self._plans.at(transaction.now_us)
        by_plan = plans.split(plans.everyone(), total=users)
        return [USERS.sample(by_plan[plan], plan=plan) for plan in PLAN_CLASSES] + [PROJECTS.sample(projects)]


PLANS_AGE = 2 * MINUTE
"""How old the plans may be when active users are split; mostly the `users` collector has read them more recently."""
