"""Errors as `application/problem+json` (RFC 9457), the one form of the Analytics section's errors.

    middleware, routes, proxy -> problem (this)

No error has internal details or the quality of a guess: `detail` is a constant sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"

VARY = "Cookie, Authorization, X-API-Key, Accept"
"""The headers on which a response depends: the credential, and HTML or JSON."""


def problem(
    status: int, title: str | None = None, detail: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """A response with that status; `title` defaults to the phrase of the status. Not stored by caches."""
    content: dict[str, Any] = {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status}
    if detail:
        content["detail"] = detail
    return Response(
        orjson.dumps(content),
        status,
        {"Cache-Control": "no-store", "Vary": VARY, **(headers or {})},
        media_type=PROBLEM_TYPE,
    )
