"""Security headers on every response of the Analytics section, refusals included.

    server -> security headers (this) -> middleware -> routes

Grafana's pages need inline script: they get only the headers that do not break them, above all frame-ancestors. Headers
that a response has set itself stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette._utils import get_route_path  # as in middleware.py
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.access.middleware import GRAFANA

HSTS_SECONDS = 365 * 86_400

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "font-src": "'self'",
    "frame-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
}

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_OURS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """ASGI middleware; `frame_ancestors`: further origins that may show the pages in a frame."""

    def __init__(self, app: ASGIApp, frame_ancestors: Iterable[str] = ()) -> None:
        self._app = app
        ancestors = " ".join(["frame-ancestors 'self'", *frame_ancestors])
        policy = "; ".join(f"{directive} {value}" for directive, value in _POLICY.items())
        self._ours = {**_EVERYWHERE, **_OURS, "Content-Security-Policy": f"{policy}; {ancestors}"}
        self._ancestors = ancestors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_grafana = get_route_path(scope).startswith(GRAFANA)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (_EVERYWHERE if is_grafana else self._ours).items():
                    headers.setdefault(name, value)
                if is_grafana:  # besides a policy of Grafana's: both apply
                    headers.append("Content-Security-Policy", self._ancestors)
                if scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", f"max-age={HSTS_SECONDS}")
            await send(message)

        await self._app(scope, receive, send_with_headers)
