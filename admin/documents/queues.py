"""Queues and jobs: `/queues`, and its section of the page.

See docs/definitions.md#queue-depth, docs/definitions.md#waiting-job, docs/definitions.md#dead-letter,
docs/definitions.md#job-latency and docs/definitions.md#preview-request.
"""

from __future__ import annotations

from pydantic import Field

from admin.documents.cards import (
    BOTH,
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
from admin.documents.values import Value, Values, largest
from exporter.collectors import ai, dead_letters, jobs, latency, previews, queues, unacked
from presentation.label_styles import WINDOWS

NO_JOBS = "no jobs"
NONE_WAITS = "none"
NO_CELERY = "no Celery queue"

CARDS = (
    Card(
        "jobs",
        "Jobs that wait and run",
        Meaning(
            "Waiting: jobs in the queues or, where that is more, jobs with status queued, some of which workers have "
            "fetched already. Running: jobs with status running. Oldest: time since the creation of the job that has "
            "waited longest. With workers: messages that Celery's workers have fetched and not acknowledged.",
            "now",
            BOTH,
        ),
        (
            Number("AI waiting", "queues/jobs/ai/waiting"),
            Number("AI running", "queues/jobs/ai/running"),
            Number("AI oldest", "queues/jobs/ai/oldest_waiting_seconds", "seconds", NONE_WAITS),
            Number("Preview waiting", "queues/jobs/preview/waiting"),
            Number("Preview running", "queues/jobs/preview/running"),
            Number("Preview oldest", "queues/jobs/preview/oldest_waiting_seconds", "seconds", NONE_WAITS),
            Number("With workers", "queues/unacked/messages", empty=NO_CELERY),
            Number("With workers, oldest", "queues/unacked/oldest_seconds", "seconds", NONE_WAITS),
        ),
    ),
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
        Meaning("Jobs in each queue, without those that workers have fetched.", "now", REDIS),
        "queues/queues",
        (
            TableColumn("queue", "Kind", styles="queues"),
            TableColumn("name", "Queue", is_code=True),
            TableColumn("depth", "In the queue", "number"),
        ),
        "No queue is known: no key matches the settings AI_QUEUE_KEYS and PREVIEW_QUEUE_KEYS",
    ),
    TableCard(
        "dead-letters",
        "Dead letters",
        Meaning("Messages of jobs that were given up, in each list of dead letters.", "now", REDIS),
        "queues/dead_letters",
        (TableColumn("name", "List", is_code=True), TableColumn("messages", "Messages", "number")),
        "No list is known: no key matches the setting DEAD_LETTER_KEYS",
    ),
)


class Queue(Model):
    """The depth of one queue."""

    queue: str
    name: str
    depth: Count


class Jobs(Model):
    """Jobs of one queue that have not ended."""

    waiting: Count = Field(description="The larger of the queue's depth and the rows with status queued.")
    running: Count
    oldest_waiting_seconds: Amount = Field(description="Null while none waits.")


class JobsByQueue(Model):
    """Jobs by queue."""

    ai: Jobs
    preview: Jobs


class Unacked(Model):
    """Messages that Celery's workers have fetched and not acknowledged; null without a Celery queue."""

    messages: Count
    oldest_seconds: Amount


class DeadLetters(Model):
    """One list of dead letters."""

    name: str
    messages: Count


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
    jobs: JobsByQueue
    unacked: Unacked
    dead_letters: list[DeadLetters]
    latency_seconds: Latencies
    preview_requests: Requests
    processing: Processing


def build(values: Values) -> Queues:
    """The document."""
    processed, seconds = values.summary(queues.PROCESSING, queue="ai")
    return Queues(
        ai_queue_depth=known(values.total(queues.DEPTH, queue="ai"), int),
        preview_queue_depth=known(values.total(queues.DEPTH, queue="preview"), int),
        queues=[
            Queue(queue=queue, name=name, depth=known(value, int))
            for (queue, name), value in sorted(values.each(queues.DEPTH), key=lambda depth: depth[0])
        ],
        jobs=JobsByQueue(**{queue: _jobs(values, queue) for queue in jobs.TABLES}),
        unacked=Unacked(
            messages=known(values.value(unacked.UNACKED), int),
            oldest_seconds=known(_age(values.value(unacked.OLDEST), values.content(unacked.Unacked)), float),
        ),
        dead_letters=[
            DeadLetters(name=name, messages=known(value, int))
            for (name,), value in sorted(values.each(dead_letters.DEAD_LETTERS), key=lambda letters: letters[0])
        ],
        latency_seconds=Latencies(**{queue: _latency(values, queue) for queue in latency.TABLES}),
        preview_requests=Requests(
            **{window: known(values.value(previews.REQUESTS, window=window), int) for window in ai.REQUEST_WINDOWS}
        ),
        processing=Processing(jobs=known(processed, int), seconds=known(seconds, float)),
    )


def waiting(values: Values, queue: str) -> Value:
    """The jobs that wait: in the queue or, where that is more, as PostgreSQL knows them."""
    return largest(
        (values.value(jobs.JOBS, queue=queue, state="waiting"), values.total(queues.DEPTH, queue=queue)),
    )


def _jobs(values: Values, queue: str) -> Jobs:
    ages = dict(values.content(jobs.Jobs) or ())
    return Jobs(
        waiting=known(waiting(values, queue), int),
        running=known(values.value(jobs.JOBS, queue=queue, state="running"), int),
        oldest_waiting_seconds=known(_age(values.value(jobs.OLDEST, queue=queue), ages.get(queue)), float),
    )


def _age(time: Value, seconds: float | None) -> Value:
    """The age of an event, as of its reading and by its source's clock; a clock that is ahead gives 0."""
    return time.replaced(None if time.number is None or seconds is None else max(0.0, seconds))


def _latency(values: Values, queue: str) -> Latency:
    return Latency(
        **{
            window: known(values.value(latency.LATENCY, queue=queue, window=window), float)
            for window in latency.WINDOWS
        }
    )


DOCUMENT = Document("queues", "Queues and jobs", Queues, build, CARDS, TABLES)
