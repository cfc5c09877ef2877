"""Errors as `application/problem+json` (RFC 9457), the one form in which the Analytics section says no to a program.

The door, the routes and the proxy stand before this. What went wrong inside, or how close a guess came, is in none of
them: `detail` is a constant sentence of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"

VARY = "Cookie, Authorization, X-API-Key, Accept"
"""What an answer of the section depends on besides its URL: who asks, and for a page or for data."""


def problem(
    status: int, title: str | None = None, detail: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with that status; `title` defaults to the status's own words. Never stored by a cache."""
    content: dict[str, Any] = {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status}
    if detail:
        content["detail"] = detail
    return Response(
        orjson.dumps(content),
        status,
        {"Cache-Control": "no-store", "Vary": VARY, **(headers or {})},
        media_type=PROBLEM_TYPE,
    )
