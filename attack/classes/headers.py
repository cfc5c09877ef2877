"""Headers of responses: caches that would keep private pages, and the browser's protections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import DOCUMENTS, LOGIN, SECTION, TABLES, Instance
from attack.wire import Reply, ask

SUBJECT = "headers"
NO_KEY = "the API key is not known (HIVESYNC_ADMIN_API_KEY)"

PRIVATE = (f"{SECTION}/", f"{SECTION}/sessions", *DOCUMENTS, *TABLES, f"{TABLES[0]}?format=csv")
EVERYWHERE: Sequence[tuple[str, Callable[[str], bool]]] = [
    ("X-Content-Type-Options", lambda value: value == "nosniff"),
    ("Referrer-Policy", lambda value: value in ("same-origin", "no-referrer", "strict-origin")),
    ("Cross-Origin-Resource-Policy", lambda value: value == "same-origin"),
    ("Cross-Origin-Opener-Policy", lambda value: value == "same-origin"),
    ("Content-Security-Policy", lambda value: "default-src 'none'" in value and "unsafe" not in value),
    ("Permissions-Policy", bool),
]
PAGES = {
    "the login": (LOGIN, False),
    "the page": (f"{SECTION}/", True),
    "a document": (f"{SECTION}/summary", True),
    "a refusal": (f"{SECTION}/summary", False),
    "a path that does not exist": (f"{SECTION}/none", True),
}


def _asked(target: Instance, path: str, is_admin: bool) -> Reply | None:
    return ask(target.admin, path, headers=[target.key] if is_admin else [], source="" if is_admin else target.source())


def _private(path: str, is_admin: bool) -> Callable[[Instance], Finding]:
    """Kept by no cache, the browser's for Back included."""

    def run(target: Instance) -> Finding:
        if is_admin and not target.api_key:
            return not_applicable(NO_KEY)
        answer = _asked(target, path, is_admin)
        value = "" if answer is None else answer.header("cache-control")
        return judged("no-store" in value, f"{shown(answer)}, {value or 'no Cache-Control'}")

    return run


def _protected(path: str, is_admin: bool, name: str, check: Callable[[str], bool]) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        if is_admin and not target.api_key:
            return not_applicable(NO_KEY)
        answer = _asked(target, path, is_admin)
        value = "" if answer is None else answer.header(name.lower())
        return judged(check(value), value or "missing")

    return run


def _varies(target: Instance) -> Finding:
    """A cache in front keeps the responses of admins and strangers apart."""
    answer = _asked(target, f"{SECTION}/summary", is_admin=False)
    value = "" if answer is None else answer.header("vary").lower()
    return judged("cookie" in value and "authorization" in value, value or "missing")


def _strict(target: Instance) -> Finding:
    if not target.admin.tls:
        return not_applicable("the admin port has no TLS of its own")
    answer = ask(target.admin, LOGIN)
    value = "" if answer is None else answer.header("strict-transport-security")
    return judged("max-age=" in value and "max-age=0" not in value, value or "missing")


def _sniffed(target: Instance) -> Finding:
    """The exposition is never a page, whatever is asked for."""
    answer = ask(target.metrics, "/metrics", headers=[("Accept", "text/html")])
    value = "" if answer is None else answer.header("content-type")
    return judged(
        value.startswith(("text/plain", "application/openmetrics-text")) or answer is None or answer.status == 401,
        value,
    )


def _deception(target: Instance) -> Finding:
    """A private document under a name that caches keep."""
    names = (f"{SECTION}/summary/x.css", f"{SECTION}/summary;x.css", f"{SECTION}/summary%2fx.css", f"{SECTION}/x.js")
    headers = [target.key] if target.api_key else []
    answers = [ask(target.admin, name, headers=headers) for name in names]
    held = all(
        answer is not None and (answer.status >= 400 or "no-store" in answer.header("cache-control"))
        for answer in answers
    )
    return judged(held, ", ".join(map(shown, answers)))


ATTACKS = [
    *(Attack(SUBJECT, f"kept by a cache: {path.removeprefix(SECTION)}", _private(path, True)) for path in PRIVATE),
    *(
        Attack(SUBJECT, f"kept by a cache, refused: {path}", _private(path, False))
        for path in (LOGIN, f"{SECTION}/", f"{SECTION}/summary", "/none")
    ),
    *(
        Attack(SUBJECT, f"{name} of {page}", _protected(path, is_admin, name, check))
        for page, (path, is_admin) in PAGES.items()
        for name, check in EVERYWHERE
    ),
    Attack(SUBJECT, "one response for admins and strangers (Vary)", _varies),
    Attack(SUBJECT, "a downgrade to http (Strict-Transport-Security)", _strict),
    Attack(SUBJECT, "the exposition as a page", _sniffed),
    Attack(SUBJECT, "private documents under the name of a file", _deception),
]
