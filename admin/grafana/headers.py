"""The headers that pass to Grafana and back: those of two lists, and no others.

    proxy -> headers (this) -> Grafana, and back

Lists of the headers that do not pass would let through those that the next version of Grafana takes for an identity, or
sets for the whole origin. A header that is missing here shows as a panel that does not work, at the next update.

The user name is always the same, that of a viewer without a person behind it. Grafana sees no credential and no cookie,
neither the section's nor another application's on the same host, and sets none.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from starlette.types import Scope

VIEWER = "hivesync-analytics-viewer"
"""Not `admin`, which is the name of Grafana's server administrator."""

ROLE = "Viewer"

Headers = list[tuple[bytes, bytes]]

_TO_GRAFANA = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"origin",  # compared with Host by Grafana's check against cross-site requests
        b"pragma",
        b"range",
        b"user-agent",
        # Sent by Grafana's pages with a query: where it comes from, not who sends it.
        b"x-cache-skip",
        b"x-dashboard-title",
        b"x-dashboard-uid",
        b"x-datasource-uid",
        b"x-grafana-from-expr",
        b"x-grafana-org-id",
        b"x-panel-id",
        b"x-panel-plugin-id",
        b"x-panel-title",
        b"x-plugin-id",
        b"x-query-group-id",
    }
)

_FROM_GRAFANA = frozenset(
    {
        b"accept-ranges",
        b"age",
        b"allow",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-range",
        b"content-security-policy",
        b"content-type",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"pragma",
        b"referrer-policy",
        b"retry-after",
        b"vary",
        b"x-cache",  # of a query's result
        b"x-content-type-options",
    }
)

_FRAMING = frozenset({b"host", b"content-length"})
"""Kept even if named in Connection, so that a request ends at the same byte for all."""


def to_grafana(scope: Scope, *, with_body: bool) -> Headers | None:
    """The headers of the request to Grafana; None for a request without exactly one Host."""
    incoming: Headers = list(scope["headers"])
    hosts = [value for name, value in incoming if name == b"host"]
    if len(hosts) != 1:
        return None
    passed = _TO_GRAFANA - (_named_by_connection(incoming) - _FRAMING)
    if not with_body:
        passed -= {b"content-length"}
    kept = [(name, value) for name, value in incoming if name in passed]
    if with_body and not any(name == b"content-length" for name, _ in kept):
        kept.append((b"transfer-encoding", b"chunked"))
    client = scope.get("client")
    return [
        *kept,
        (b"x-forwarded-for", str(client[0]).encode() if client else b"unknown"),
        (b"x-forwarded-proto", scope.get("scheme", "http").encode()),
        (b"x-forwarded-host", hosts[0]),
        (b"x-webauth-user", VIEWER.encode()),
        (b"x-webauth-role", ROLE.encode()),
    ]


def from_grafana(headers: Headers, status: int, origin: str) -> Headers:
    """The headers of the response to the client; `origin`: Grafana's, as this process reaches it."""
    lower = [(name.lower(), value) for name, value in headers]
    passed = _FROM_GRAFANA - (_named_by_connection(lower) - _FRAMING)
    if status in (204, 304) or any(name == b"transfer-encoding" for name, _ in lower):
        passed -= {b"content-length"}  # not that of this body
    return [
        (name, _public_location(value, origin) if name == b"location" else value)
        for name, value in lower
        if name in passed
    ]


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    return frozenset(
        option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")
    )


def _public_location(location: bytes, origin: str) -> bytes:
    """A redirect to Grafana's private address becomes a redirect to the same path here."""
    try:
        parts = urlsplit(location.decode("latin-1"))
    except ValueError:
        return location
    if f"{parts.scheme}://{parts.netloc}".lower() != origin:
        return location
    path = "/" + parts.path.lstrip("/")  # two slashes would start a host name
    return urlunsplit(("", "", path, parts.query, parts.fragment)).encode("latin-1")
