"""Queues and jobs: `/queues`, and its section of the page.

See docs/definitions.md#queue-depth, docs/definitions.md#job-latency and docs/definitions.md#preview-request.
"""

from __future__ import annotations

from pydantic import Field

from admin.documents.cards import (
    POSTGRES,
    REDIS,
    SLIDING,
    Card,
    Document,
    Meaning,
    Number,
    TableCard,
    TableColumn,
    each,
)
from admin.documents.models import Amount, Count, Model, known
from admin.documents.values import Values
from exporter.collectors import ai, latency, previews, queues
from presentation.label_styles import WINDOWS

NO_JOBS = "no jobs"

CARDS = (
    Card(
        "ai-latency",
        "AI job latency",
        Meaning(
            "Mean time from creation to completion of the AI jobs that succeeded in the window.", SLIDING, POSTGRES
        ),
        each("queues/latency_seconds/ai", WINDOWS, "seconds", NO_JOBS),
    ),
    Card(
        "preview-latency",
        "Preview job latency",
        Meaning(
            "Mean time from creation to completion of the preview jobs that succeeded in the window.",
            SLIDING,
            POSTGRES,
        ),
        each("queues/latency_seconds/preview", WINDOWS, "seconds", NO_JOBS),
    ),
    Card(
        "preview-requests",
        "Preview requests",
        Meaning("Preview builds requested, regardless of their outcome.", SLIDING, POSTGRES),
        (
            Number("Last minute", "queues/preview_requests/1m"),
            Number("Last hour", "queues/preview_requests/1h"),
            Number("Last 24 hours", "queues/preview_requests/24h"),
        ),
    ),
    Card(
        "processing",
        "AI jobs processed",
        Meaning("Totals reported by the workers of the AI queue.", "since the workers began counting", REDIS),
        (
            Number("Jobs", "queues/processing/jobs"),
            Number("Processing time", "queues/processing/seconds", "seconds"),
        ),
    ),
)

TABLES = (
    TableCard(
        "queue-depths",
        "Queues",
        Meaning("Waiting jobs in each queue.", "now", REDIS),
        "queues/queues",
        (
            TableColumn("queue", "Kind", styles="queues"),
            TableColumn("name", "Queue", is_code=True),
            TableColumn("depth", "Waiting", "number"),
        ),
        "No queue is known: no key matches the settings AI_QUEUE_KEYS and PREVIEW_QUEUE_KEYS",
    ),
)


class Queue(Model):
    """The depth of one queue."""

    queue: str
    name: str
    depth: Count


class Latency(Model):
    """Seconds from creation to completion, by window; null without a job that succeeded."""

    m1: Amount = Field(alias="1m")
    m15: Amount = Field(alias="15m")
    h1: Amount = Field(alias="1h")


class Latencies(Model):
    """Latency by queue."""

    ai: Latency
    preview: Latency


class Requests(Model):
    """Requests by window."""

    m1: Count = Field(alias="1m")
    h1: Count = Field(alias="1h")
    h24: Count = Field(alias="24h")


class Processing(Model):
    """Totals reported by the workers of the AI queue."""

    jobs: Count
    seconds: Amount


class Queues(Model):
    """Queues and jobs."""

    ai_queue_depth: Count = Field(description="Null where no queue is known.")
    preview_queue_depth: Count = Field(description="Null where no queue is known.")
    queues: list[Queue]
    latency_seconds: Latencies
    preview_requests: Requests
    processing: Processing


def build(values: Values) -> Queues:
    """The document."""
    jobs, seconds = values.summary(queues.PROCESSING, queue="ai")
    return Queues(
        ai_queue_depth=known(values.total(queues.DEPTH, queue="ai"), int),
        preview_queue_depth=known(values.total(queues.DEPTH, queue="preview"), int),
        queues=[
            Queue(queue=queue, name=name, depth=known(value, int))
            for (queue, name), value in sorted(values.each(queues.DEPTH), key=lambda depth: depth[0])
        ],
        latency_seconds=Latencies(**{queue: _latency(values, queue) for queue in latency.TABLES}),
        preview_requests=Requests(
            **{window: known(values.value(previews.REQUESTS, window=window), int) for window in ai.REQUEST_WINDOWS}
        ),
        processing=Processing(jobs=known(jobs, int), seconds=known(seconds, float)),
    )


def _latency(values: Values, queue: str) -> Latency:
    return Latency(
        **{
            window: known(values.value(latency.LATENCY, queue=queue, window=window), float)
            for window in latency.WINDOWS
        }
    )


DOCUMENT = Document("queues", "Queues and jobs", Queues, build, CARDS, TABLES)
