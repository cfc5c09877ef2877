"""The login: wrong keys, the rate limit and its misuse, one-time codes, redirects, and requests of other sites."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import LOGIN, LOGOUT, SECTION, Instance
from attack.wire import Reply, ask
from exporter.control import ask_for_login_link
from exporter.errors import StateError

SUBJECT = "login"
NO_KEY = "the API key is not known (HIVESYNC_ADMIN_API_KEY)"
NO_LINK = "no state directory of a running exporter is known (HIVESYNC_STATE_DIR)"
TRIES = 60
"""Wrong credentials, of which the last should meet the rate limit."""


def _opens(answer: Reply | None) -> bool:
    """Whether a response opens a session."""
    if answer is None:
        return False
    value = answer.header("set-cookie").partition(";")[0].partition("=")[2]
    return bool(value)


def _closed(answer: Reply | None) -> Finding:
    """Held if the login was refused."""
    return judged(answer is not None and 400 <= answer.status < 500 and not _opens(answer), shown(answer))


def _wrong(fields: dict[str, object]) -> Callable[[Instance], Finding]:
    return lambda target: _closed(target.post(LOGIN, fields, target.source()))


def _close_to_right(change: Callable[[str], object]) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        if not target.api_key:
            return not_applicable(NO_KEY)
        return _closed(target.post(LOGIN, {"api_key": change(target.api_key)}, target.source()))

    return run


def _limited(headers: Callable[[int], tuple[tuple[str, str], ...]]) -> Callable[[Instance], Finding]:
    """Guesses without end from one address, which may pretend to be others."""

    def run(target: Instance) -> Finding:
        source = target.source()
        answers = [target.post(LOGIN, {"api_key": f"guess-{n}"}, source, headers(n)) for n in range(TRIES)]
        found = [answer.status for answer in answers if answer is not None]
        first = found.index(429) + 1 if 429 in found else 0
        return judged(bool(first) and found[-1:] == [429], f"429 from guess {first}" if first else "never 429")

    return run


def _not_locked_out(target: Instance) -> Finding:
    """The right key after so many wrong ones from its own address."""
    if not target.api_key:
        return not_applicable(NO_KEY)
    source = target.source()
    for number in range(TRIES):
        target.post(LOGIN, {"api_key": f"guess-{number}"}, source)
    answer, value = target.log_in(source)
    header = ask(target.admin, f"{SECTION}/summary", headers=[target.key], source=source)
    is_open = bool(value) and header is not None and header.status == 200
    return judged(is_open, f"login {shown(answer)}, header {shown(header)}")


def _code(target: Instance) -> str:
    """A one-time code; empty if there is none."""
    if target.state_directory is None:
        return ""
    try:
        link = asyncio.run(ask_for_login_link(target.state_directory))
    except (StateError, OSError):
        return ""
    return (link or "").partition("#code=")[2]


def _reused(target: Instance) -> Finding:
    if not (code := _code(target)):
        return not_applicable(NO_LINK)
    source = target.source()
    answers = [target.post(LOGIN, {"code": code}, source) for _ in range(2)]
    opened = [_opens(answer) for answer in answers]
    return judged(opened == [True, False], ", ".join(map(shown, answers)))


def _raced(target: Instance) -> Finding:
    """Eight clients with the same code at once."""
    if not (code := _code(target)):
        return not_applicable(NO_LINK)
    answers: list[Reply | None] = []
    together = threading.Barrier(8)

    def redeem() -> None:
        source = target.source()
        together.wait(10)
        answers.append(target.post(LOGIN, {"code": code}, source))

    threads = [threading.Thread(target=redeem) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened = sum(map(_opens, answers))
    return judged(opened == 1, f"{opened} of 8 opened a session")


def _in_query(target: Instance) -> Finding:
    """A code or key in the URL, where logs and proxies see it: not accepted, so that no page uses it."""
    secret = {"code": _code(target), "api_key": target.api_key}
    secret = {name: value for name, value in secret.items() if value}
    if not secret:
        return not_applicable(f"{NO_KEY}; {NO_LINK}")
    answers = [ask(target.admin, f"{LOGIN}?{urlencode({n: v})}", source=target.source()) for n, v in secret.items()]
    return judged(not any(map(_opens, answers)), ", ".join(map(shown, answers)))


def _redirected(
    query: str, fields: dict[str, str], headers: Sequence[tuple[str, str]] = ()
) -> Callable[[Instance], Finding]:
    """A login by a form that should lead elsewhere."""

    def run(target: Instance) -> Finding:
        if not target.api_key:
            return not_applicable(NO_KEY)
        origin = f"{target.admin.scheme}://{target.admin.authority}"
        answer = ask(
            target.admin,
            f"{LOGIN}{query}",
            method="POST",
            headers=[("Origin", origin), ("Content-Type", "application/x-www-form-urlencoded"), *headers],
            body=urlencode({"api_key": target.api_key, **fields}).encode(),
            source=target.source(),
        )
        location = "" if answer is None else answer.header("location")
        return judged(answer is not None and "evil" not in location, f"{shown(answer)} {location}".strip())

    return run


def _cross_site(path: str, headers: Sequence[tuple[str, str]]) -> Callable[[Instance], Finding]:
    """A request that a page of another site makes the browser send; `{own}` is the section's authority."""

    def run(target: Instance) -> Finding:
        if not target.api_key:
            return not_applicable(NO_KEY)
        source = target.source()
        _, value = target.log_in(source)
        own = target.admin.authority
        filled = tuple((name, text.replace("{own}", own)) for name, text in headers)
        fields = {"api_key": target.api_key} if path == LOGIN else {}
        answer = target.post(path, fields, source, (target.cookie(value), *filled))
        still = ask(target.admin, f"{SECTION}/summary", headers=[target.cookie(value)], source=source)
        is_held = answer is not None and 400 <= answer.status < 500 and still is not None and still.status == 200
        return judged(is_held and not _opens(answer), shown(answer))

    return run


