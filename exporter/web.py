"""The metrics port: `/metrics` from bytes that are ready, health and readiness, and a landing page.

No request does I/O or waits; `/-/healthy` depends on no source (a restart by a probe would not help). `exposition.py`
comes before it, `http1.py` sends its responses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from html import escape
from http import HTTPStatus

from exporter.exposition import Exposition, wants_openmetrics
from exporter.http1 import Answer, Request, Response, plain
from exporter.version import REVISION, VERSION

METHODS = ("GET", "HEAD")


def build_site(exposition: Callable[[], Exposition], ready: Callable[[], bool]) -> Answer:
    """Build the handler of the port; both parameters must answer from memory."""
    landing = Response(HTTPStatus.OK, _LANDING.encode(), "text/html; charset=utf-8")
    healthy = Response(HTTPStatus.OK, b"healthy\n")
    is_ready = Response(HTTPStatus.OK, b"ready\n")
    not_ready = Response(
        HTTPStatus.SERVICE_UNAVAILABLE, b"not ready: the first pass of the collectors is still under way\n"
    )
    not_allowed = Response(
        HTTPStatus.METHOD_NOT_ALLOWED, b"Method Not Allowed\n", headers={"allow": ", ".join(METHODS)}
    )
    documents: dict[bytes, Answer] = {
        b"/": lambda _: landing,
        b"/metrics": _Metrics(exposition).answer,
        b"/-/healthy": lambda _: healthy,
        b"/-/ready": lambda _: is_ready if ready() else not_ready,
    }

    def answer(request: Request) -> Response:
        document = documents.get(request.path)
        if document is None:
            return plain(HTTPStatus.NOT_FOUND)
        return document(request) if request.method in METHODS else not_allowed

    return answer


class _Metrics:
    """The responses of the latest exposition, each made at its first request."""

    def __init__(self, exposition: Callable[[], Exposition]) -> None:
        self._exposition = exposition
        self._of: Exposition | None = None
        self._responses: dict[tuple[bool, bool], Response] = {}

    def answer(self, request: Request) -> Response:
        exposition = self._exposition()
        if exposition is not self._of:
            self._of, self._responses = exposition, {}
        form = wants_openmetrics(request.accept), accepts_gzip(request.accept_encoding)
        response = self._responses.get(form)
        if response is None:
            response = self._responses[form] = _response(exposition, *form)
        return response


def _response(exposition: Exposition, openmetrics: bool, zipped: bool) -> Response:
    body = exposition.openmetrics if openmetrics else exposition.text
    headers = {"vary": "Accept, Accept-Encoding"}
    if zipped:
        return Response(HTTPStatus.OK, body.gzipped, body.content_type, headers | {"content-encoding": "gzip"})
    return Response(HTTPStatus.OK, body.plain, body.content_type, headers)


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header names gzip with a weight other than 0."""
    for offer in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "gzip":
            return not any(parameter.startswith("q=0") and not parameter.strip("q=0.") for parameter in parameters)
    return False


_LANDING = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>HiveSync Analytics exporter</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
</style>
</head>
<body>
<h1>HiveSync Analytics exporter</h1>
<p>Version {escape(VERSION)}, revision {escape(REVISION)}.</p>
<ul>
<li><a href="/metrics">/metrics</a>: the metrics, for Prometheus</li>
<li><a href="/-/healthy">/-/healthy</a>: whether the process lives</li>
<li><a href="/-/ready">/-/ready</a>: whether the first pass of the collectors is done</li>
</ul>
</body>
</html>
"""
