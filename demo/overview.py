"""The demo in a few lines: a table of its processes at the start, then repeatedly the exporter's main numbers."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

HEADINGS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "online users": ("hivesync_online_users", {}),
    "AI requests in the last hour": ("hivesync_ai_requests_in_window", {"window": "1h"}),
    "waiting: AI": ("hivesync_queue_depth", {"queue": "ai"}),
    "previews": ("hivesync_queue_depth", {"queue": "preview"}),
    "AI log lines": ("hivesync_log_lines_total", {"log": "ai-events"}),
}


def status(exposition: str) -> str:
    """Return the main metrics in one line, with a dash for an absent metric."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            for heading, (name, labels) in HEADINGS.items():
                if sample.name == name and labels.items() <= sample.labels.items():
                    totals[heading] = totals.get(heading, 0) + sample.value
    shown = ((heading, f"{totals[heading]:.0f}" if heading in totals else "–") for heading in HEADINGS)
    return ", ".join(f"{heading} {value}" for heading, value in shown)


def aligned(rows: Mapping[str, str]) -> str:
    """Return the rows as two aligned columns."""
    width = max(map(len, rows))
    return "\n".join(f"  {label:<{width}}  {value}" for label, value in rows.items())
