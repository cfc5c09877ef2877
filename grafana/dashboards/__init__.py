"""Every dashboard, by the name of its file; each module here is a dashboard, and a test keeps it so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from grafana.dashboards import analytics, embedded, operations
from grafana.sdk import dashboard

DASHBOARDS: Mapping[str, Callable[[], dashboard.Dashboard]] = {
    "hivesync-analytics.json": analytics.build,
    "hivesync-embedded.json": embedded.build,
    "hivesync-operations.json": operations.build,
}
