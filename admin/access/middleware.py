"""The door: nothing behind it is reached by anybody but an admin, whatever route is added there later.

    security headers -> door (this) -> routes, Grafana

It denies by default. Open are the login, the logout and the files that the login page needs; these hold no data. It
looks at the path as the router does, so that the two cannot be of two minds, and works the same on our own port and
mounted in HiveSync's application.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette._utils import get_route_path  # the very function that Starlette's router matches with
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from admin.access.authentication import Access, TooMany, denied
from admin.access.tokens import Admin, Reason, Refusal
from admin.grafana import paths as grafana_paths
from admin.grafana.paths import Decision
from admin.problem import VARY, problem

READING = ("GET", "HEAD")
LOGIN, LOGOUT, STATIC, GRAFANA = "/login", "/logout", "/static/", "/grafana/"
PAGE = ("", "/")

_METHODS = {LOGIN: (*READING, "POST"), LOGOUT: ("POST",)}
"""What is open to everybody, beside STATIC."""

POLICY_VIOLATION = 1008
"""Why a WebSocket is closed (RFC 6455)."""

NOT_CONFIGURED = (
    "No admin credential is configured. Set HIVESYNC_ADMIN_JWT_SECRET, HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE or"
    " HIVESYNC_ADMIN_API_KEY, and start again."
)

RenderLogin = Callable[[Request, bool], str]
"""The login page; the flag says that a login has just failed."""


class Door:
    """ASGI middleware around everything that the Analytics section has."""

    def __init__(self, app: ASGIApp, access: Access, render_login: RenderLogin) -> None:
        self._app = app
        self._access = access
        self._render_login = render_login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with `state.admin` saying who sent it, or answer in its place."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._check(scope)
            if isinstance(answer, Response):
                await answer(scope, receive, send)
            else:
                await self._app(answer, receive, send)
        else:
            await receive()  # the handshake; nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})

    def _check(self, scope: Scope) -> Response | Scope:
        """The scope to go on with, or the answer."""
        path, method = get_route_path(scope), scope["method"]
        if not self._access.authenticator.configured:
            return problem(503, detail=NOT_CONFIGURED)
        if path.startswith(STATIC) or path in _METHODS:
            methods = _METHODS.get(path, READING)
            return scope if method in methods else not_allowed(methods)
        outcome = self._access.admit(scope)
        if not isinstance(outcome, Admin):
            return self._deny(scope, path, outcome)
        if method not in READING and not (method == "POST" and _asks_grafana(scope, path)):
            return not_allowed(READING)
        if method == "POST" and outcome.via == "session" and not self._access.origins.is_own(scope):
            return problem(403, detail="This request comes from another page.")
        return {**scope, "state": {**scope.get("state", {}), "admin": outcome}}

    def _deny(self, scope: Scope, path: str, outcome: Refusal | TooMany) -> Response:
        """A person who opens the page gets the login page, still as a 401; everything else is told so in JSON."""
        if (
            isinstance(outcome, Refusal)
            and outcome.reason is Reason.MISSING
            and path in PAGE
            and scope["method"] in READING
            and _names_html(scope)
        ):
            return login_page(self._render_login(Request(scope), False), 401, outcome)
        return denied(outcome)


def not_allowed(methods: tuple[str, ...]) -> Response:
    """The section is read, not written."""
    return problem(405, headers={"Allow": ", ".join(methods)})


def login_page(body: str, status: int, refusal: Refusal | None = None) -> Response:
    """The login page as an answer; no cache keeps it in the place of what was asked for."""
    headers = {"Cache-Control": "no-store", "Vary": VARY}
    if refusal is not None:
        headers["WWW-Authenticate"] = refusal.challenge
    return HTMLResponse(body, status, headers)


def _asks_grafana(scope: Scope, path: str) -> bool:
    """Whether it is one of the few requests that panels send as a POST."""
    if not path.startswith(GRAFANA):
        return False
    below = grafana_paths.below(scope, scope.get("root_path", "") + GRAFANA)
    return below is not None and grafana_paths.decide("POST", below) in (Decision.PASS, Decision.EMPTY)


def _names_html(scope: Scope) -> bool:
    """Browsers name HTML when they open a page; programs that take anything do not."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    return any(offer.partition(";")[0].strip().lower() == "text/html" for offer in accept.split(","))
