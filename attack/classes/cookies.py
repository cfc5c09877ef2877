"""Cookies of sessions: foreign, many, oversized, tampered, fixed by the attacker, and after the logout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attack.findings import Attack, Finding, judged, not_applicable, refused, shown
from attack.target import COOKIE, LOGOUT, SECTION, SECURE_COOKIE, Instance
from attack.wire import ask

SUBJECT = "cookies"
PATH = f"{SECTION}/summary"
REFUSALS = (400, 401, 403, 431)
NO_LOGIN = "no login: the API key is not known (HIVESYNC_ADMIN_API_KEY)"

LONG = 64
"""Characters of a value of ours; for values that are foreign."""


def _foreign(values: Sequence[str]) -> Callable[[Instance], Finding]:
    """Values that no login gave."""

    def run(target: Instance) -> Finding:
        return refused(ask(target.admin, PATH, headers=[target.cookie(*values)], source=target.source()), REFUSALS)

    return run


def _of_login(change: Callable[[str], str]) -> Callable[[Instance], Finding]:
    """The value of a login, tampered with."""

    def run(target: Instance) -> Finding:
        _, value = target.log_in(target.source()) if target.api_key else (None, "")
        if not value:
            return not_applicable(NO_LOGIN)
        return refused(ask(target.admin, PATH, headers=[target.cookie(change(value))]), REFUSALS)

    return run


def _flipped(value: str, place: int) -> str:
    other = "B" if value[place] == "A" else "A"
    return value[:place] + other + (value[place + 1 :] if place != -1 else "")


def _renamed(target: Instance) -> Finding:
    """The right value under the name of the other scheme, and under similar names."""
    _, value = target.log_in(target.source()) if target.api_key else (None, "")
    if not value:
        return not_applicable(NO_LOGIN)
    other = COOKIE if target.admin.tls else SECURE_COOKIE
    names = (other, COOKIE.upper(), f"__Host-{COOKIE}", f"{COOKIE}2")
    answers = [ask(target.admin, PATH, headers=[("Cookie", f"{name}={value}")]) for name in names]
    return judged(
        all(answer is not None and answer.status in REFUSALS for answer in answers), ", ".join(map(shown, answers))
    )


def _locked_out(count: int) -> Callable[[Instance], Finding]:
    """Foreign cookies of our name before the right one: the browser stays logged in."""

    def run(target: Instance) -> Finding:
        _, value = target.log_in(target.source()) if target.api_key else (None, "")
        if not value:
            return not_applicable(NO_LOGIN)
        answer = ask(target.admin, PATH, headers=[target.cookie(*(["x" * LONG] * count), value)])
        return judged(answer is not None and answer.status == 200, shown(answer))

    return run


def _after_logout(hidden: int) -> Callable[[Instance], Finding]:
    """A stolen cookie after the logout, which carried foreign cookies before it."""

    def run(target: Instance) -> Finding:
        _, value = target.log_in(target.source()) if target.api_key else (None, "")
        if not value:
            return not_applicable(NO_LOGIN)
        before = ask(target.admin, PATH, headers=[target.cookie(value)])
        target.post(LOGOUT, {}, headers=(target.cookie(*(["x" * LONG] * hidden), value),))
        after = ask(target.admin, PATH, headers=[target.cookie(value)])
        is_ended = before is not None and before.status == 200 and after is not None and after.status in REFUSALS
        return judged(is_ended, f"{shown(before)} before, {shown(after)} after")

    return run


def _fixed(target: Instance) -> Finding:
    """A cookie that the attacker set before the victim's login."""
    if not target.api_key:
        return not_applicable(NO_LOGIN)
    planted = "QUFB" * (LONG // 4)
    _, value = target.log_in(target.source(), (target.cookie(planted),))
    answer = ask(target.admin, PATH, headers=[target.cookie(planted)])
    return judged(value not in ("", planted) and answer is not None and answer.status in REFUSALS, shown(answer))


def _replaced(target: Instance) -> Finding:
    """The session of the browser before a new login."""
    if not target.api_key:
        return not_applicable(NO_LOGIN)
    _, old = target.log_in(target.source())
    target.log_in(target.source(), (target.cookie(old),))
    return refused(ask(target.admin, PATH, headers=[target.cookie(old)]), REFUSALS)


def _attribute(word: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        answer, value = target.log_in(target.source()) if target.api_key else (None, "")
        if answer is None or not value:
            return not_applicable(NO_LOGIN)
        words = [part.strip().lower() for part in answer.header("set-cookie").split(";")[1:]]
        return judged(word.lower() in words, "; ".join(words))

    return run


_FOREIGN: Sequence[tuple[str, Sequence[str]]] = [
    ("a foreign cookie", ["x" * LONG]),
    ("an empty cookie", [""]),
    ("hundreds of cookies", ["a"] * 400),
    ("an oversized cookie", ["x" * 12_000]),
    ("a cookie of zeros in base64", ["A" * LONG]),
    ("a cookie of other characters", ["\xff\xfe" * (LONG // 2)]),
    ("a quoted cookie", [f'"{"A" * LONG}"']),
    ("a token of alg none as cookie", ["eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0."]),
]
_TAMPERED: Sequence[tuple[str, Callable[[str], str]]] = [
    ("the first character changed", lambda value: _flipped(value, 0)),
    ("the middle changed", lambda value: _flipped(value, len(value) // 2)),
    ("the signature cut", lambda value: value[: len(value) // 2]),
    ("one character more", lambda value: value + "A"),
    ("one character less", lambda value: value[:-1]),
    ("other case", str.swapcase),
    ("halves exchanged", lambda value: value[len(value) // 2 :] + value[: len(value) // 2]),
]

ATTACKS = [
    *(Attack(SUBJECT, name, _foreign(values)) for name, values in _FOREIGN),
    *(Attack(SUBJECT, f"a tampered cookie: {name}", _of_login(change)) for name, change in _TAMPERED),
    Attack(SUBJECT, "the right cookie under other names", _renamed),
    *(Attack(SUBJECT, f"lock-out by {count} foreign cookies", _locked_out(count)) for count in (1, 4, 50)),
    Attack(SUBJECT, "a cookie after the logout", _after_logout(0)),
    Attack(SUBJECT, "a cookie after a logout with foreign cookies", _after_logout(4)),
    Attack(SUBJECT, "a session fixed before the login", _fixed),
    Attack(SUBJECT, "the earlier session after another login", _replaced),
    *(
        Attack(SUBJECT, f"read or sent by others: {word}", _attribute(word))
        for word in ("HttpOnly", "SameSite=Strict", "Secure")
    ),
    Attack(SUBJECT, "sent to other applications of the host: Path", _attribute(f"Path={SECTION}")),
]