_WRONG: Sequence[tuple[str, dict[str, object]]] = [
    ("a guessed key", {"api_key": "admin"}),
    ("a key of 20 KB", {"api_key": "k" * 20_000}),
    ("an object in place of a key", {"api_key": {"$ne": ""}}),
    ("a list in place of a key", {"api_key": ["x"]}),
    ("true in place of a key", {"api_key": True}),
    ("an empty key", {"api_key": ""}),
    ("SQL in place of a key", {"api_key": "' OR 1=1 --"}),
    ("a key of surrogates", {"api_key": "\ud800\udfff\ud800"}),
    ("a guessed code", {"code": "000000"}),
    ("two credentials at once", {"api_key": "a", "code": "b"}),
    ("no credential", {}),
    ("a token of alg none", {"token": "eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0."}),
]
_CLOSE: Sequence[tuple[str, Callable[[str], object]]] = [
    ("a part of the right key", lambda key: key[:-1]),
    ("the right key in other case", str.swapcase),
    ("the right key and a NUL", lambda key: f"{key}\x00"),
    ("the right key in a list", lambda key: [key]),
]
_FORMS: Sequence[tuple[str, str, dict[str, str], Sequence[tuple[str, str]]]] = [
    ("?next=", "?next=//evil.example/", {}, ()),
    ("a field next", "", {"next": "https://evil.example/"}, ()),
    ("Referer", "", {}, [("Referer", "https://evil.example/")]),
    ("X-Forwarded-Host", "", {}, [("X-Forwarded-Host", "evil.example")]),
]
_SITES: Sequence[tuple[str, Sequence[tuple[str, str]]]] = [
    ("another origin", [("Origin", "https://evil.example")]),
    ("Origin null", [("Origin", "null")]),
    ("an origin that begins like ours", [("Origin", "http://{own}.evil.example")]),
    ("an origin with our name as user", [("Origin", "http://{own}@evil.example")]),
    ("our name at another port", [("Origin", "http://127.0.0.1:1")]),
    ("no Origin, Sec-Fetch-Site cross-site", [("Origin", ""), ("Sec-Fetch-Site", "cross-site")]),
    ("no Origin, Sec-Fetch-Site same-site", [("Origin", ""), ("Sec-Fetch-Site", "same-site")]),
    ("no Origin and a Referer of ours", [("Origin", ""), ("Referer", "http://{own}/")]),
    ("text/plain, which needs no preflight", [("Origin", "https://evil.example"), ("Content-Type", "text/plain")]),
]

ATTACKS = [
    *(Attack(SUBJECT, name, _wrong(fields)) for name, fields in _WRONG),
    *(Attack(SUBJECT, name, _close_to_right(change)) for name, change in _CLOSE),
    Attack(SUBJECT, f"{TRIES} guesses", _limited(lambda _: ())),
    Attack(
        SUBJECT,
        f"{TRIES} guesses, each as another client (X-Forwarded-For)",
        _limited(lambda n: (("X-Forwarded-For", f"192.0.2.{n}"),)),
    ),
    Attack(
        SUBJECT,
        f"{TRIES} guesses, each as another client (Forwarded, X-Real-IP)",
        _limited(lambda n: (("Forwarded", f"for=192.0.2.{n}"), ("X-Real-IP", f"192.0.2.{n}"))),
    ),
    Attack(SUBJECT, "lock-out of the right key by wrong ones", _not_locked_out),
    Attack(SUBJECT, "a one-time code used twice", _reused),
    Attack(SUBJECT, "a one-time code used eight times at once", _raced),
    Attack(SUBJECT, "a credential in the URL", _in_query),
    *(
        Attack(SUBJECT, f"open redirect by {name}", _redirected(query, fields, headers))
        for name, query, fields, headers in _FORMS
    ),
    *(
        Attack(SUBJECT, f"cross-site {what}: {name}", _cross_site(path, headers))
        for what, path in (("login", LOGIN), ("logout", LOGOUT))
        for name, headers in _SITES
    ),
]
