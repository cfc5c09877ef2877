"""Refusals as small pages, for browsers that show the response: in a frame or as a document.

    security headers, site -> refusal pages (this) -> middleware, routes, proxy

Programs and the page's modules get the problem in JSON (problem.py). Browsers name the use of a response
in Sec-Fetch-Dest, which no page can set.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.problem import PROBLEM_TYPE

SHOWN = frozenset({b"document", b"embed", b"frame", b"iframe", b"object"})
"""The values of Sec-Fetch-Dest of a response that the browser shows by itself."""

RenderRefusal = Callable[[str, int, str, str], str]
"""The page for: the section's path with a final slash, status, title and detail."""


class RefusalPages:
    """ASGI middleware that turns a problem into a page; `base`: the section's path, if not that of the request's
    mount."""

    def __init__(self, app: ASGIApp, render: RenderRefusal, base: str | None = None) -> None:
        self._app = app
        self._render = render
        self._base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and change its response if it is a problem."""
        if scope["type"] != "http" or scope["method"] == "HEAD" or not _is_shown(scope):
            await self._app(scope, receive, send)
            return
        base = self._base or f"{scope.get('root_path', '').rstrip('/')}/"
        await self._app(scope, receive, _Changed(send, self._render, base))


class _Changed:
    """The `send` of a request: holds a problem back until it is whole, and sends the page."""

    def __init__(self, send: Send, render: RenderRefusal, base: str) -> None:
        self._send = send
        self._render = render
        self._base = base
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page(self._start)

    async def _send_page(self, start: Message) -> None:
        status = start["status"]
        content: dict[str, Any] = orjson.loads(self._body)
        title = content.get("title") or HTTPStatus(status).phrase
        page = self._render(self._base, status, title, content.get("detail", "")).encode()
        headers = MutableHeaders(scope=start)
        headers["content-type"] = "text/html; charset=utf-8"
        headers["content-length"] = str(len(page))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": page, "more_body": False})


def _is_shown(scope: Scope) -> bool:
    return any(name == b"sec-fetch-dest" and value.strip().lower() in SHOWN for name, value in scope["headers"])


def _is_problem(start: Message) -> bool:
    types = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return types == [PROBLEM_TYPE.encode()]
