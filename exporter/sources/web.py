"""One HTTP request at a time to a server of the installation, within limits: for examinations, not for values.

This module knows no path and no answer's meaning.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2
import orjson

BODY_BYTES = 8 * 2**20


class NoAnswer(Exception):
    """There is no HTTP response; `kind` is a short constant."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: headers with names in lower case; a body that is too long is cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's value; None for anything else than JSON."""
        try:
            return orjson.loads(self.body)
        except ValueError:
            return None


@cache
def _certificates() -> ssl.SSLContext:
    """Return the system's certificates; their reading takes 30 ms."""
    return ssl.create_default_context()


async def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    seconds: float = 2.0,
    from_address: str | None = None,
) -> Answer:
    """Return the response to one request: redirects are not followed, no proxy of the environment is used.

    `from_address` is the local address from which to connect. Raises NoAnswer.
    """
    transport = httpx2.AsyncHTTPTransport(verify=_certificates(), local_address=from_address)
    try:
        async with asyncio.timeout(seconds), httpx2.AsyncClient(transport=transport, trust_env=False) as client:
            request = client.stream(
                method, url, headers={"user-agent": "hivesync-analytics", **(headers or {})}, content=content or None
            )
            async with request as response:
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > BODY_BYTES:
                        break
                return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)
    except (TimeoutError, httpx2.TimeoutException):
        raise NoAnswer("timeout") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError, ValueError) as error:
        raise NoAnswer(connection_kind(str(error))) from None


def connection_kind(message: str) -> str:
    """Return a constant for an error that is described in prose only."""
    for words, kind in (
        ("refused", "refused"),
        ("all connection attempts failed", "refused"),
        ("name or service", "unknown_host"),
        ("name resolution", "unknown_host"),
        ("nodename", "unknown_host"),
        ("no address", "unknown_host"),
        ("certificate", "tls"),
        ("ssl", "tls"),
    ):
        if words in message.lower():
            return kind
    return "connection_lost"
