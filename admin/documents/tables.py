"""The two tables of the specification's §4 (contract §3, `/tables/*`)."""

from __future__ import annotations

from admin.documents.models import Column, Incident, Incidents, TopUser, TopUsers
from admin.documents.values import Reading, iso
from exporter.collectors import incidents as failures
from exporter.collectors import logs
from exporter.collectors import top_users as most_active
from exporter.incident import newest

TOP_USERS = (
    Column(name="user_id", label="User id", type="text"),
    Column(name="user", label="User", type="text"),
    Column(name="plan", label="Plan", type="text"),
    Column(name="last_seen", label="Last seen", type="time"),
    Column(name="ai_requests_7d", label="AI requests, 7 days", type="number"),
)
INCIDENTS = (
    Column(name="time", label="Time", type="time"),
    Column(name="kind", label="Kind", type="text"),
    Column(name="job_id", label="Job", type="text"),
    Column(name="provider", label="Provider", type="text"),
    Column(name="model", label="Model", type="text"),
    Column(name="error_kind", label="Error", type="text"),
)


LOGS = (logs.AI, logs.PREVIEW)


def top_users(reading: Reading) -> TopUsers:
    """`/tables/top-users`: as last read, empty before that."""
    source = reading.of_collector("top_users")
    rows = reading.content(most_active.TopUsers)
    return TopUsers(
        title="Top 20 by AI usage",
        status="ok" if source.ok else "degraded",
        sources=list(source.sources),
        as_of=iso(source.as_of),
        columns=list(TOP_USERS),
        rows=[
            TopUser(
                user_id=row.user_id,
                user=row.user,
                plan=row.plan,
                last_seen=iso(_seconds(row.last_seen)),
                ai_requests_7d=row.ai_requests,
            )
            for row in rows or ()
        ],
    )


def incidents(reading: Reading) -> Incidents:
    """`/tables/incidents`: from PostgreSQL; while it cannot be asked, what it said last and what the logs told since.

    A failure is in both: what the log collectors came by before PostgreSQL's last answer is left out."""
    source = reading.of_collector("incidents")
    known = reading.content(failures.Incidents) or ()
    told = [] if source.ok else [i for log in LOGS for i in reading.content(logs.LogCollector, log.collector) or ()]
    ids = {(incident.kind, incident.job_id) for incident in known}
    added = [incident for incident in told if (incident.kind, incident.job_id) not in ids]
    of_logs = [source for log in LOGS for source in reading.of_collector(log.collector).sources] if added else []
    return Incidents(
        title="Recent incidents",
        status="ok" if source.ok else "degraded",
        sources=[*source.sources, *of_logs],
        as_of=iso(source.as_of),
        origin="logs" if added else "postgres",
        columns=list(INCIDENTS),
        rows=[
            Incident(
                time=iso(incident.time / 1e6) or "",
                kind="ai_error" if incident.kind == "ai_error" else "preview_failure",
                job_id=incident.job_id,
                provider=incident.provider,
                model=incident.model,
                error_kind=incident.error_kind,
            )
            for incident in newest([*known, *added])
        ],
    )


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
