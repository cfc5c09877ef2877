"""Requests to an ASGI application without a server: the same scopes as a server's, from any address.

answer = ask(app, "/summary", headers={"X-API-Key": "k"})
assert answer.status == 401
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from starlette.types import ASGIApp, Message, Scope

ROOT = "/admin/analytics"
CLIENT = ("192.0.2.7", 40_000)

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """A whole response; names of headers in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header, or None; fails for a repeated header."""
        found = self.all(name)
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        """All headers of that name."""
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


def scope_of(
    path: str,
    method: str = "GET",
    headers: Headers = (),
    *,
    root_path: str = ROOT,
    client: tuple[str, int] | None = CLIENT,
    scheme: str = "http",
) -> dict[str, Any]:
    """The scope of a request for `root_path` + `path`, as uvicorn makes it for a mounted application."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", "admin.example"))
    raw, _, query = (root_path + path).partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
        "raw_path": raw.encode("latin-1"),
        "root_path": root_path,
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": client,
        "server": ("127.0.0.1", 10178),
        "state": {},
    }


def ask(app: ASGIApp, path: str, method: str = "GET", headers: Headers = (), body: bytes = b"", **scope: Any) -> Answer:
    """Send a request and read the whole response: in a thread, as a browser's test has an event loop in this one."""
    work = exchange(app, scope_of(path, method, headers, **scope), body)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def exchange(app: ASGIApp, scope: Scope, body: bytes = b"") -> Answer:
    """The response to a request with that scope."""
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    outgoing: list[Message] = []

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await asyncio.Event().wait()  # the client stays connected
        raise AssertionError

    async def send(message: Message) -> None:
        outgoing.append(message)

    await app(scope, receive, send)
    start, *rest = outgoing
    assert start["type"] == "http.response.start"
    assert rest, "the answer has no end"
    assert not rest[-1].get("more_body", False)
    return Answer(
        start["status"],
        [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]],
        b"".join(message.get("body", b"") for message in rest),
    )
