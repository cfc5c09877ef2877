"""The headers that pass to Grafana and back: all but credentials, identities and those of a single connection.

    proxy -> headers (this) -> Grafana, and back

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

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)

_NOT_TO_GRAFANA = frozenset(
    {
        b"authorization",
        b"cookie",
        b"expect",  # handled by the server in front
        b"forwarded",
        b"x-api-key",
        b"x-ds-authorization",  # Grafana would pass it to a data source
        b"x-http-method",
        b"x-http-method-override",
        b"x-jwt-assertion",
        b"x-method-override",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
    }
)
_NOT_TO_GRAFANA_BEGIN = (b"x-webauth-", b"x-forwarded-")

_NOT_FROM_GRAFANA = frozenset(
    {
        b"clear-site-data",  # would end the session
        b"date",  # set by the server in front
        b"service-worker-allowed",
        b"set-cookie",
        b"www-authenticate",  # would open the browser's password dialog
        b"x-frame-options",  # frame-ancestors is in the content security policy
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
    dropped = _HOP_BY_HOP | _NOT_TO_GRAFANA | (_named_by_connection(incoming) - _FRAMING)
    if not with_body:
        dropped |= {b"content-length"}
    kept = [
        (name, value)
        for name, value in incoming
        # Some servers read an underscore as a hyphen, so that both count as the same.
        if (spelt := name.replace(b"_", b"-")) not in dropped and not spelt.startswith(_NOT_TO_GRAFANA_BEGIN)
    ]
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
    dropped = _HOP_BY_HOP | _NOT_FROM_GRAFANA | (_named_by_connection(lower) - _FRAMING)
    if status in (204, 304) or any(name == b"transfer-encoding" for name, _ in lower):
        dropped |= {b"content-length"}  # not that of this body
    return [
        (name, _public_location(value, origin) if name == b"location" else value)
        for name, value in lower
        if name not in dropped and not name.startswith(b"access-control-")
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
