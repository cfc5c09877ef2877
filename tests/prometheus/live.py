"""The shipped configuration on running servers: with short durations, a webhook for alerts, and queries of their
APIs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from servers.ports import LOOPBACK
from tests.running import get
from tests.waiting import patience

HURRY = {
    r"(scrape_interval|evaluation_interval): \w+": r"\1: 250ms",
    r"\bfor: \w+": "for: 250ms",
    r"keep_firing_for: \w+": "keep_firing_for: 250ms",
    r"group_wait: \w+": "group_wait: 250ms",
    r"group_interval: \w+": "group_interval: 250ms",
}
"""Durations shortened in a copy of the configuration, so that a test need not wait for them. Ranges of rates,
thresholds and all expressions stay as they are."""


def hasten(folder: Path) -> Path:
    """Shorten the durations in a folder; returns the folder."""
    changed = 0
    for path in (folder / "prometheus.yml", folder / "alertmanager.yml", folder / "rules" / "alerts.yml"):
        text = path.read_text()
        for duration, short in HURRY.items():
            text, times = re.subn(duration, short, text)
            changed += times
        path.write_text(text)
    assert changed > len(HURRY)
    return folder


def ask(server: str, path: str, **parameters: str) -> Any:
    """The data of a response of Prometheus' API."""
    status, _, body = get(f"{server}/api/v1/{path}?{urlencode(parameters)}")
    answer = orjson.loads(body)
    assert (status, answer["status"]) == (200, "success"), answer
    return answer["data"]


def query(server: str, promql: str) -> list[Any]:
    """The series of an instant query."""
    found: list[Any] = ask(server, "query", query=promql)["result"]
    return found


def alerts_of(server: str) -> list[Any]:
    """All alerts in Alertmanager, inhibited ones included."""
    status, _, body = get(f"{server}/api/v2/alerts")
    assert status == 200, body
    found: list[Any] = orjson.loads(body)
    return found


def raise_alerts(server: str, labels: Sequence[dict[str, str]]) -> None:
    """Send alerts to Alertmanager, as Prometheus does."""
    parts = urlsplit(server)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=patience())
    try:
        body = orjson.dumps([{"labels": each} for each in labels])
        connection.request("POST", "/api/v2/alerts", body, {"content-type": "application/json"})
        assert connection.getresponse().status == 200
    finally:
        connection.close()


class Webhook:
    """The receiver of notifications: keeps every alert of every message."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.alerts: list[Any] = []

    def told(self, status: str, **labels: str) -> list[Any]:
        """The received alerts of that status (`firing`, `resolved`) with these labels."""
        return [
            alert
            for alert in list(self.alerts)
            if alert["status"] == status and labels.items() <= alert["labels"].items()
        ]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that listens for the duration of the context."""

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name required by http.server
            message = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
            receiver.alerts += message["alerts"]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer((LOOPBACK, 0), Receive) as server:
        receiver = Webhook(f"http://{LOOPBACK}:{server.server_port}/alerts")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
