"""The four charts of HiveSync Analytics, which the Analytics page embeds too (`dashboards/analytics.py`,
`dashboards/embedded.py`)."""

from __future__ import annotations

from exporter.collectors.ai import REQUESTS as AI_REQUESTS
from exporter.collectors.latency import LATENCY
from exporter.collectors.users import USERS
from grafana.drawing import SECONDS, about, bargauge, timeseries
from grafana.promql import max_by
from grafana.queries import SQL, PromQL
from grafana.sdk import dashboard
from presentation import colors, label_styles
from presentation.label_styles import QUEUES
from presentation.panels import Panel

FORTNIGHT = "(now() AT TIME ZONE 'UTC')::date - 14"
"""The day before fourteen UTC days, at any time range of the dashboard."""

START_OF_RANGE = "($__timeFrom()::timestamptz AT TIME ZONE 'UTC')::date"
"""The UTC day in which the time range begins: `now-30d` has the thirty days after it."""


def ai_requests(panel: Panel) -> dashboard.Panel:
    """Build the AI requests per hour."""
    return timeseries(
        panel,
        about(AI_REQUESTS, "Each point is for the hour before it."),
        PromQL(max_by(AI_REQUESTS, window="1h"), QUEUES["ai"].title),
        color=QUEUES["ai"].color,
        has_history=True,
    )


def daily_users(panel: Panel, after: str, last: str | None = None) -> dashboard.Panel:
    """Build the active users by UTC day, for the days `after` a day (in SQL); `last` fixes the time range."""
    return timeseries(
        panel,
        """Distinct users with a login, Live View join, AI request or preview request on each UTC day; the last
        point is today so far. Source: PostgreSQL (usage_analytics_daily), written by the roll-up.""",
        SQL(
            f"""
            SELECT date::timestamp AT TIME ZONE 'UTC' AS "time", dau AS "Active users"
            FROM usage_analytics_daily
            WHERE date > {after} AND date <= (now() AT TIME ZONE 'UTC')::date
            ORDER BY 1
            """
        ),
        color=colors.BLUE,
        points=True,
        utc=True,
        last=last,
    )


def users_by_plan(panel: Panel) -> dashboard.Panel:
    """Build the users by plan, as bars."""
    return bargauge(panel, about(USERS), PromQL(max_by(USERS, "plan"), "{{plan}}"), styles=label_styles.PLANS)


def ai_latency(panel: Panel) -> dashboard.Panel:
    """Build the mean latency of AI jobs."""
    return timeseries(
        panel,
        about(LATENCY, "AI jobs only; each point is for the hour before it."),
        PromQL(max_by(LATENCY, queue="ai", window="1h"), QUEUES["ai"].title),
        unit=SECONDS,
        color=QUEUES["ai"].color,
        has_history=True,
    )
