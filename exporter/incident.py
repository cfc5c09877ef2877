"""Incidents: failed AI jobs and preview builds, as listed on the Analytics page.

An incident is made of a database row or a log line, and holds nothing else of them: no user, no project, no message.
Its values are restricted to closed sets and harmless characters, as labels are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from exporter.labels import clean, closed
from exporter.vocabulary import AI_ERROR_KINDS, PREVIEW_ERROR_KINDS

KEPT = 50
"""Number of incidents kept for the list."""

ERROR_KINDS = {"ai_error": AI_ERROR_KINDS, "preview_failure": PREVIEW_ERROR_KINDS}
"""The error kinds by kind of incident; any other kind is `other`."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure; `time` in microseconds since the epoch. A preview build has no provider and no model. `error_kind`
    is None where kinds of errors are not provided."""

    time: int
    kind: str
    job_id: str
    provider: str | None
    model: str | None
    error_kind: str | None

    @classmethod
    def of(
        cls, time: int, kind: str, job_id: object, provider: object = None, model: object = None, error: object = None
    ) -> Incident:
        """Make an incident of unchecked values."""
        is_ai = kind == "ai_error"
        return cls(
            time,
            kind,
            clean(str(job_id)) if isinstance(job_id, str | int) else clean(None),
            _cleaned(provider) if is_ai else None,
            _cleaned(model) if is_ai else None,
            closed(error if isinstance(error, str) else None, ERROR_KINDS[kind]),
        )


def newest(incidents: Iterable[Incident]) -> tuple[Incident, ...]:
    """Return the newest KEPT incidents, newest first."""
    return tuple(sorted(incidents, key=lambda incident: (-incident.time, incident.kind, incident.job_id))[:KEPT])


class _Line(msgspec.Struct, gc=False):
    ts: Any = None
    job_id: Any = None
    provider: Any = None
    model: Any = None
    error_kind: Any = None


_parse = msgspec.json.Decoder(_Line).decode


def from_line(line: bytes, kind: str) -> Incident | None:
    """Return the incident in a log line; None where the line has no valid time."""
    try:
        found = _parse(line)
        time = round(unix_time(found.ts) * 1_000_000)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return Incident.of(time, kind, found.job_id, found.provider, found.model, found.error_kind)


def unix_time(ts: Any) -> float:
    """Return a log line's `ts` in unix seconds: ISO 8601, UTC where it has no offset.

    Raises ValueError, TypeError or OverflowError on anything else.
    """
    at = datetime.fromisoformat(ts)
    return (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _cleaned(value: object) -> str | None:
    return clean(value) if isinstance(value, str) and value else None
