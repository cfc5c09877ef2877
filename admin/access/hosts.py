"""The check of a request's Host on the admin port, against DNS rebinding.

    server -> hosts (this) -> site

A page on the Internet can have its own name resolve to 127.0.0.1 or to an address of a private network, and then send
requests to this port as a page on the same origin. Its name stays in the Host header. An address there, or `localhost`,
cannot be rebound.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from admin.access.rate_limit import RefusalLog, client_address
from admin.problem import problem
from exporter.settings import Settings

LOCALHOST = "localhost"
SETTING = "HIVESYNC_PUBLIC_URL"

_LOGGED_CHARACTERS = 100


class HostCheck:
    """ASGI middleware that refuses requests for other names than these, addresses and `localhost`."""

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = frozenset(names)
        self._log = RefusalLog(time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            await problem(400, detail="A request has one Host.")(scope, receive, send)
        elif not self._is_ours(hosts[0]):
            address = client_address(scope.get("client"))
            self._log.write("admin.host.refused", address=address, host=hosts[0][:_LOGGED_CHARACTERS], setting=SETTING)
            refused = problem(421, detail=f"This host name is not served here. {SETTING} sets it.")
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        return name in self._names or name == LOCALHOST or name.endswith(f".{LOCALHOST}") or _is_address(name)


def host_names(settings: Settings) -> frozenset[str]:
    """The host names of the public URL and of the origins of logins."""
    origins = (*settings.admin_origins, *([settings.public_url] if settings.public_url else []))
    return frozenset(_name(urlsplit(origin).netloc) for origin in origins)


def _name(host: str) -> str:
    """The name or address in a Host header, without port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        address, bracket, port = host[1:].partition("]")
        return address if bracket and port[:1] in ("", ":") and _is_address(address) else host
    return host.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
