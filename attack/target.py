"""The instance under attack: its two ports, and what the attacker knows of it.

    stage -> target (this) -> classes/

Without credentials the suite attacks as a stranger. Each kind of knowledge opens further attacks; one that lacks it is
`not applicable`, with the name of the variable.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from attack.upstream import Upstream
from attack.wire import Budget, Port, Reply, ask
from presentation.panels import ANALYTICS_PATH

SECTION = ANALYTICS_PATH.rstrip("/")
LOGIN = f"{SECTION}/login"
LOGOUT = f"{SECTION}/logout"
TABLES = (f"{SECTION}/tables/top-users", f"{SECTION}/tables/incidents")
DOCUMENTS = tuple(f"{SECTION}/{name}" for name in ("summary", "users", "ai", "queues", "workers", "status"))

COOKIE = "hivesync_analytics"
SECURE_COOKIE = f"__Secure-{COOKIE}"


class NotLoopbackError(Exception):
    """The address is not one of this machine alone."""


@dataclass(frozen=True)
class Instance:
    """The ports and the knowledge; empty is unknown."""

    metrics: Port
    admin: Port
    api_key: str = ""
    jwt_secret: str = ""
    jwt_public_key: bytes = b""
    audience: str = ""
    issuer: str = ""
    state_directory: Path | None = None
    upstream: Upstream | None = None
    """The attacker's server in place of Grafana, if the instance uses it."""
    connections: int = 1_500
    """Idle connections of the flood, for each port."""
    is_planted: bool = False
    """Whether users have names with formulas and markup."""
    _sources: itertools.count[int] = field(default_factory=lambda: itertools.count(256))

    @property
    def ports(self) -> tuple[Port, Port]:
        """Both."""
        return self.metrics, self.admin

    def source(self) -> str:
        """Another address of this machine, for the attacks of one client."""
        number = next(self._sources)
        return f"127.{1 + number // 62_500 % 200}.{1 + number // 250 % 250}.{1 + number % 250}"

    @property
    def key(self) -> tuple[str, str]:
        """The header of an admin."""
        return ("X-API-Key", self.api_key)

    def log_in(self, source: str = "", headers: tuple[tuple[str, str], ...] = ()) -> tuple[Reply | None, str]:
        """Log in with the API key, as the page's script does: the response, and the value of its cookie."""
        answer = self.post(LOGIN, {"api_key": self.api_key}, source, headers)
        pair = "" if answer is None else answer.header("set-cookie").partition(";")[0]
        return answer, pair.partition("=")[2]

    def post(
        self,
        path: str,
        fields: Mapping[str, object],
        source: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply | None:
        """POST an object as JSON, from the section's own origin unless another is given."""
        own = [("Origin", f"{self.admin.scheme}://{self.admin.authority}"), ("Content-Type", "application/json")]
        given = {name.lower() for name, _ in headers}
        kept = [pair for pair in own if pair[0].lower() not in given]
        return ask(
            self.admin,
            path,
            method="POST",
            headers=[*kept, *(pair for pair in headers if pair[1])],
            body=json.dumps(fields).encode(),
            source=source,
        )

    def cookie(self, *values: str) -> tuple[str, str]:
        """The Cookie header with these values of the session's cookie."""
        name = SECURE_COOKIE if self.admin.tls else COOKIE
        return ("Cookie", "; ".join(f"{name}={value}" for value in values))

    def with_budget(self, budget: Budget) -> Instance:
        """The same target under these bounds."""
        return replace(self, metrics=replace(self.metrics, budget=budget), admin=replace(self.admin, budget=budget))


def read_port(name: str, url: str, budget: Budget) -> Port:
    """The port of a URL. Raises NotLoopbackError, and ValueError for another kind of URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url}: should be like http://127.0.0.1:10178")
    number = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(parts.hostname, number, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise ValueError(f"{url}: {error.strerror}") from None
    if not all(ip_address(address.partition("%")[0]).is_loopback for address in found):
        raise NotLoopbackError(f"{url}: only loopback addresses are attacked; run the suite on the instance's machine")
    host = min(found, key=lambda address: (":" in address, address))
    authority = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
    return Port(name, host, number, parts.scheme == "https", budget, authority)
