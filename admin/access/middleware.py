"""The middleware that admits requests of admins only, to every route behind it.

    security headers -> middleware (this) -> routes, Grafana         (application.py in its place: the host's check)

Access is denied by default. Open are the login, the logout and the static files of the login page; none holds data. The
path is taken as the router takes it, so that the two always agree, on the admin port and mounted in an application.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette._utils import get_route_path  # the function that Starlette's router matches with
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from admin.access.authentication import Access, RateLimited, denied
from admin.access.origins import Origins
from admin.access.tokens import Admin, Reason, Refusal
from admin.grafana import paths
from admin.grafana.paths import READ_METHODS, Decision
from admin.problem import VARY, problem

LOGIN, LOGOUT, STATIC, GRAFANA = "/login", "/logout", "/static/", "/grafana/"
SESSIONS, SESSIONS_END = "/sessions", "/sessions/end"
PAGE = ("", "/")
OF_SESSIONS = (LOGIN, LOGOUT, SESSIONS, SESSIONS_END)
"""The paths that a section without sessions of its own does not have."""

_OPEN = (LOGIN, LOGOUT)
_METHODS = {LOGIN: (*READ_METHODS, "POST"), LOGOUT: ("POST",), SESSIONS_END: ("POST",)}
"""The methods of the paths that are more than read."""

POLICY_VIOLATION = 1008
"""The close code of refused WebSockets (RFC 6455)."""

NOT_CONFIGURED = (
    "No admin credential is configured. Set HIVESYNC_ADMIN_JWT_SECRET, HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE or"
    " HIVESYNC_ADMIN_API_KEY, and restart."
)

RenderLogin = Callable[[Request, bool], str]
"""The login page; the flag is true after a failed login."""


class AccessMiddleware:
    """ASGI middleware around all routes of the Analytics section."""

    def __init__(self, app: ASGIApp, access: Access, render_login: RenderLogin) -> None:
        self._app = app
        self._access = access
        self._render_login = render_login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its sender in `state.admin`, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._check(scope)
            if isinstance(answer, Response):
                await answer(scope, receive, send)
            else:
                await self._app(answer, receive, send)
        else:
            await refuse_web_socket(receive, send)

    def _check(self, scope: Scope) -> Response | Scope:
        """The scope to pass on, or the refusal."""
        path = get_route_path(scope)
        if not self._access.authenticator.configured:
            return problem(503, detail=NOT_CONFIGURED)
        if path.startswith(STATIC) or path in _OPEN:
            return refused_method(scope) or scope
        outcome = self._access.authenticate(scope)
        if not isinstance(outcome, Admin):
            return self._deny(scope, path, outcome)
        if refusal := refused_effect(scope, self._access.origins, with_cookie=outcome.via == "session"):
            return refusal
        return {**scope, "state": {**scope.get("state", {}), "admin": outcome}}

    def _deny(self, scope: Scope, path: str, outcome: Refusal | RateLimited) -> Response:
        """The login page (with status 401) for a browser that opens the page, otherwise a problem in JSON."""
        if (
            isinstance(outcome, Refusal)
            and outcome.reason is Reason.MISSING
            and path in (*PAGE, SESSIONS)
            and scope["method"] in READ_METHODS
            and names_html(scope)
        ):
            return login_page(self._render_login(Request(scope), False), 401, outcome)
        return denied(outcome)


async def refuse_web_socket(receive: Receive, send: Send) -> None:
    """Close a WebSocket before it is open: no route supports them."""
    await receive()  # the handshake
    await send({"type": "websocket.close", "code": POLICY_VIOLATION})


def refused_method(scope: Scope) -> Response | None:
    """The refusal of a method that the path does not support."""
    path, method = get_route_path(scope), scope["method"]
    methods = _METHODS.get(path, READ_METHODS)
    if method in methods or (method == "POST" and _asks_grafana(scope, path)):
        return None
    return problem(405, headers={"Allow": ", ".join(methods)})


def refused_effect(scope: Scope, origins: Origins, *, with_cookie: bool) -> Response | None:
    """The refusal of an admin's request by its method, or, as browsers send cookies with the requests of other pages
    too, by its origin."""
    if refusal := refused_method(scope):
        return refusal
    return origins.refusal(scope) if with_cookie and scope["method"] not in READ_METHODS else None


def login_page(body: str, status: int, refusal: Refusal | None = None) -> Response:
    """The login page as a response; not stored, as a cache would serve it in place of the page."""
    headers = {"Cache-Control": "no-store", "Vary": VARY}
    if refusal is not None:
        headers["WWW-Authenticate"] = refusal.challenge
    return HTMLResponse(body, status, headers)


def _asks_grafana(scope: Scope, path: str) -> bool:
    """Whether it is one of the POST requests that panels send."""
    if not path.startswith(GRAFANA):
        return False
    below = paths.below(scope, scope.get("root_path", "") + GRAFANA)
    return below is not None and paths.decide("POST", below) in (Decision.PASS, Decision.EMPTY)


def names_html(scope: Scope) -> bool:
    """Whether the Accept header names HTML: browsers do for a page; programs that accept anything do not."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    return any(offer.partition(";")[0].strip().lower() == "text/html" for offer in accept.split(","))
