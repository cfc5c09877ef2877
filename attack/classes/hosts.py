"""The Host header: DNS rebinding, two hosts, and hosts in other places; forwarded addresses and schemes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attack.classes.framing import at_both, filled, refused_once
from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import LOGIN, SECTION, Instance
from attack.wire import Port, Reply, ask

SUBJECT = "hosts"
REFUSALS = (400, 421)


def _foreign(host: str) -> Callable[[Instance], Finding]:
    """A name that a page on the Internet has bound to this address."""

    def run(target: Instance) -> Finding:
        headers = [("Host", host.replace("{port}", str(target.admin.number)))]
        given = [*headers, *([target.key] if target.api_key else [])]
        answers = [ask(target.admin, path, headers=given) for path in (LOGIN, f"{SECTION}/summary", "/")]
        held = all(answer is not None and answer.status in REFUSALS for answer in answers)
        return judged(held, ", ".join(map(shown, answers)))

    return run


def _broken(data: bytes, target: Instance, port: Port) -> Finding:
    return refused_once(port, target.source(), filled(port, data))


def _forwarded(headers: Sequence[tuple[str, str]]) -> Callable[[Instance], Finding]:
    """Headers of a proxy from a client that is none: no redirect or page has the foreign name, and nothing opens."""

    def run(target: Instance) -> Finding:
        source = target.source()
        answers = [
            ask(target.admin, path, headers=headers, source=source)
            for path in ("/", SECTION, LOGIN, f"{SECTION}/summary")
        ]
        held = all(answer is not None and b"evil.example" not in answer.everything for answer in answers)
        return judged(held and _status(answers[-1]) in (401, 403), ", ".join(map(shown, answers)))

    return run


def _scheme(target: Instance) -> Finding:
    """A forwarded scheme from a client that is no trusted proxy: the cookie's name stays that of the connection's."""
    if not target.api_key or target.admin.tls:
        return not_applicable("no login over http")
    answer, value = target.log_in(target.source(), (("X-Forwarded-Proto", "https"),))
    name = "" if answer is None else answer.header("set-cookie").partition("=")[0]
    return judged(not value or not name.startswith("__Secure-"), f"{shown(answer)} {name}".strip())


def _absolute(target: Instance) -> Finding:
    """A target with our name and a foreign Host, and the other way round."""
    own = f"{target.admin.scheme}://{target.admin.authority}{LOGIN}"
    answer = ask(target.admin, own, headers=[("Host", "evil.example")])
    other = ask(target.admin, f"http://evil.example{LOGIN}")
    held = _status(answer) in REFUSALS and other is not None and b"evil.example" not in other.everything
    return judged(held, f"{shown(answer)}, {shown(other)}")


def _status(answer: Reply | None) -> int:
    return 0 if answer is None else answer.status


_NAMES = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil-localhost",
    "localhost@evil.example",
    "evil.example#localhost",
    "127.0.0.1.nip.io",
    "[::1].evil.example",
    "",
    "*",
)
_BROKEN: Sequence[tuple[str, bytes]] = [
    ("no Host", b"GET {path} HTTP/1.1\r\n\r\n"),
    ("two Hosts", b"GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n"),
    ("two equal Hosts", b"GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
    ("a folded second Host", b"GET {path} HTTP/1.1\r\nHost: {host}\r\n Host: evil.example\r\n\r\n"),
]
_PROXIES: Sequence[tuple[str, Sequence[tuple[str, str]]]] = [
    ("X-Forwarded-Host", [("X-Forwarded-Host", "evil.example")]),
    ("Forwarded", [("Forwarded", "host=evil.example;proto=https;for=127.0.0.1")]),
    ("X-Host, X-Original-Host", [("X-Host", "evil.example"), ("X-Original-Host", "evil.example")]),
    ("X-Forwarded-Prefix", [("X-Forwarded-Prefix", "//evil.example")]),
    ("X-Forwarded-For: 127.0.0.1", [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1")]),
]

ATTACKS = [
    *(Attack(SUBJECT, f"DNS rebinding: Host {name or 'empty'}", _foreign(name)) for name in _NAMES),
    *(one for name, data in _BROKEN for one in at_both(SUBJECT, name, partial(_broken, data))),
    Attack(SUBJECT, "a Host that differs from the target's", _absolute),
    *(Attack(SUBJECT, f"spoofed {name}", _forwarded(headers)) for name, headers in _PROXIES),
    Attack(SUBJECT, "spoofed X-Forwarded-Proto", _scheme),
]
