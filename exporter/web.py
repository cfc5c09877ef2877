"""The metrics port: `/metrics` from bytes that are ready, health and readiness, and a page that says what this is.

No request does I/O or waits for anything; `/-/healthy` depends on no source (a probe that restarts us would help
nobody).
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter.exposition import Exposition
from exporter.version import REVISION, VERSION


def build_app(exposition: Callable[[], Exposition], ready: Callable[[], bool]) -> Starlette:
    """The application; both parameters answer from memory."""

    async def metrics(request: Request) -> Response:
        body = exposition().body(request.headers.get("accept", ""))
        headers = {"content-type": body.content_type, "vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(body.gzipped, headers=headers | {"content-encoding": "gzip"})
        return Response(body.plain, headers=headers)

    async def healthy(request: Request) -> Response:
        del request
        return PlainTextResponse("healthy\n")

    async def is_ready(request: Request) -> Response:
        del request
        if ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready: the first pass of the collectors is still under way\n", status_code=503)

    async def landing(request: Request) -> Response:
        del request
        return HTMLResponse(_LANDING)

    return Starlette(
        routes=[
            Route("/", landing),
            Route("/metrics", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", is_ready),
        ]
    )


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and not with a weight of 0."""
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
