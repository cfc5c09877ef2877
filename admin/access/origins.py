"""Whether a browser sends a request on behalf of one of our own pages.

What changes something (a login, a logout, and questions to Grafana sent with a session's cookie) must not be sent by a
page of somebody else. A cookie with SameSite=Strict still goes with requests of neighbours under the same site, so
that the header Origin is looked at as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """Our own origin is the one a request is for; `allowed` are further ones, for where a proxy changes the Host."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def is_own(self, scope: Scope) -> bool:
        """Browsers send Origin with every POST; what does not has to say that it is of the same origin in the other
        header that no page can set."""
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


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key == name]
