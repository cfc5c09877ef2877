"""Alerts on the demo's console."""

from __future__ import annotations

from http.client import HTTPConnection
from urllib.parse import urlsplit

import orjson

from demo.alerts import listening
from tests.waiting import patience

LABELS = {"alertname": "HiveSyncQueueBacklog", "severity": "warning", "queue": "ai"}


def test_each_alert_of_a_message_is_one_line() -> None:
    said: list[str] = []
    message = {
        "alerts": [
            {"status": "firing", "labels": LABELS, "annotations": {"description": "101 jobs are waiting."}},
            {"status": "resolved", "labels": LABELS, "annotations": {}},
        ]
    }
    with listening(said.append) as url:
        parts = urlsplit(url)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=patience())
        connection.request("POST", parts.path, orjson.dumps(message))
        assert connection.getresponse().status == 200
        connection.close()
    assert said == [
        "ALERT HiveSyncQueueBacklog (warning): 101 jobs are waiting.",
        "alert HiveSyncQueueBacklog is over",
    ]
