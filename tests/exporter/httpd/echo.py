"""An application that answers with the parts of the request, and its server."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from exporter.httpd.ready import READY
from tests.serving import Client, Serving

LONG = b"x" * 1_000_000


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Method, path and two headers. `/long` and `/huge` are long, `/fault` fails, `/body` reads the body, `/ready` is
    answered from memory the next time."""
    path = scope["path"]
    if path in ("/long", "/huge"):
        await Response(LONG if path == "/long" else LONG * 20)(scope, receive, send)
        return
    if path == "/fault":
        raise ValueError("a secret")
    if path == "/body":
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        await Response(str(size))(scope, receive, send)
        return
    if path == "/ready":
        scope["state"][READY] = lambda: b"content-length: 4\r\nx-extra: 1\r\n\r\nkept"
    headers = {
        name: b", ".join(value.strip() for key, value in scope["headers"] if key == name).decode("latin-1")
        for name in (b"accept", b"accept-encoding")
    }
    text = f"{scope['method']} {path} {headers[b'accept']}|{headers[b'accept-encoding']}"
    await Response(text, headers={"x-extra": "1"}, media_type="text/plain")(scope, receive, send)


def lives(server: Serving) -> bool:
    """Whether the server answers another client."""
    with Client(server) as other:
        return other.ask("/life").body == b"GET /life |"
