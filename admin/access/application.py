"""Authentication by the application in which the section is mounted: its own check decides at every request.

    security headers -> host access (this) -> routes, Grafana

The check is a dependency of FastAPI, or an async callable that takes the request. It is called for every request to
data, and nothing of it is kept: a user who has just lost the right is refused at the next request. Sessions, tokens and
keys of the section are not consulted, and there is no login. Access is denied by default: it takes a check that ends
without an exception and with a true value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette._utils import get_route_path  # the function that Starlette's router matches with
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.access.middleware import OF_SESSIONS, STATIC, refuse_web_socket, refused_effect, refused_method
from admin.access.origins import Origins
from admin.problem import problem

Check = Callable[..., Any]
"""A dependency of FastAPI, or an async callable that takes the request."""

_ALLOWED = 204
_STATUSES = frozenset(status.value for status in HTTPStatus)

NOT_ADMIN = "The application does not allow this user."


class ApplicationCheck:
    """The host's check, called in the way FastAPI calls dependencies."""

    def __init__(self, check: Check | params.Depends) -> None:
        """Raises TypeError for an object that cannot be called."""
        self.host: FastAPI | None = None
        dependency = check if isinstance(check, params.Depends) else Depends(_dependency(check))

        async def endpoint(allowed: Any) -> Response:
            return Response(status_code=_ALLOWED if allowed else 403)

        endpoint.__annotations__["allowed"] = Annotated[Any, dependency]
        self._app = APIRoute("/", endpoint, response_model=None, dependency_overrides_provider=self).app

    @property
    def dependency_overrides(self) -> Mapping[Callable[..., Any], Callable[..., Any]]:
        """The dependencies that the host replaces, in its tests for example."""
        return self.host.dependency_overrides if self.host else {}

    async def refusal(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the refusal of a request, None for one that is allowed.

        Status and headers of the check's HTTPException are kept. Any other exception is the host's, which handles and
        logs it: it is raised.
        """
        answers: list[Message] = []

        async def send(message: Message) -> None:
            answers.append(message)

        async with AsyncExitStack() as files:
            # Without the host's handlers, exceptions of the check arrive here.
            own = {
                **scope,
                "starlette.exception_handlers": ({}, {}),
                "fastapi_middleware_astack": files,
            }
            try:
                await self._app(own, receive, send)
            except HTTPException as refused:
                if refused.status_code < 400:  # a redirect to the host's login
                    return Response(status_code=refused.status_code, headers=refused.headers)
                detail = refused.detail if isinstance(refused.detail, str) else ""
                title = None if refused.status_code in _STATUSES else "Refused"
                return problem(refused.status_code, title, detail, refused.headers)
            except RequestValidationError:  # a header or cookie that the check requires is missing
                return problem(401, detail="A credential of the application is required.")
        return None if answers and answers[0]["status"] == _ALLOWED else problem(403, detail=NOT_ADMIN)


class ApplicationAccessMiddleware:
    """ASGI middleware around all routes of a section that is mounted with the host's check."""

    def __init__(self, app: ASGIApp, check: ApplicationCheck, origins: Origins) -> None:
        self._app = app
        self._check = check
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = await self._refusal(scope, receive) or self._app
            await answer(scope, receive, send)
        else:
            await refuse_web_socket(receive, send)

    async def _refusal(self, scope: Scope, receive: Receive) -> Response | None:
        path = get_route_path(scope)
        if path in OF_SESSIONS:
            return problem(404)
        if path.startswith(STATIC):
            return refused_method(scope)
        if refusal := await self._check.refusal(scope, receive):
            return refusal
        has_cookie = any(name == b"cookie" for name, _ in scope["headers"])
        return refused_effect(scope, self._origins, with_cookie=has_cookie)


def _dependency(check: Check) -> Check:
    """Return a dependency for a check; FastAPI knows the request by its annotation, which a callable may lack."""
    if not callable(check):
        raise TypeError(f"allow should be a dependency of FastAPI or an async callable, not {type(check).__name__}")
    parameters = list(inspect.signature(check).parameters.values())
    empty = inspect.Parameter.empty
    if len(parameters) != 1 or parameters[0].annotation is not empty or parameters[0].default is not empty:
        # FastAPI resolves annotations that are strings in the globals of a function, which an object does not have.
        method: Check = getattr(check, "__call__", check)  # noqa: B004 - of the object, not of its class
        is_object = not hasattr(check, "__globals__") and not inspect.isclass(check)
        return method if is_object and hasattr(method, "__globals__") else check

    async def ask(request: Request) -> object:
        answer = check(request)
        return await answer if inspect.isawaitable(answer) else answer

    return ask
