"""Methods that change, reflect or tunnel, and upgrades to other protocols."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from attack.classes.framing import OPEN_PATH, at_both
from attack.findings import Finding, judged, not_applicable, shown
from attack.target import SECTION, Instance
from attack.wire import Port, ask

SUBJECT = "methods"
REFUSALS = (400, 401, 403, 404, 405, 415, 501)
MARK = "reflected-by-trace"

PATHS = {"metrics": "/metrics", "admin": f"{SECTION}/summary"}


def _method(method: str, is_admin: bool, target: Instance, port: Port) -> Finding:
    """A method on a document; on the admin port also as an admin."""
    if is_admin and port.name == "admin" and not target.api_key:
        return not_applicable("the API key is not known (HIVESYNC_ADMIN_API_KEY)")
    headers = [target.key] if is_admin and port.name == "admin" else []
    answer = ask(port, PATHS[port.name], method=method, headers=headers, source=target.source())
    return judged(answer is not None and answer.status in REFUSALS and not answer.header("x-method"), shown(answer))


def _trace(target: Instance, port: Port) -> Finding:
    """TRACE, which would reflect the headers to a script."""
    answer = ask(port, OPEN_PATH[port.name], method="TRACE", headers=[("X-Mark", MARK)], source=target.source())
    held = answer is None or (answer.status in REFUSALS and MARK.encode() not in answer.everything)
    return judged(held, shown(answer))


def _connect(place: str, target: Instance, port: Port) -> Finding:
    """CONNECT, and a target with another host: the port is no proxy."""
    method = "CONNECT" if "/" not in place else "GET"
    if target.upstream is None:
        return not_applicable("no server of the attacker")
    target.upstream.take()
    answer = ask(port, place.replace("{upstream}", target.upstream.url.partition("//")[2]), method=method)
    asked = target.upstream.take()
    return judged(not asked and (answer is None or answer.status >= 400), shown(answer))


def _overridden(target: Instance, port: Port) -> Finding:
    """Another method in a header or the query: GET stays GET."""
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    headers = [(name, "DELETE") for name in names]
    plain, answer = (
        ask(port, f"{OPEN_PATH[port.name]}{query}", headers=given)
        for query, given in (("", []), ("?_method=DELETE", headers))
    )
    held = answer is not None and plain is not None and answer.status == plain.status == 200
    return judged(held, f"{shown(plain)}, {shown(answer)}")


def _upgraded(headers: Sequence[tuple[str, str]], path: str, target: Instance, port: Port) -> Finding:
    """An upgrade, which would leave the checks of HTTP behind."""
    given = [*headers, *([target.key] if target.api_key and port.name == "admin" else [])]
    answer = ask(port, path or PATHS[port.name], headers=given, source=target.source())
    return judged(answer is None or answer.status != 101, shown(answer))


_WEB_SOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
_H2C = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__"))

_METHODS = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "PURGE", "LINK", "SEARCH")

ATTACKS = [
    *(one for name in _METHODS for one in at_both(SUBJECT, name, partial(_method, name, False))),
    *(one for name in _METHODS for one in at_both(SUBJECT, f"{name} by an admin", partial(_method, name, True))[1:]),
    *at_both(SUBJECT, "TRACE", _trace),
    *at_both(SUBJECT, "CONNECT", partial(_connect, "{upstream}")),
    *at_both(SUBJECT, "a target on another host", partial(_connect, "http://{upstream}/target")),
    *at_both(SUBJECT, "another method in a header or the query", _overridden),
    *at_both(SUBJECT, "WebSocket", partial(_upgraded, _WEB_SOCKET, "")),
    *at_both(SUBJECT, "WebSocket of Grafana", partial(_upgraded, _WEB_SOCKET, f"{SECTION}/grafana/api/live/ws"))[1:],
    *at_both(SUBJECT, "HTTP/2 by an upgrade (h2c)", partial(_upgraded, _H2C, "")),
]
