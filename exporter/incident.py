"""What went wrong for whom it was asked of: a failed AI job or preview build, as the Analytics page lists it (spec §4
"Recent system incidents").

A database row or a log line becomes one, and nothing else of either goes on: no user, no project, no message. What
remains is cut to closed sets and to harmless characters, as labels are.
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
"""How many are kept: what somebody may read."""

ERROR_KINDS = {"ai_error": AI_ERROR_KINDS, "preview_failure": PREVIEW_ERROR_KINDS}
"""What may be said of why, by the kind of incident; the rest is `other`."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure; `time` in microseconds since the epoch. A preview build has no provider and no model."""

    time: int
    kind: str
    job_id: str
    provider: str | None
    model: str | None
    error_kind: str

    @classmethod
    def of(
        cls, time: int, kind: str, job_id: object, provider: object = None, model: object = None, error: object = None
    ) -> Incident:
        """An incident of values that may be anything."""
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
    """The newest few of them, newest first."""
    return tuple(sorted(incidents, key=lambda incident: (-incident.time, incident.kind, incident.job_id))[:KEPT])


class _Line(msgspec.Struct, gc=False):
    ts: Any = None
    job_id: Any = None
    provider: Any = None
    model: Any = None
    error_kind: Any = None


_parse = msgspec.json.Decoder(_Line).decode


def from_line(line: bytes, kind: str) -> Incident | None:
    """The incident a log line tells of; None where it does not say when that was."""
    try:
        found = _parse(line)
        time = round(unix_time(found.ts) * 1_000_000)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return Incident.of(time, kind, found.job_id, found.provider, found.model, found.error_kind)


def unix_time(ts: Any) -> float:
    """A log line's `ts` in unix seconds: ISO 8601, UTC unless it says otherwise.

    Raises ValueError, TypeError or OverflowError on anything else.
    """
    at = datetime.fromisoformat(ts)
    return (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _cleaned(value: object) -> str | None:
    return clean(value) if isinstance(value, str) and value else None
