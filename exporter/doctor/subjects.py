"""Every subject and its checks, in the order of the table."""

from __future__ import annotations

from exporter.doctor import (
    admin,
    columns,
    configuration,
    grafana,
    heartbeats,
    indexes,
    keys,
    logs,
    postgres,
    prometheus,
    redis,
    refreshes,
    rights,
    state,
    words,
)
from exporter.doctor.run import CheckGroup

POSTGRES = (
    *postgres.CHECKS,
    *rights.CHECKS,
    *columns.CHECKS,
    *words.CHECKS,
    *indexes.CHECKS,
    *refreshes.CHECKS,
    *heartbeats.OF_POSTGRES,
)
"""The checks of PostgreSQL, the longest last."""

SUBJECTS = (
    CheckGroup("settings", configuration.CHECKS),
    CheckGroup("postgres", POSTGRES, "postgres"),
    CheckGroup("redis", (*redis.CHECKS, *keys.CHECKS, *heartbeats.CHECKS), "redis"),
    CheckGroup("logs", logs.CHECKS),
    CheckGroup("state", state.CHECKS),
    CheckGroup("prometheus", prometheus.CHECKS),
    CheckGroup("grafana", grafana.CHECKS),
    CheckGroup("admin", admin.CHECKS),
)
"""Every subject, in the order of the table. Those of one source stop at the first check that cannot pass."""
