"""HiveSync Analytics, charts of the page: the panels that the Analytics page embeds in frames, by URL.

They are those of HiveSync Analytics without title, definition, legend and background, all of which the page has. Their
time range is that of the URL.
"""

from __future__ import annotations

from grafana.chart_panels import START_OF_RANGE, ai_latency, ai_requests, daily_users, users_by_plan
from grafana.layout import assemble
from grafana.sdk import dashboard
from presentation.panels import ANALYTICS, Embedded

DESCRIPTION = (
    "The charts of the Analytics page, which has their titles and definitions. For people: HiveSync Analytics."
)


def build() -> dashboard.Dashboard:
    """Build the dashboard."""
    drawn = [
        ai_requests(Embedded.AI_REQUESTS),
        daily_users(Embedded.DAU, after=START_OF_RANGE),
        users_by_plan(Embedded.USERS_BY_PLAN),
        ai_latency(Embedded.AI_LATENCY),
    ]
    return assemble(Embedded, DESCRIPTION, drawn, since="now-24h", others=[ANALYTICS])
