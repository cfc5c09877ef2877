"""The metrics port: `/metrics` from bytes that are ready, health and readiness, and a landing page.

    exposition -> web (this), a bare ASGI application -> httpd, which sends its responses

No request does I/O or waits; `/-/healthy` depends on no source (a restart by a probe would not help).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from html import escape
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.exposition import Exposition, wants_openmetrics
from exporter.httpd.ready import READY
from exporter.version import REVISION, VERSION

METHODS = ("GET", "HEAD")
TEXT_TYPE = "text/plain; charset=utf-8"


class Response:
    """A response: made once, sent any number of times."""

    __slots__ = ("_body", "_start", "headers_and_body")

    def __init__(
        self, status: HTTPStatus, body: bytes, content_type: str = TEXT_TYPE, headers: Mapping[str, str] | None = None
    ) -> None:
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        self._start = {"type": "http.response.start", "status": status.value, "headers": lines}
        self._body = {"type": "http.response.body", "body": body}
        self.headers_and_body = b"".join((*(b"%s: %s\r\n" % line for line in lines), b"\r\n", body))

    async def send(self, send: Send) -> None:
        """Send it."""
        await send(self._start)
        await send(self._body)


def build_site(exposition: Callable[[], Exposition], ready: Callable[[], bool]) -> ASGIApp:
    """Build the application of the port; both parameters must answer from memory."""
    landing = Response(HTTPStatus.OK, _LANDING.encode(), "text/html; charset=utf-8")
    healthy = Response(HTTPStatus.OK, b"healthy\n")
    is_ready = Response(HTTPStatus.OK, b"ready\n")
    not_ready = Response(
        HTTPStatus.SERVICE_UNAVAILABLE, b"not ready: the first pass of the collectors is still under way\n"
    )
    not_found = Response(HTTPStatus.NOT_FOUND, b"Not Found\n")
    not_allowed = Response(
        HTTPStatus.METHOD_NOT_ALLOWED, b"Method Not Allowed\n", headers={"allow": ", ".join(METHODS)}
    )
    documents: dict[str, Callable[[Scope], Response]] = {
        "/": lambda _: landing,
        "/metrics": _Metrics(exposition).answer,
        "/-/healthy": lambda _: healthy,
        "/-/ready": lambda _: is_ready if ready() else not_ready,
    }

    async def site(scope: Scope, _receive: Receive, send: Send) -> None:
        document = documents.get(scope["path"])
        if document is None:
            await not_found.send(send)
        else:
            await (document(scope) if scope["method"] in METHODS else not_allowed).send(send)

    return site


class _Metrics:
    """The responses of the latest exposition, each made at its first request."""

    def __init__(self, exposition: Callable[[], Exposition]) -> None:
        self._exposition = exposition
        self._of: Exposition | None = None
        self._responses: dict[tuple[bool, bool], Response] = {}

    def answer(self, scope: Scope) -> Response:
        form = wants_openmetrics(_header(scope, b"accept")), accepts_gzip(_header(scope, b"accept-encoding"))
        if scope["method"] == "GET":
            scope["state"][READY] = lambda: self._current(form).headers_and_body
        return self._current(form)

    def _current(self, form: tuple[bool, bool]) -> Response:
        exposition = self._exposition()
        if exposition is not self._of:
            self._of, self._responses = exposition, {}
        response = self._responses.get(form)
        if response is None:
            response = self._responses[form] = _response(exposition, *form)
        return response


def _header(scope: Scope, name: bytes) -> str:
    """Return a header; several of that name are one list."""
    return b", ".join(value.strip() for key, value in scope["headers"] if key == name).decode("latin-1")


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
