"""New users, and the trials and paid plans that ended (docs/definitions.md#growth).

    hivesync_new_users_in_window{window="7d"} 31.0
    hivesync_trials_ended_in_window{window="30d",plan="paid"} 9.0
    hivesync_paid_plans_ended_in_window{window="30d",plan="free"} 2.0

All three come of `Plans` (`users.py`), which reads `users` and `subscriptions` for several collectors. It keeps the
times of the last 30 days and those ahead, so that users enter and leave the windows at the exact instant, between two
readings too.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.collector import SKIPPED, Sources, skipped
from exporter.collectors.users import FRESHNESS, RECENT, TRIALS, Plans
from exporter.definitions import PLAN_CLASS, word
from exporter.inputs import Need
from exporter.recount import longest_pause
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import PLAN_CLASSES
from exporter.windows import DAY, SECOND

NEW_WINDOWS = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
ENDED_WINDOW = "30d"

NEW_USERS = MetricSpec(
    "hivesync_new_users_in_window",
    "gauge",
    f"Users created in the window that ends now, and not deleted since. {FRESHNESS}",
    "PostgreSQL (users.created_at)",
    (Label("window", tuple(NEW_WINDOWS)),),
    Definition("""
SELECT windows.name, (SELECT count(*) FROM users WHERE created_at > %(now)s - windows.length AND created_at <= %(now)s)
FROM (VALUES ('24h', interval '24 hours'), ('7d', interval '168 hours'), ('30d', interval '720 hours'))
  AS windows(name, length)
"""),
)


def _ended(condition: str, end: str) -> str:
    """Return SQL for a definition: the users with a subscription whose end is in the window, by class."""
    return f"""
WITH ended AS MATERIALIZED (
  SELECT {PLAN_CLASS} AS plan FROM users
  WHERE EXISTS (SELECT FROM subscriptions ending WHERE ending.user_id = users.id AND {condition}
                AND {end} > %(now)s - interval '720 hours' AND {end} <= %(now)s)
)
SELECT '30d', classes.plan, (SELECT count(*) FROM ended WHERE ended.plan = classes.plan)
FROM (VALUES ('paid'), ('trial'), ('trial_expired'), ('free')) AS classes(plan)
"""


_PLAN = word("ending.plan")

TRIALS_ENDED = MetricSpec(
    "hivesync_trials_ended_in_window",
    "gauge",
    "Users with a trial that ended in the window that ends now, by current plan class: those of the class paid were"
    f" converted. {FRESHNESS}",
    "PostgreSQL (users, subscriptions)",
    (Label("window", (ENDED_WINDOW,)), Label("plan", PLAN_CLASSES)),
    Definition(_ended(f"{_PLAN} = 'trial'", "least(ending.trial_ends_at, ending.ended_at)")),
    (Need(("subscriptions.trial_ends_at",)),),
)
PAID_PLANS_ENDED = MetricSpec(
    "hivesync_paid_plans_ended_in_window",
    "gauge",
    "Users with a paid plan that ended in the window that ends now, by current plan class: those of the class paid have"
    f" another, all others are lost customers. {FRESHNESS}",
    "PostgreSQL (users, subscriptions)",
    (Label("window", (ENDED_WINDOW,)), Label("plan", PLAN_CLASSES)),
    Definition(_ended(f"{_PLAN} <> ALL(%(free_plans)s::text[]) AND {_PLAN} NOT IN ('trial', '')", "ending.ended_at")),
    (Need(("subscriptions.ended_at",)), TRIALS),
)


class Growth:
    """The collector of new users and ended plans."""

    name = "growth"
    sources = ("postgres",)
    periods = 4
    specs = (NEW_USERS, TRIALS_ENDED, PAID_PLANS_ENDED, SKIPPED)

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self.content: tuple[tuple[str, int], ...] | None = None
        """New users of the window before each, by window, at the last reading; None before the first."""
        self.behind = 0.0

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return one sample per window, and per class."""
        async with sources.postgres.transaction() as transaction:
            now, plans = transaction.now_us, self._plans
            await plans.read_if_neglected(transaction)
        self.behind = (now - plans.read_at) / SECOND
        self.content = tuple((window, plans.new(now - length, length)) for window, length in NEW_WINDOWS.items())
        return [
            *(NEW_USERS.sample(plans.new(now, length), window=window) for window, length in NEW_WINDOWS.items()),
            *(
                spec.sample(count, window=ENDED_WINDOW, plan=plan)
                for spec, is_trial in ((TRIALS_ENDED, True), (PAID_PLANS_ENDED, False))
                for plan, count in plans.ended(now, RECENT, trials=is_trial).items()
            ),
            *skipped(self.name, {"undated_end": plans.undated}),
        ]

    def read_afresh(self) -> None:
        """Make the next refresh read the plans."""
        self._plans.neglect()

    def promised_age(self, interval: float) -> float:
        """Return the usual age of two intervals, plus the pause between two readings of the plans."""
        return 2 * interval + longest_pause(self._plans.users) / SECOND
