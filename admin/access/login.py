"""Login and logout: the session's cookie for a credential or a one-time code. See docs/definitions.md#access.

    middleware -> login (this) -> sessions

`POST login` takes `{"token": ...}`, `{"api_key": ...}` or `{"code": ...}`: as JSON from the page's script, with a
response in JSON; from a form, so that it works without script, with pages. The credential is kept only while it is
checked, and is in no response and no log line.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from admin.access.authentication import Access, RateLimited, cookie_path, denied
from admin.access.middleware import LOGIN, LOGOUT, RenderLogin, login_page
from admin.access.rate_limit import client_address
from admin.access.tokens import Admin, Reason, Refusal
from admin.problem import problem

_log = structlog.get_logger()

BODY_BYTES = 16 * 1024
"""Twice the longest credential."""

BODY_SECONDS = 10.0
"""For the whole body."""

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
FIELDS = ("token", "api_key", "code")

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


class _Rejected(Exception):
    """A request without a credential; `status` is that of the response."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Login:
    def __init__(self, access: Access, render_login: RenderLogin) -> None:
        self._access = access
        self._render_login = render_login

    async def show(self, request: Request) -> Response:
        return login_page(self._render_login(request, False), 200)

    async def log_in(self, request: Request) -> Response:
        if not self._access.origins.is_own(request.scope):
            return problem(403, detail="The request comes from another origin.")
        try:
            field, credential = await _credential(request)
        except _Rejected as rejected:
            return problem(rejected.status)
        # No await from here on: no other attempt comes between the check of the count and the counting.
        outcome = self._check(request, field, credential)
        if isinstance(outcome, Admin):
            _log.info("admin.login.accepted", via=outcome.via)
            return self._with_cookie(request, _done(request, TO_PAGE), self._access.sessions.open())
        if isinstance(outcome, Refusal) and _is_form(request):
            return login_page(self._render_login(request, True), outcome.status, outcome)
        return denied(outcome)

    async def log_out(self, request: Request) -> Response:
        if not self._access.origins.is_own(request.scope):
            return problem(403, detail="The request comes from another origin.")
        while session := self._access.sessions.of(request.scope["headers"]):
            self._access.sessions.revoke(session)
            _log.info("admin.logout")
            await self._access.sessions.save()
        return self._with_cookie(request, _done(request, TO_LOGIN), None)

    def _check(self, request: Request, field: str, credential: str) -> Admin | Refusal | RateLimited:
        address = client_address(request.scope.get("client"))
        waiting = self._access.rate_limit.retry_after(address)
        if waiting and not self._access.sessions.of(request.scope["headers"]):
            self._access.rate_limit.log("admin.login.refused", address, "too_many")
            return RateLimited(waiting)
        outcome: Admin | Refusal
        if field == "code":
            outcome = Admin("code") if self._access.codes.redeem(credential) else Refusal(Reason.CODE)
        elif field == "token":
            outcome = self._access.authenticator.check_token(_encoded(credential))
        else:
            outcome = self._access.authenticator.check_api_key(_encoded(credential))
        if isinstance(outcome, Refusal):
            self._access.refused("admin.login.refused", address, outcome)
        return outcome

    def _with_cookie(self, request: Request, response: Response, value: str | None) -> Response:
        response.headers["Set-Cookie"] = self._access.sessions.cookie(cookie_path(request.scope), value)
        response.headers["Cache-Control"] = "no-store"
        return response


def _done(request: Request, goal: str) -> Response:
    """A redirect for a form; a script goes on by itself."""
    return RedirectResponse(goal, 303) if _is_form(request) else Response(status_code=204)


def _is_form(request: Request) -> bool:
    return _content_type(request) == FORM


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _encoded(credential: str) -> bytes:
    return credential.strip().encode("utf-8", "surrogatepass")


async def _credential(request: Request) -> tuple[str, str]:
    """The one of `FIELDS` that was sent, and its value. Raises _Rejected."""
    content_type = _content_type(request)
    if content_type not in (FORM, JSON):
        raise _Rejected(415)
    body = await _body(request)
    try:
        content: Any = orjson.loads(body) if content_type == JSON else dict(parse_qsl(body.decode(), max_num_fields=8))
    except ValueError:
        raise _Rejected(400) from None
    if not isinstance(content, dict):
        raise _Rejected(400)
    given = [(field, content[field]) for field in FIELDS if content.get(field)]
    if len(given) != 1 or not isinstance(given[0][1], str):
        raise _Rejected(400)
    return given[0]


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES:
                    raise _Rejected(413)
    except TimeoutError:
        raise _Rejected(408) from None
    except ClientDisconnect:
        raise _Rejected(400) from None
    return body
