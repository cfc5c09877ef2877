"""Headers that say where a request goes and comes from: Host, Origin, X-Forwarded-For and -Proto.

An input has a header per line. The admin port's own parts read it, behind uvicorn's handling of trusted proxies; the
checks of names are written apart from the product's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from admin.access.hosts import HostCheck
from admin.access.origins import Origins
from admin.access.rate_limit import client_address
from admin.grafana.headers import VIEWER, to_grafana
from fuzz.inputs import damaged, joined
from fuzz.target import ByteTarget, Check

PUBLIC, ALLOWED = "https://admin.example", "https://other.example:8443"
_AUTHORITY = re.compile(r"(\[(?P<six>[^\]]+)\]|(?P<name>[^:\[]+))(:.*)?", re.DOTALL)
NAMES = ("admin.example", "other.example")


class Reached(Exception):
    """The request has passed the check of its host; with its scope."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope


@contextmanager
def opened(_: Path) -> Iterator[Check]:
    """The check, with the parts of the port before its routes."""
    origins = Origins((ALLOWED,), PUBLIC)

    async def site(scope: Scope, _: Receive, __: Send) -> None:
        raise Reached(scope)

    hosts = HostCheck(site, NAMES)
    app = ProxyHeadersMiddleware(hosts, trusted_hosts=["127.0.0.1", "::1"])  # type: ignore[arg-type]  # ASGI 3

    def check(content: bytes) -> None:
        headers = [
            (name.strip().lower(), value.strip())
            for name, colon, value in (line.partition(b":") for line in content.split(b"\n"))
            if colon
        ]
        statuses: list[int] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/admin/analytics/login",
            "root_path": "",
            "scheme": "http",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        given = [value.decode("latin-1") for name, value in headers if name == b"host"]
        try:
            loop.run_until_complete(app(scope, receive, send))  # type: ignore[arg-type]
        except Reached as reached:
            assert len(given) == 1
            assert _is_ours(given[0]), f"{given[0]!r} is served"
            _check_passed(reached.scope, origins)
        else:
            assert statuses == [421 if len(given) == 1 else 400]

    loop = asyncio.new_event_loop()
    try:
        yield check
    finally:
        loop.close()


def _is_ours(host: str) -> bool:
    """Whether a browser that sends this Host may be on a page of this port."""
    found = _AUTHORITY.fullmatch(host.strip().lower())
    if found is None:
        return False
    name = found["six"] or found["name"].removesuffix(".")
    return name in NAMES or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_passed(scope: Scope, origins: Origins) -> None:
    unit = client_address(scope["client"])
    assert unit == "unknown" or ipaddress.ip_network(unit, strict=True).num_addresses in (1, 2**64)
    assert scope["scheme"] in ("http", "https", "ws", "wss")
    sent = [value.decode("latin-1").strip().lower() for name, value in scope["headers"] if name == b"origin"]
    host = next(value.decode("latin-1") for name, value in scope["headers"] if name == b"host").strip().lower()
    if origins.is_own(scope):
        same = {f"{scheme}://{host}" for scheme in ("http", "https")}
        same |= {f"http://{host.removesuffix(':80')}", f"https://{host.removesuffix(':443')}"}
        assert not sent or (len(sent) == 1 and sent[0] in {PUBLIC, ALLOWED, *same}), f"{sent} is the origin of {host}"
        assert sent or any(name == b"sec-fetch-site" for name, _ in scope["headers"])
    passed = to_grafana(scope, with_body=True)
    assert passed is not None
    names = [name for name, _ in passed]
    assert len([name for name in names if name == b"host"]) == 1
    assert [value for name, value in passed if name.startswith(b"x-webauth-user")] == [VIEWER.encode()]
    assert not {b"cookie", b"authorization", b"x-api-key"} & set(names)


_hosts = st.sampled_from(
    [
        "admin.example",
        "ADMIN.example.",
        "other.example:8443",
        "127.0.0.1:1",
        "[::1]:1",
        "[::1%lo]",
        "localhost",
        "a.localhost",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::1].evil",
        "0x7f.1",
        "2130706433",
        "admin.example@evil",
        "evil#admin.example",
        "admin.example:80:80",
        ":80",
        "[]",
        "[127.0.0.1]",
        "::1",
        "127.1",
    ]
).map(str.encode)
_origins = st.sampled_from(
    [
        "https://admin.example",
        "http://admin.example",
        "https://other.example:8443",
        "null",
        "http://127.0.0.1:1",
        "https://evil.example",
        "http://localhost",
        "http://admin.example:80",
        "https://admin.example:443",
        "https://admin.example.evil",
        "//admin.example",
    ]
).map(str.encode)
_clients = st.sampled_from(
    [
        "1.2.3.4",
        "1.2.3.4:5",
        "[2001:db8::1]:5",
        "2001:db8::1",
        "::ffff:1.2.3.4",
        "unknown",
        "_hidden",
        "1.2.3.4,127.0.0.1",
        ",,",
        "fe80::1%eth0",
        "999.1.1.1",
        "1.2.3.4:99999",
        "127.0.0.1",
        "::",
    ]
).map(str.encode)

TARGET = ByteTarget(
    name="request-headers",
    promise="A request is served for the port's own names and addresses alone, comes from its own pages only with its"
    " own origin, and counts under one IPv4 address, one IPv6 network of 64 bits, or `unknown`.",
    opened=opened,
    inputs=damaged(
        joined(
            b"\n",
            _hosts.map(b"Host: ".__add__),
            _hosts.map(b"Host: ".__add__),
            _origins.map(b"Origin: ".__add__),
            _clients.map(b"X-Forwarded-For: ".__add__),
            st.sampled_from([b"http", b"https", b"wss", b"x", b"https,http", b""]).map(b"X-Forwarded-Proto: ".__add__),
            st.sampled_from([b"Cookie: a=b", b"Authorization: x", b"X-WEBAUTH-USER: admin", b"Connection: host, x"]),
            st.sampled_from([b"same-origin", b"same-site", b"none"]).map(b"Sec-Fetch-Site: ".__add__),
            most=4,
        ),
        (b":", b"[", b"]", b"%", b"\0", b"\xff", b".", b"@", b"\t", b" ", b",", b"\r"),
    ),
    seeds=(
        b"Host: admin.example\nOrigin: https://admin.example\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https",
        b"Host: [::1]:10178\nOrigin: http://[::1]:10178\nX-Forwarded-For: [2001:db8::1]:5, 127.0.0.1",
        b"Host: localhost\nSec-Fetch-Site: same-origin\nConnection: Host",
        b"Host: evil.example\nOrigin: http://evil.example",
    ),
    words=(
        b"Host: ",
        b"Origin: ",
        b"X-Forwarded-For: ",
        b"localhost",
        b"admin.example",
        b"127.0.0.1",
        b"https://",
        b"::ffff:",
    ),
    size=600,
)
