"""Values of the same span before (docs/definitions.md#compared-with-before).

    exporter's windows (content of the view) -> before (this) -> summary, users, growth, ai, charts

They come of PostgreSQL's windows alone. What only Prometheus knows of the past (users online, depths of queues,
workers) has no value before.
"""

from __future__ import annotations

from admin.documents.values import Values
from exporter.collectors.activity import Activity
from exporter.collectors.charts import Charts, Hours
from exporter.collectors.growth import Growth

HOUR, DAY, WEEK = 60, 1440, 10_080
"""Minutes."""


def hours(values: Values) -> Hours | None:
    """The minutes of a week; None before the first reading, and while they are degraded."""
    return values.content(Charts) if values.of_collector(Charts.name).ok else None


def ai_requests(values: Values, span: int, before: int) -> float | None:
    """The AI requests in a span that ended `before` minutes before the last whole minute."""
    known = hours(values)
    return None if known is None else known.requests_in(span, before)


def active_users(values: Values, window: str) -> float | None:
    """The active users of the window before."""
    known = values.content(Activity)
    return None if known is None else known.daily if window == "24h" else known.monthly


def new_users(values: Values, window: str) -> float | None:
    """The new users of the window before."""
    known = values.content(Growth)
    return None if known is None else dict(known)[window]
