"""Prometheus' HTTP API, for what needs history: range queries, read only and within limits.

The exporter itself never asks it; the roll-up does. Nothing here knows a metric.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import Reachability

QUERY_SECONDS = 30.0
CONNECT_SECONDS = 3.0


class Prometheus:
    """A client of one server, or of anything that speaks its API; `url` is its root, with user and password if need
    be."""

    name = "prometheus"

    def __init__(self, url: str) -> None:
        self.reachability = Reachability(self.name)
        self._client = httpx2.AsyncClient(
            base_url=url.rstrip("/") + "/",
            timeout=httpx2.Timeout(QUERY_SECONDS, connect=CONNECT_SECONDS),
            headers={"user-agent": "hivesync-analytics"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def range(self, query: str, start: float, end: float, step: float) -> list[tuple[float, float]]:
        """The values of a query with at most one series, from `start` to `end` every `step` (all unix seconds).

        Times at which it has no value, or none that is a number, are left out. Raises SourceUnavailable, or
        CollectionFailed when it refuses the query.
        """
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        async with self._reached():
            response = await self._client.post("api/v1/query_range", data=parameters)
            answer = _json(response)
        if answer.get("status") != "success":
            kind = str(answer.get("errorType", ""))
            raise CollectionFailed(self.name, kind if kind in _KINDS else f"http_{response.status_code}")
        try:
            series = answer["data"]["result"]
            points = [(float(time), float(value)) for one in series for time, value in one["values"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CollectionFailed(self.name, "not_understood") from error
        if len(series) > 1:
            raise CollectionFailed(self.name, "several_series")
        return [(time, value) for time, value in points if math.isfinite(value)]

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        """Turns the client's errors into ours and notes whether the server answered."""
        try:
            yield
        except httpx2.TimeoutException as error:
            raise self._unavailable("timeout") from error
        except httpx2.ConnectError as error:
            raise self._unavailable("refused" if "refused" in str(error).lower() else "connection_lost") from error
        except httpx2.HTTPError as error:
            raise self._unavailable("connection_lost") from error
        except _NoAnswer as error:
            raise self._unavailable(str(error)) from error
        self.reachability.worked()

    def _unavailable(self, kind: str) -> SourceUnavailable:
        self.reachability.failed(kind)
        return SourceUnavailable(self.name, kind)


_KINDS = ("bad_data", "execution", "timeout", "canceled", "not_found", "internal", "unavailable")
"""What the API says went wrong with a query; all of its own words, none of a user's."""


class _NoAnswer(Exception):
    """Somebody answered who is not Prometheus, or not now."""


def _json(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("status") in ("success", "error"):
        return answer
    if response.status_code in (401, 403):
        raise _NoAnswer("authentication")
    raise _NoAnswer(f"http_{response.status_code}" if response.status_code != 200 else "not_prometheus")
