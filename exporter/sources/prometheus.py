"""Prometheus' HTTP API, read only and within limits: range queries, and its state.

The roll-up and the doctor use this module; the exporter itself does not. This module knows no metric.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability
from exporter.sources.web import connection_kind

QUERY_SECONDS = 30.0
"""Time limit of a whole answer."""

CONNECT_SECONDS = 3.0

ANSWER_BYTES = 16 * 2**20
"""Size limit of an answer: more than any query of the roll-up returns, so that a larger answer is not from
Prometheus."""


class Prometheus:
    """A client of one server, or of any server with the same API; `url` is its root, optionally with user and
    password."""

    name = "prometheus"

    def __init__(self, url: str, query_seconds: float = QUERY_SECONDS) -> None:
        self.reachability = Reachability(self.name)
        self._query_seconds = query_seconds
        self._url = url.rstrip("/") + "/api/v1/"
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(query_seconds, connect=min(CONNECT_SECONDS, query_seconds)),
            headers={"user-agent": "hivesync-analytics"},
            # One connection per query: a kept connection may be closed by the server at the moment of its reuse.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def range(self, query: str, start: float, end: float, step: float) -> list[tuple[float, float]]:
        """Return the values of a query with at most one series, from `start` to `end` every `step` (all unix seconds).

        Times without a value, or with a value that is not finite, are left out. Raises SourceUnavailable, or
        CollectionFailed when Prometheus refuses the query.
        """
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        data = await self._ask("POST", "query_range", parameters)
        try:
            series = data["result"]
            points = [(float(time), float(value)) for one in series for time, value in one["values"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CollectionFailed(self.name, "not_understood") from error
        if len(series) > 1:
            raise CollectionFailed(self.name, "several_series")
        return [(time, value) for time, value in points if start <= time <= end and math.isfinite(value)]

    async def get(self, path: str) -> Any:
        """Return the data at a path below /api/v1/. Raises as `range` does."""
        return await self._ask("GET", path)

    async def _ask(self, method: str, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Return the data of an answer."""
        if not _is_address(self._url):
            raise self._unavailable("invalid_url")
        async with self._reached():
            status, answer = await self._answer(method, path, parameters)
        if answer["status"] != "success":
            kind = str(answer.get("errorType", ""))
            raise CollectionFailed(self.name, kind if kind in _KINDS else f"http_{status}")
        return answer.get("data")

    async def _answer(
        self, method: str, path: str, parameters: Mapping[str, str] | None
    ) -> tuple[int, Mapping[str, Any]]:
        """Return the HTTP status and the answer: an object with a `status`."""
        body = b""
        async with self._client.stream(method, self._url + path, data=parameters) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES:
                    raise _NoAnswerError("not_prometheus")
        try:
            answer = orjson.loads(body)
        except ValueError:
            answer = None
        if isinstance(answer, dict) and answer.get("status") in ("success", "error"):
            return response.status_code, answer
        if response.status_code in (401, 403):
            raise _NoAnswerError("authentication")
        raise _NoAnswerError(f"http_{response.status_code}" if response.status_code != 200 else "not_prometheus")

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        """Convert the client's errors, and record whether the server answered."""
        try:
            async with asyncio.timeout(self._query_seconds):
                yield
        except (httpx2.TimeoutException, TimeoutError) as error:
            raise self._unavailable("timeout") from error
        except httpx2.ConnectError as error:
            raise self._unavailable(connection_kind(str(error))) from error
        except httpx2.HTTPError as error:
            raise self._unavailable("connection_lost") from error
        except _NoAnswerError as error:
            raise self._unavailable(str(error)) from error
        self.reachability.worked()

    def _unavailable(self, kind: str) -> SourceUnavailable:
        self.reachability.failed(kind)
        return SourceUnavailable(self.name, kind)


_KINDS = ("bad_data", "execution", "timeout", "canceled", "not_found", "internal", "unavailable")
"""The API's error types for a query; a closed set of its own words."""


def _is_address(url: str) -> bool:
    """Return whether the URL has a host and a valid port; httpx does not detect every invalid URL."""
    try:
        parts = urlsplit(str(httpx2.URL(url)))
        return bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx2.InvalidURL):
        return False


class _NoAnswerError(Exception):
    """The answer is not from Prometheus, or says that it is not available now."""
