"""The receiver of the demo's Alertmanager: a webhook that prints each alert in one line, as a chat channel would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import orjson

from servers.ports import LOOPBACK, free_port


@contextmanager
def listening(note: Callable[[str], None]) -> Iterator[str]:
    """Provide the webhook's URL; `note` gets a line for every alert that begins or ends."""

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is http.server's
            message = orjson.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
            for alert in message["alerts"]:
                note(line(alert))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer((LOOPBACK, free_port()), Receive) as server:
        thread = Thread(target=server.serve_forever, name="alerts", daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def line(alert: Mapping[str, Any]) -> str:
    """Return one alert of Alertmanager's message as a line for people."""
    labels, says = alert["labels"], alert["annotations"].get("description", "")
    if alert["status"] == "firing":
        return f"ALERT {labels['alertname']} ({labels.get('severity', 'unknown')}): {says}"
    return f"alert {labels['alertname']} is over"
