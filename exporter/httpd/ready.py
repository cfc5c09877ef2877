"""Responses that are ready in memory, for requests that come again byte for byte: a look-up and a write.

Prometheus sends the same bytes each time. An application that has answered one with bytes that it keeps says so in the
request's state, and the protocol asks it for the bytes of the next one without parsing, a task or a scope: about three
times the requests per second, and a third of the time that a scrape keeps the loop.

    scope["state"][READY] = lambda: current.fields_and_body
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

READY = "ready"
"""The key in a request's state."""

REQUESTS = 64
REQUEST_BYTES = 1024
"""Requests that are known, and their length."""

Ready = Callable[[], bytes]
"""Returns the headers, but Date, and the body of a response with the status 200."""


class _Known:
    """The response to one known request, joined once for each of its contents and for each Date."""

    __slots__ = ("_content", "_date", "_ready", "_whole")

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._content = self._date = self._whole = b""

    def response(self, date: bytes) -> bytes:
        content = self._ready()
        if content is not self._content or date is not self._date:
            self._content, self._date, self._whole = content, date, date + content
        return self._whole


class ReadyResponses:
    """The known requests of one port."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._date = b""

    def dated(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Set the first headers of the responses from now on."""
        self._date = STATUS_LINE[HTTPStatus.OK] + b"".join(b"%s: %s\r\n" % header for header in headers)

    def find(self, request: bytes) -> bytes | None:
        """Return the response to these bytes, or None."""
        known = self._known.get(request)
        return None if known is None else known.response(self._date)

    def learn(self, request: bytes, state: Mapping[str, Any]) -> None:
        """Note that these bytes, read between two requests, are one whole request, answered with this state."""
        ready = state.get(READY)
        if ready is None or len(request) > REQUEST_BYTES:
            return
        if len(self._known) >= REQUESTS:
            self._known.clear()
        self._known[request] = _Known(ready)
