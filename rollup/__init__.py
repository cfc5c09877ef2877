"""The daily roll-up: writes `usage_analytics_daily`, a row a UTC day."""
