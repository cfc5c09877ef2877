"""Which headers go to Grafana, and which come back: everything but what could say who somebody is, and what belongs to
one connection only.

    proxy -> headers (this) -> Grafana, and back

Who asks is said by us alone, and is always the same: a viewer's name that is nobody's. Grafana never sees a credential
or a cookie, ours or another application's on the same host, and sets none.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from starlette.types import Scope

VIEWER = "hivesync-analytics-viewer"
"""Never `admin`: that name is Grafana's server administrator."""

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
        b"expect",  # the server in front of us has answered it
        b"forwarded",
        b"x-api-key",
        b"x-ds-authorization",  # Grafana would hand it to a data source
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
        b"clear-site-data",  # would end the session here
        b"date",  # the server in front of us sets its own
        b"service-worker-allowed",
        b"set-cookie",
        b"www-authenticate",  # would have the browser ask for a password
        b"x-frame-options",  # who may frame is in the content security policy
    }
)

_FRAMING = frozenset({b"host", b"content-length"})
"""Not removed by being named in Connection: nobody can make a request end elsewhere."""


def to_grafana(scope: Scope, *, with_body: bool) -> Headers | None:
    """The headers of the request that goes on; None where the one that came has not exactly one Host."""
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
        # Some read an underscore as a hyphen; it is one here as well.
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
    """The headers of the answer that goes back; `origin` is Grafana's own, as this process reaches it."""
    lower = [(name.lower(), value) for name, value in headers]
    dropped = _HOP_BY_HOP | _NOT_FROM_GRAFANA | (_named_by_connection(lower) - _FRAMING)
    if status in (204, 304) or any(name == b"transfer-encoding" for name, _ in lower):
        dropped |= {b"content-length"}  # what would have been sent, or what is not true
    return [
        (name, _seen_from_outside(value, origin) if name == b"location" else value)
        for name, value in lower
        if name not in dropped and not name.startswith(b"access-control-")
    ]


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    return frozenset(
        option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")
    )


def _seen_from_outside(location: bytes, origin: str) -> bytes:
    """A redirect to the address that only we know becomes one to the same path here."""
    try:
        parts = urlsplit(location.decode("latin-1"))
    except ValueError:
        return location
    if f"{parts.scheme}://{parts.netloc}".lower() != origin:
        return location
    path = "/" + parts.path.lstrip("/")  # two slashes would begin a host
    return urlunsplit(("", "", path, parts.query, parts.fragment)).encode("latin-1")
