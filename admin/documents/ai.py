"""AI usage: `/ai`, and its section of the page.

See docs/definitions.md#ai-request and docs/definitions.md#ai-error.
"""

from __future__ import annotations

from pydantic import Field

from admin.documents.before import DAY, HOUR, ai_requests
from admin.documents.cards import AI_LOG, POSTGRES, SLIDING, Card, Document, Meaning, Number, each
from admin.documents.models import Amount, ComparedCount, Count, Model, compared, known
from admin.documents.values import Value, Values
from exporter.collectors import ai, logs
from exporter.labels import OTHER
from exporter.vocabulary import AI_ERROR_KINDS
from presentation.label_styles import ERROR_KINDS, LOG_EVENTS, STATISTICS

CARDS = (
    Card(
        "ai-requests",
        "AI requests",
        Meaning("AI jobs requested, regardless of their outcome.", SLIDING, POSTGRES),
        (
            Number("Last minute", "ai/requests_per_minute"),
            Number("Last hour", "ai/requests_per_hour", than="yesterday at this time"),
            Number("Last 24 hours", "ai/requests_per_day", than="in the 24 hours before"),
        ),
    ),
    Card(
        "ai-requests-per-user",
        "AI requests per user",
        Meaning("AI requests per user, over the users with at least one.", "the last 24 hours, sliding", POSTGRES),
        each("ai/requests_per_user", STATISTICS, "ratio", "no users"),
    ),
    Card(
        "ai-errors",
        "AI errors",
        Meaning("Failed AI jobs, by the time of their failure.", "the last 24 hours, sliding", POSTGRES),
        (Number("All", "ai/errors_per_day"), *each("ai/errors", ERROR_KINDS)),
    ),
    Card(
        "ai-log",
        "AI events in the log",
        Meaning(
            "Lines of the AI events log, by event.",
            "since the start of counting, across restarts; at a first start from the end of the log",
            AI_LOG,
        ),
        tuple(Number(LOG_EVENTS[event].title, f"ai/log_events/{event}") for event in logs.AI.known_events),
    ),
)


class PerUser(Model):
    """Requests per user, over the users with at least one."""

    median: Amount
    p90: Amount
    max: Amount


class AiErrors(Model):
    """AI errors by kind, over 24 hours."""

    provider_error: Count
    timeout: Count
    safety_rejection: Count
    other: Count


class Ai(Model):
    """AI usage."""

    requests_per_minute: Count
    requests_per_hour: ComparedCount
    requests_per_day: ComparedCount
    requests_per_user: PerUser
    errors_per_day: Count = Field(description="Of all kinds.")
    errors: AiErrors
    log_events: dict[str, Count] = Field(
        description="By event, since the start of counting; null until the end of the log is first reached."
    )
    log_errors: dict[str, Count] = Field(description="By kind, as `log_events`.")


def build(values: Values) -> Ai:
    """The document."""
    return Ai(
        requests_per_minute=known(values.value(ai.REQUESTS, window="1m"), int),
        requests_per_hour=compared(values.value(ai.REQUESTS, window="1h"), ai_requests(values, HOUR, DAY)),
        requests_per_day=compared(values.value(ai.REQUESTS, window="24h"), ai_requests(values, DAY, DAY)),
        requests_per_user=PerUser(
            **{
                statistic: known(values.value(ai.PER_USER, window="24h", statistic=statistic), float)
                for statistic in PerUser.model_fields
            }
        ),
        errors_per_day=known(values.total(ai.ERRORS, window="24h"), int),
        errors=AiErrors(**{kind: known(_errors(values, kind), int) for kind in AiErrors.model_fields}),
        log_events={event: known(values.value(logs.AI_EVENTS, event=event), int) for event in logs.AI.known_events},
        log_errors={
            kind: known(values.value(logs.AI_ERRORS, kind=kind), int) for kind in (*logs.AI.known_kinds, OTHER)
        },
    )


def _errors(values: Values, kind: str) -> Value:
    """The errors of a kind. Without kinds, `other` is the number of all errors: the total, and no kind."""
    missing = values.missing(ai.ERRORS, window="24h", kind=AI_ERROR_KINDS[0])
    return missing if missing.input else values.value(ai.ERRORS, window="24h", kind=kind)


DOCUMENT = Document("ai", "AI usage", Ai, build, CARDS)
