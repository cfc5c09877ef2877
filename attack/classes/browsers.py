"""Pages of other origins in the same browser: reading by CORS, preflights, frames, and legacy policy files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attack.classes.framing import at_both
from attack.findings import Attack, Finding, judged, shown
from attack.target import LOGIN, SECTION, Instance
from attack.wire import Port, ask

SUBJECT = "other origins"
PATHS = {"metrics": "/metrics", "admin": f"{SECTION}/summary"}
ORIGINS = ("https://evil.example", "null", "http://localhost:3000", "file://")


def _cors(origin: str, target: Instance, port: Port) -> Finding:
    """No origin may read a document."""
    given = [("Origin", origin), *([target.key] if target.api_key and port.name == "admin" else [])]
    answer = ask(port, PATHS[port.name], headers=given, source="" if target.api_key else target.source())
    allowed = "" if answer is None else answer.header("access-control-allow-origin")
    return judged(answer is not None and not allowed, f"{shown(answer)} {allowed}".strip())


def _preflight(target: Instance, port: Port) -> Finding:
    """No preflight allows a method or a header."""
    headers = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-api-key, content-type"),
        ("Access-Control-Request-Private-Network", "true"),
    ]
    answer = ask(port, PATHS[port.name], method="OPTIONS", headers=headers, source=target.source())
    given = [] if answer is None else [name for name, _ in answer.headers if name.startswith("access-control-")]
    return judged(answer is not None and not given, f"{shown(answer)} {', '.join(given)}".strip())


def _framed(path: str) -> Callable[[Instance], Finding]:
    """No frame of another site may show the page."""

    def run(target: Instance) -> Finding:
        answer = ask(target.admin, path, headers=[target.key] if target.api_key else [])
        policy = "" if answer is None else answer.header("content-security-policy")
        sources = policy.partition("frame-ancestors")[2].partition(";")[0].split()
        held = bool(sources) and not {"*", "http:", "https:"} & set(sources)
        return judged(held, f"{shown(answer)}, frame-ancestors {' '.join(sources) or 'missing'}")

    return run


def _policy(path: str) -> Callable[[Instance], Finding]:
    """A file that would open the origin to others."""

    def run(target: Instance) -> Finding:
        answer = ask(target.admin, path)
        return judged(answer is not None and answer.status >= 400, shown(answer))

    return run


ATTACKS = [
    *(one for origin in ORIGINS for one in at_both(SUBJECT, f"reading by {origin}", partial(_cors, origin))),
    *at_both(SUBJECT, "a preflight", _preflight),
    *(
        Attack(SUBJECT, f"{path} in a frame of another site", _framed(path))
        for path in (LOGIN, f"{SECTION}/", f"{SECTION}/sessions")
    ),
    *(
        Attack(SUBJECT, path, _policy(path))
        for path in ("/crossdomain.xml", "/clientaccesspolicy.xml", "/service-worker.js")
    ),
]
