"""The list of open sessions, and their end: for an admin on the page, and for `python -m exporter sessions`.

    middleware -> session list (this) -> sessions
    control socket -> session list (this)

`GET sessions` is a page for a browser, and JSON for a program. `POST sessions/end` takes a form, `session=NAME` or
`all=true`. The names of sessions are no secrets: see `Session.name`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from admin.access.authentication import Access
from admin.access.forms import Rejected, read_form
from admin.access.middleware import SESSIONS, SESSIONS_END, names_html
from admin.access.sessions import Sessions
from admin.problem import VARY, problem
from exporter.errors import StateError

_log = structlog.get_logger()

TO_SESSIONS = "../sessions"
"""Relative to SESSIONS_END."""


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session as it is shown; times in UTC."""

    session: str
    opened_at: str
    ends_at: str
    via: str
    address: str
    current: bool = False


RenderSessions = Callable[[Request, Sequence[ListedSession]], str]
"""The page of the sessions."""


def listed(sessions: Sessions, current: frozenset[str] = frozenset()) -> list[ListedSession]:
    """The open sessions, the oldest first; `current`: the ids of the sender's own."""
    return [
        ListedSession(one.name, _utc(one.opened_at), _utc(one.ends_at), one.via, one.address, one.id in current)
        for one in sessions.all()
    ]


async def end(sessions: Sessions, name: str | None, by: str) -> int:
    """End the sessions of that name, or all for None; their number."""
    ended = [session for session in sessions.all() if name in (None, session.name)]
    if ended:
        sessions.end(ended)
        for session in ended:
            _log.info("admin.session.ended", session=session.name, by=by)
        await sessions.keep()
    return len(ended)


class SessionCommands:
    """The handlers of `python -m exporter sessions`; results as its text."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def list(self) -> str:
        """A line for each open session."""
        rows = [("SESSION", "LOGIN", "ENDS", "WITH", "ADDRESS")]
        rows += [(one.session, one.opened_at, one.ends_at, one.via, one.address) for one in listed(self._sessions)]
        if len(rows) == 1:
            return "no open sessions"
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    async def end(self, name: str) -> str:
        """End the session of that name. Raises StateError without one."""
        if not await end(self._sessions, name, "command"):
            raise StateError(f"no open session has the name {name[:40]!r}: see python -m exporter sessions")
        return f"session {name} has ended"

    async def end_all(self) -> str:
        """End all sessions."""
        return f"{await end(self._sessions, None, 'command')} sessions have ended"


def session_routes(access: Access, render: RenderSessions) -> list[BaseRoute]:
    """The routes, behind the middleware."""
    routes = _Routes(access, render)
    return [
        Route(SESSIONS, routes.show, methods=["GET"], name="sessions"),
        Route(SESSIONS_END, routes.end, methods=["POST"], name="end_sessions"),
    ]


class _Routes:
    def __init__(self, access: Access, render: RenderSessions) -> None:
        self._access = access
        self._render = render

    async def show(self, request: Request) -> Response:
        current = frozenset(session.id for session in self._access.sessions_of(request.scope))
        sessions = listed(self._access.sessions, current)
        headers = {"Cache-Control": "no-store", "Vary": VARY}
        if names_html(request.scope):
            return HTMLResponse(self._render(request, sessions), headers=headers)
        content = {"sessions": [asdict(session) for session in sessions]}
        return Response(orjson.dumps(content), headers=headers, media_type="application/json")

    async def end(self, request: Request) -> Response:
        try:
            form = await read_form(request)
        except Rejected as rejected:
            return problem(rejected.status)
        name, everything = form.get("session"), form.get("all") == "true"
        if bool(name) == everything:
            return problem(400, detail="Either session=NAME or all=true is required.")
        await end(self._access.sessions, None if everything else name, "page")
        return RedirectResponse(TO_SESSIONS, 303, {"Cache-Control": "no-store"})


def _utc(seconds: float) -> str:
    """To the minute, as in `2026-01-31 09:05Z`; a session of years does not occur."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
