"""The daily roll-up: writes `usage_analytics_daily`, a row per UTC day (docs/definitions.md#daily-roll-up)."""
