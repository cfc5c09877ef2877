"""Login and logout: the session's cookie for a credential or a one-time code. See docs/definitions.md#access.

    middleware -> login (this) -> sessions

`POST login` takes `{"token": ...}`, `{"api_key": ...}` or `{"code": ...}`: as JSON from the page's script, with a
response in JSON; from a form, so that it works without script, with pages. The credential is kept only while it is
checked, and is in no response and no log line.
"""

from __future__ import annotations

from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from admin.access.authentication import Access, cookie_path, denied
from admin.access.forms import FORM, JSON, Rejected, content_type, parse_form, read_body
from admin.access.middleware import LOGIN, LOGOUT, RenderLogin, login_page
from admin.access.rate_limit import client_address
from admin.access.tokens import Admin, Reason, Refusal
from admin.problem import problem

_log = structlog.get_logger()

FIELDS = ("token", "api_key", "code")

CLEARED = '"cache"'
"""Pages kept in memory for Back too. Not cookies and storage, which HiveSync may share with the section."""

TO_PAGE, TO_LOGIN = "./", "login"
"""Relative to the login, so that they hold wherever the section is mounted."""


def login_routes(access: Access, render_login: RenderLogin) -> list[BaseRoute]:
    """The routes that need no credential."""
    login = _Login(access, render_login)
    return [
        Route(LOGIN, login.show, methods=["GET"], name="login"),
        Route(LOGIN, login.log_in, methods=["POST"], name="log_in"),
        Route(LOGOUT, login.log_out, methods=["POST"], name="logout"),
    ]


class _Login:
    def __init__(self, access: Access, render_login: RenderLogin) -> None:
        self._access = access
        self._render_login = render_login

    async def show(self, request: Request) -> Response:
        return login_page(self._render_login(request, False), 200)

    async def log_in(self, request: Request) -> Response:
        if foreign := self._access.origins.refusal(request.scope):
            return foreign
        try:
            field, credential = await _credential(request)
        except Rejected as rejected:
            return problem(rejected.status)
        # No await until the outcome: no other attempt comes between the check of the count and the counting.
        outcome = self._access.limited("admin.login.refused", request.scope, self._check(field, credential))
        if isinstance(outcome, Admin):
            return await self._open(request, outcome)
        if isinstance(outcome, Refusal) and _is_form(request):
            return login_page(self._render_login(request, True), outcome.status, outcome)
        return denied(outcome)

    async def log_out(self, request: Request) -> Response:
        if foreign := self._access.origins.refusal(request.scope):
            return foreign
        address = client_address(request.scope.get("client"))
        ended = list(self._access.sessions_of(request.scope))
        for session in ended:
            _log.info("admin.logout", session=session.name, address=address)
        if ended:
            self._access.sessions.end(ended)
            await self._access.sessions.keep()
        response = self._with_cookie(request, _done(request, TO_LOGIN), None)
        response.headers["Clear-Site-Data"] = CLEARED
        return response

    async def _open(self, request: Request, admin: Admin) -> Response:
        """Open a session, in place of those that the browser has."""
        sessions, address = self._access.sessions, client_address(request.scope.get("client"))
        sessions.end(self._access.sessions_of(request.scope))
        value = sessions.open(admin.via, address, admin.ends_at)
        _log.info("admin.login.accepted", via=admin.via, address=address)
        await sessions.keep()
        return self._with_cookie(request, _done(request, TO_PAGE), value)

    def _check(self, field: str, credential: str) -> Admin | Refusal:
        if field == "code":
            return Admin("code") if self._access.codes.redeem(credential) else Refusal(Reason.CODE)
        if field == "token":
            return self._access.authenticator.check_token(_encoded(credential))
        return self._access.authenticator.check_api_key(_encoded(credential))

    def _with_cookie(self, request: Request, response: Response, value: str | None) -> Response:
        https = self._access.origins.is_https(request.scope)
        response.headers["Set-Cookie"] = self._access.sessions.cookie(cookie_path(request.scope), value, https=https)
        response.headers["Cache-Control"] = "no-store"
        return response


def _done(request: Request, goal: str) -> Response:
    """A redirect for a form; a script goes on by itself."""
    return RedirectResponse(goal, 303) if _is_form(request) else Response(status_code=204)


def _is_form(request: Request) -> bool:
    return content_type(request) == FORM


def _encoded(credential: str) -> bytes:
    return credential.strip().encode("utf-8", "surrogatepass")


async def _credential(request: Request) -> tuple[str, str]:
    """The one of `FIELDS` that was sent, and its value. Raises Rejected."""
    kind = content_type(request)
    if kind not in (FORM, JSON):
        raise Rejected(415)
    body = await read_body(request)
    content: Any = _parsed(body) if kind == JSON else parse_form(body)
    if not isinstance(content, dict):
        raise Rejected(400)
    given = [(field, content[field]) for field in FIELDS if content.get(field)]
    if len(given) != 1 or not isinstance(given[0][1], str):
        raise Rejected(400)
    return given[0]


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        raise Rejected(400) from None
