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
from exporter.doctor.run import Subject

POSTGRES = (
    *postgres.CHECKS,
    *rights.CHECKS,
    *columns.CHECKS,
    *words.CHECKS,
    *indexes.CHECKS,
    *refreshes.CHECKS,
)
"""The checks of PostgreSQL, the longest last."""

SUBJECTS = (
    Subject("settings", configuration.CHECKS),
    Subject("postgres", POSTGRES, "postgres"),
    Subject("redis", (*redis.CHECKS, *keys.CHECKS, *heartbeats.CHECKS), "redis"),
    Subject("logs", logs.CHECKS),
    Subject("state", state.CHECKS),
    Subject("prometheus", prometheus.CHECKS),
    Subject("grafana", grafana.CHECKS),
    Subject("admin", admin.CHECKS),
)
"""Every subject, in the order of the table. Those of one source stop at the first check that cannot pass."""
