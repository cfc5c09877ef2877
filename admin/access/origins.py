"""The check of a request's origin, against cross-site request forgery.

Requests with an effect (login, logout, and queries to Grafana with a session's cookie) must come from the section's own
pages. Browsers send a SameSite=Strict cookie with requests from other hosts of the same site, so that the Origin header
is checked as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope

from admin.problem import problem
from exporter.settings import Settings

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """The origin of the request's Host and, for proxies that change the Host, that of `public_url` and the `allowed`
    ones."""

    def __init__(self, allowed: Iterable[str] = (), public_url: str | None = None) -> None:
        self._public_url = public_url or ""
        self._allowed = frozenset(origin.lower() for origin in (*allowed, self._public_url) if origin)

    def is_https(self, scope: Scope) -> bool:
        """Whether the browser is on https. The scheme of a proxy that is not trusted, or does not tell it, is that of
        the public URL."""
        if scope.get("scheme") == "https":
            return True
        scheme, _, name = self._public_url.partition("://")
        hosts = _values(scope, b"host")
        return scheme == "https" and [host.removesuffix(_DEFAULT_PORTS[scheme]) for host in hosts] == [name]

    def refusal(self, scope: Scope) -> Response | None:
        """The refusal of a request that another page sends, None for one of the section's own pages."""
        return None if self.is_own(scope) else problem(403, detail="The request comes from another origin.")

    def is_own(self, scope: Scope) -> bool:
        """Whether the request comes from the section's own pages. Browsers send Origin with every POST; a request
        without it needs Sec-Fetch-Site: same-origin, which no page can set."""
        origins = _values(scope, b"origin")
        if not origins:
            return _values(scope, b"sec-fetch-site") == ["same-origin"]
        hosts = _values(scope, b"host")
        if len(origins) != 1 or len(hosts) != 1:
            return False
        if origins[0] in self._allowed:
            return True
        scheme, separator, name = origins[0].partition("://")
        if not separator or scheme not in _DEFAULT_PORTS or (scope.get("scheme") == "https" and scheme != "https"):
            return False
        return name == hosts[0].removesuffix(_DEFAULT_PORTS[scheme])


def build_origins(settings: Settings) -> Origins:
    """The origins as configured."""
    return Origins(settings.admin_origins, settings.public_url)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key == name]
