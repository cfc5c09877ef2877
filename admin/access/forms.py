"""The small bodies of logins and of the list of sessions: a form, or JSON.

login, session list -> forms (this)
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

BODY_BYTES = 16 * 1024
"""Twice the longest credential."""

BODY_SECONDS = 10.0
"""For the whole body."""

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Rejected(Exception):
    """A request that is not understood; `status` is that of the response."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def content_type(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises Rejected."""
    if content_type(request) != FORM:
        raise Rejected(415)
    return parse_form(await read_body(request))


def parse_form(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises Rejected."""
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=8))
    except ValueError:
        raise Rejected(400) from None


async def read_body(request: Request) -> bytes:
    """The body. Raises Rejected for one that is too long or too slow."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES:
                    raise Rejected(413)
    except TimeoutError:
        raise Rejected(408) from None
    except ClientDisconnect:
        raise Rejected(400) from None
    return body
