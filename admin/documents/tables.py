"""The two tables: `/tables/*`, and the tables of the page.

No document but the table of top users shows anything of a single user (docs/definitions.md#access).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from admin.documents.cards import POSTGRES, ColumnType, Meaning, TableCard, TableColumn
from admin.documents.models import Model, Status, status_of
from admin.documents.values import Values, iso
from exporter import incident
from exporter.collectors import incidents, logs, top_users
from exporter.inputs import Need
from presentation.label_styles import INCIDENT_KINDS

TOP_USERS = TableCard(
    "top-users",
    "Top 20 AI users",
    Meaning(
        "The 20 users with the most AI requests. Last seen: the latest activity of any kind.",
        "the last 7 days",
        POSTGRES,
    ),
    "tables/top-users/rows",
    (
        TableColumn("user_id", "User id"),
        TableColumn("user", "User"),
        TableColumn("plan", "Plan", styles="plans"),
        TableColumn("last_seen", "Last seen", "time"),
        TableColumn("ai_requests_7d", "Requests (7 d)", "number"),
    ),
    "No AI requests in the last 7 days",
    ("user", "plan", "last_seen", "ai_requests_7d"),
    has_csv=True,
)

INCIDENTS = TableCard(
    "incidents",
    "Recent incidents",
    Meaning(
        f"The newest {incident.KEPT} failed AI jobs and preview builds. Those with the same error are one row: the"
        " latest time, their number among these, and the first time. While PostgreSQL is down, failures in the logs are"
        " added.",
        "the last 7 days, or the range selected above the table",
        f"{POSTGRES}; the logs while it is down",
    ),
    "tables/incidents/rows",
    (
        TableColumn("time", "Time", "time"),
        TableColumn("kind", "Kind", styles="incidents", has_runbook=True),
        TableColumn("job_id", "Job", is_code=True),
        TableColumn("provider", "Provider", needs=(Need(("ai_usage_events.provider",)),)),
        TableColumn("model", "Model", needs=(Need(("ai_usage_events.model",)),)),
        TableColumn(
            "error_kind",
            "Error",
            styles="error_kinds",
            needs=(Need(("ai_usage_events.error_kind", "preview_jobs.error_kind")),),
        ),
    ),
    "No incidents in the last 7 days",
    ("time", "count", "first", "kind", "error_kind", "provider", "model", "job_id"),
    has_csv=True,
    equal_by=("kind", "error_kind", "provider", "model"),
    kinds=tuple((kind, style.title) for kind, style in INCIDENT_KINDS.items()),
    spans=("24h", "7d"),
)

INCIDENT_RUNBOOKS = {"ai_error": "HiveSyncAIErrorRatioHigh", "preview_failure": "HiveSyncPreviewFailureRatioHigh"}
"""The runbook by kind of incident."""

LOGS = (logs.AI, logs.PREVIEW)


class Column(Model):
    """One column of a table."""

    name: str
    label: str
    type: ColumnType
    status: Literal["ok", "not_provided"] = Field(description="not_provided: the column has no values from PostgreSQL.")
    input: str | None = Field(description="The input for want of which it is not provided, as in NOT_PROVIDED.")


class TopUser(Model):
    """One of the users with the most AI requests."""

    user_id: str
    user: str = Field(description="User name, or the e-mail address of a user without one.")
    plan: str
    last_seen: str | None
    ai_requests_7d: int


class TopUsers(Model):
    """The table of top users."""

    title: str
    status: Status
    sources: list[str]
    as_of: str | None
    columns: list[Column]
    rows: list[TopUser]


class Incident(Model):
    """One failure."""

    time: str
    kind: Literal["ai_error", "preview_failure"]
    job_id: str
    provider: str | None
    model: str | None
    error_kind: str | None


class Incidents(Model):
    """The table of incidents; `origin`: logs, while PostgreSQL is down and the logs have further ones."""

    title: str
    status: Status
    sources: list[str]
    as_of: str | None
    origin: Literal["postgres", "logs"]
    columns: list[Column]
    rows: list[Incident]


def build_top_users(values: Values) -> TopUsers:
    """The document; without rows before the first reading."""
    source = values.of_collector(top_users.TopUsers.name)
    return TopUsers(
        title=TOP_USERS.title,
        status=status_of(source),
        sources=list(source.sources),
        as_of=iso(source.as_of),
        columns=_columns(TOP_USERS, values),
        rows=[
            TopUser(
                user_id=row.user_id,
                user=row.user,
                plan=row.plan,
                last_seen=iso(_seconds(row.last_seen)),
                ai_requests_7d=row.ai_requests,
            )
            for row in values.content(top_users.TopUsers) or ()
        ],
    )


def build_incidents(values: Values) -> Incidents:
    """The document: the incidents of PostgreSQL and, while it is down, those that only the logs have.

    A failure is in both PostgreSQL and a log, under the same job id.
    """
    source = values.of_collector(incidents.Incidents.name)
    known = values.content(incidents.Incidents) or ()
    added = [] if source.ok else _only_in_logs(values, known)
    return Incidents(
        title=INCIDENTS.title,
        status=status_of(source),
        sources=[*source.sources, *(_sources_of_logs(values) if added else ())],
        as_of=iso(source.as_of),
        origin="logs" if added else "postgres",
        columns=_columns(INCIDENTS, values),
        rows=[
            Incident(
                time=iso(found.time / 1e6) or "",
                kind="ai_error" if found.kind == "ai_error" else "preview_failure",
                job_id=found.job_id,
                provider=found.provider,
                model=found.model,
                error_kind=found.error_kind,
            )
            for found in incident.newest([*known, *added])
        ],
    )


def _only_in_logs(values: Values, known: tuple[incident.Incident, ...]) -> list[incident.Incident]:
    ids = {(found.kind, found.job_id) for found in known}
    contents = [values.content(logs.LogCollector, log.collector) or () for log in LOGS]
    return [found for content in contents for found in content if (found.kind, found.job_id) not in ids]


def _sources_of_logs(values: Values) -> list[str]:
    return [source for log in LOGS for source in values.of_collector(log.collector).sources]


def _columns(table: TableCard, values: Values) -> list[Column]:
    return [
        Column(
            name=column.name,
            label=column.label,
            type=column.type,
            status="not_provided" if lacking else "ok",
            input=lacking,
        )
        for column in table.columns
        for lacking in (values.lacking(*column.needs),)
    ]


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6


@dataclass(frozen=True, slots=True)
class TableDocument:
    """A table with its model and its builder."""

    card: TableCard
    model: type[TopUsers | Incidents]
    build: Callable[[Values], TopUsers | Incidents]


TABLES: tuple[TableDocument, ...] = (
    TableDocument(TOP_USERS, TopUsers, build_top_users),
    TableDocument(INCIDENTS, Incidents, build_incidents),
)
