"""Growth: `/growth`, and its section of the page (docs/definitions.md#growth)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from admin.documents.before import new_users
from admin.documents.cards import ACTIVE, BOTH, POSTGRES, Card, Document, Meaning, Number
from admin.documents.models import Amount, ComparedCount, Count, Model, compared, known
from admin.documents.values import Value, Values, combined, ratio
from exporter.collectors import activity, cost, growth, users
from exporter.collectors.users import FRESHNESS
from exporter.vocabulary import PLAN_CLASSES
from presentation.label_styles import ACTIVE_SINCE, COMPONENTS, DAYS

NO_PRICES = "no prices"
LAST_30_DAYS = f"the last 30 days, sliding. {FRESHNESS.removesuffix('.')}"

CARDS = (
    Card(
        "stickiness",
        "Stickiness",
        Meaning(
            f"Daily active users as a share of monthly active users. Active: {ACTIVE[0].lower()}{ACTIVE[1:]}.",
            "the last 24 hours and the last 30 days, sliding",
            POSTGRES,
        ),
        (
            Number("Daily of monthly", "growth/stickiness", "percent"),
            Number("Daily active users", "growth/daily_active_users"),
            Number("Monthly active users", "growth/monthly_active_users"),
        ),
    ),
    Card(
        "new-users",
        "New users",
        Meaning("Users created, and not deleted since.", f"sliding, given per line. {FRESHNESS}", POSTGRES),
        tuple(
            Number(style.title, f"growth/new_users/{window}", than=f"in the {style.title.removeprefix('Last ')} before")
            for window, style in DAYS.items()
        ),
    ),
    Card(
        "returning-users",
        "Returning and lost users",
        Meaning(
            "Users active in the 30 days before the last 30. Returning: active in the last 30 days too. Lost: not"
            " active since.",
            "the 30 days before the last 30, sliding",
            POSTGRES,
        ),
        (
            Number("Active in the 30 days before", "growth/previously_active_users"),
            *(Number(style.title, f"growth/{state}_users") for state, style in ACTIVE_SINCE.items()),
            Number("Share lost", "growth/share_lost", "percent"),
        ),
    ),
    Card(
        "trial-conversion",
        "Trial conversion",
        Meaning(
            "Users with a trial that ended, and those of them who have a paid plan now. A trial without a time of its"
            " end is in neither.",
            LAST_30_DAYS,
            POSTGRES,
        ),
        (
            Number("Conversion", "growth/trial_conversion", "percent", "no trial ended"),
            Number("Trials ended", "growth/trials_ended"),
            Number("Paid now", "growth/trials_converted"),
        ),
    ),
    Card(
        "churn",
        "Churn of paid users",
        Meaning(
            "Users with a paid plan that ended and without one now, as a share of these and of the users who are paid"
            " now. A paid plan without a time of its end is not counted.",
            LAST_30_DAYS,
            POSTGRES,
        ),
        (
            Number("Churn", "growth/churn", "percent", "no paid users"),
            Number("Lost", "growth/paid_users_lost"),
            Number("Paid now", "growth/paid_users"),
        ),
    ),
    Card(
        "cost-per-use",
        "AI cost per use",
        Meaning(
            "AI cost of tokens and GPU instances so far, per user active and per 1,000 AI requests ended in the same"
            " time.",
            "this calendar month (UTC) so far",
            BOTH,
        ),
        (
            Number("Per active user", "growth/cost_per_active_user_dollars", "dollars", NO_PRICES),
            Number("Per 1,000 requests", "growth/cost_per_1000_requests_dollars", "dollars", NO_PRICES),
            Number("Active users", "growth/active_users_month_to_date"),
            Number("Requests ended", "growth/ai_requests_ended_month_to_date"),
        ),
        is_estimate=True,
    ),
)


class NewUsers(Model):
    """Users created, by window."""

    h24: ComparedCount = Field(alias="24h")
    d7: ComparedCount = Field(alias="7d")
    d30: ComparedCount = Field(alias="30d")


class Growth(Model):
    """Growth. Shares are fractions: 0.25 is 25 %; null where they are of nothing."""

    stickiness: Amount = Field(description="Daily of monthly active users.")
    daily_active_users: Count
    monthly_active_users: Count
    new_users: NewUsers
    previously_active_users: Count = Field(description="Active in the 30 days before the last 30.")
    returning_users: Count = Field(description="Of these, active in the last 30 days too.")
    lost_users: Count = Field(description="Of these, not active since.")
    share_lost: Amount
    trials_ended: Count = Field(description="Users with a trial that ended in the last 30 days.")
    trials_converted: Count = Field(description="Of these, paid now.")
    trial_conversion: Amount
    paid_users: Count
    paid_users_lost: Count = Field(description="Users whose paid plan ended in the last 30 days, and not paid now.")
    churn: Amount = Field(description="Lost paid users, as a share of these and of those paid now.")
    active_users_month_to_date: Count
    ai_requests_ended_month_to_date: Count
    estimate: Literal[True] = Field(description="Costs are estimates.")
    cost_per_active_user_dollars: Amount = Field(description="Null without a price file.")
    cost_per_1000_requests_dollars: Amount = Field(description="Null without a price file.")


def build(values: Values) -> Growth:
    """The document."""
    daily, monthly = (values.total(activity.ACTIVE_USERS, window=window) for window in ("24h", "30d"))
    before = values.total(activity.PREVIOUSLY_ACTIVE)
    returning, lost = (values.value(activity.PREVIOUSLY_ACTIVE, window="30d", state=state) for state in ACTIVE_SINCE)
    trials = values.total(growth.TRIALS_ENDED)
    converted = values.value(growth.TRIALS_ENDED, window=growth.ENDED_WINDOW, plan="paid")
    paid, paid_lost = values.value(users.USERS, plan="paid"), _lost(values)
    in_month, ended = values.value(activity.ACTIVE_IN_MONTH), values.value(cost.REQUESTS)
    dollars = combined((values.value(cost.MONTH_TO_DATE, component=component) for component in COMPONENTS), sum)
    return Growth(
        stickiness=known(combined((daily, monthly), ratio), float),
        daily_active_users=known(daily, int),
        monthly_active_users=known(monthly, int),
        new_users=NewUsers(
            **{
                window: compared(values.value(growth.NEW_USERS, window=window), new_users(values, window))
                for window in growth.NEW_WINDOWS
            }
        ),
        previously_active_users=known(before, int),
        returning_users=known(returning, int),
        lost_users=known(lost, int),
        share_lost=known(combined((lost, before), ratio), float),
        trials_ended=known(trials, int),
        trials_converted=known(converted, int),
        trial_conversion=known(_of_all(ratio, converted, trials), float),
        paid_users=known(paid, int),
        paid_users_lost=known(paid_lost, int),
        churn=known(_of_all(lambda both: ratio((both[0], sum(both))), paid_lost, paid), float),
        active_users_month_to_date=known(in_month, int),
        ai_requests_ended_month_to_date=known(ended, int),
        estimate=True,
        cost_per_active_user_dollars=known(_of_all(ratio, dollars, in_month), float),
        cost_per_1000_requests_dollars=known(
            _of_all(lambda both: ratio((1000 * both[0], both[1])), dollars, ended), float
        ),
    )


def _lost(values: Values) -> Value:
    """The users whose paid plan ended and who are not paid now."""
    lost = (plan for plan in PLAN_CLASSES if plan != "paid")
    return combined(
        (values.value(growth.PAID_PLANS_ENDED, window=growth.ENDED_WINDOW, plan=plan) for plan in lost), sum
    )


def _of_all(fold: Callable[[Sequence[float]], float | None], *parts: Value) -> Value:
    """One value of several, all of which it needs: not provided where one of them is not."""
    return next((part for part in parts if part.input is not None), None) or combined(parts, fold)


DOCUMENT = Document("growth", "Growth", Growth, build, CARDS)
