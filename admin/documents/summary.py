"""The summary: `/summary`, and the cards at the top of the page."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from admin.documents.before import DAY, HOUR, WEEK, ai_requests, hours
from admin.documents.cards import BOTH, NO_QUEUE, ONLINE, POSTGRES, Card, Meaning, Number
from admin.documents.models import Amount, ComparedTwice, Count, Model, NotProvided, compared_twice, known
from admin.documents.queues import waiting
from admin.documents.trends import POINTS, Points, Trends
from admin.documents.values import Value, Values, combined, ratio
from exporter.collectors import ai, online, queues, users

PATH, TITLE = "summary", "Summary"

WAITING = "Waiting: with those that a worker has fetched and not begun, as PostgreSQL knows them."

YESTERDAY, LAST_WEEK = "yesterday at this time", "a week ago at this time"

CARDS: tuple[Card, ...] = (
    Card(
        "online-users",
        "Online users",
        Meaning(ONLINE, "now", BOTH),
        (Number("", "summary/online_users"),),
        "online_users",
    ),
    Card(
        "ai-requests-last-hour",
        "AI requests (last hour)",
        Meaning("AI jobs requested, regardless of their outcome.", "the last 60 minutes, sliding", POSTGRES),
        (Number("", "summary/ai_requests_last_hour", than=YESTERDAY, than_week=LAST_WEEK),),
        "ai_requests_last_hour",
    ),
    Card(
        "ai-queue",
        "AI queue",
        Meaning(f"AI jobs in all AI queues. {WAITING}", "now", BOTH),
        (Number("", "summary/ai_queue_depth", empty=NO_QUEUE), Number("waiting", "summary/ai_jobs_waiting")),
        "ai_queue_depth",
    ),
    Card(
        "preview-queue",
        "Preview queue",
        Meaning(f"Preview builds in all preview queues. {WAITING}", "now", BOTH),
        (Number("", "summary/preview_queue_depth", empty=NO_QUEUE), Number("waiting", "summary/preview_jobs_waiting")),
        "preview_queue_depth",
    ),
    Card(
        "paid-free",
        "Paid vs free",
        Meaning(
            "Paid users, of all users. The ratio is that of paid users to free users; trials count as neither.",
            "now",
            POSTGRES,
            (
                Number("Paid users per free user", "summary/paid_free_ratio", "ratio"),
                Number("Free users", "summary/free_users"),
            ),
        ),
        (
            Number("paid", "summary/paid_share", "percent"),
            Number("of", "summary/paid_users"),
            Number("users", "summary/users"),
        ),
        "paid_share",
    ),
)


class Summary(Model):
    """The summary: the most important numbers and their trends."""

    degraded: bool
    online_users: Count
    ai_requests_last_hour: ComparedTwice[int] | NotProvided
    ai_queue_depth: Count = Field(description="Null where no queue is known.")
    preview_queue_depth: Count = Field(description="Null where no queue is known.")
    ai_jobs_waiting: Count = Field(description="The larger of the depth and the rows with status queued.")
    preview_jobs_waiting: Count = Field(description="The larger of the depth and the rows with status queued.")
    paid_free_ratio: Amount = Field(description="Paid users per free user.")
    paid_share: Amount = Field(description="Paid users of all users, from 0 to 1.")
    users: Count
    paid_users: Count
    free_users: Count
    trends: dict[str, Points] = Field(
        description="The last hour: that of AI requests from PostgreSQL, the others since this process started."
    )


def numbers(values: Values) -> dict[str, Value]:
    """The numbers of the summary's cards."""
    all_users = values.total(users.USERS)
    by_plan = {plan: values.value(users.USERS, plan=plan) for plan in ("paid", "free")}
    return {
        "online_users": values.value(online.ONLINE_USERS),
        "ai_requests_last_hour": values.value(ai.REQUESTS, window="1h"),
        "ai_queue_depth": values.total(queues.DEPTH, queue="ai"),
        "preview_queue_depth": values.total(queues.DEPTH, queue="preview"),
        "ai_jobs_waiting": waiting(values, "ai"),
        "preview_jobs_waiting": waiting(values, "preview"),
        "paid_free_ratio": paid_free_ratio(values),
        "paid_share": combined((by_plan["paid"], all_users), ratio),
        "users": all_users,
        "paid_users": by_plan["paid"],
        "free_users": by_plan["free"],
    }


def paid_free_ratio(values: Values) -> Value:
    """Paid users per free user."""
    return combined((values.value(users.USERS, plan=plan) for plan in ("paid", "free")), ratio)


def build(values: Values, trends: Trends) -> Summary:
    """The document."""
    content: dict[str, Any] = {
        name: known(value, float if name in ("paid_free_ratio", "paid_share") else int)
        for name, value in numbers(values).items()
    }
    content["ai_requests_last_hour"] = compared_twice(
        values.value(ai.REQUESTS, window="1h"), *(ai_requests(values, HOUR, before) for before in (DAY, WEEK))
    )
    shown = trends.shown(card.trend for card in CARDS)
    if (known_hours := hours(values)) is not None:
        shown["ai_requests_last_hour"] = Points(
            times=known_hours.ending(1, POINTS), values=known_hours.requests_per_hour(1, POINTS)
        )
    return Summary(degraded=values.degraded, trends=shown, **content)
