"""Script from a request in the response (XSS), and line breaks from a request in its headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote

from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import LOGIN, SECTION, TABLES, Instance
from attack.wire import Reply, ask

SUBJECT = "reflection"
SCRIPT = '"><script>alert(7)</script>'
SIGN = b"<script>alert(7)"
SPLIT = "%0d%0aX-Split:%20evil"

SHOWN = [("Sec-Fetch-Dest", "document"), ("Accept", "text/html")]
"""A browser that shows the response."""

_ENCODED = quote(SCRIPT, safe="")
_PLACES: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = [
    ("the path", f"/{_ENCODED}", ()),
    ("the path of the section", f"{SECTION}/{_ENCODED}", ()),
    ("the path below the login", f"{LOGIN}/{_ENCODED}", ()),
    ("the path below Grafana", f"{SECTION}/grafana/{_ENCODED}", ()),
    ("the path, unencoded", f"{SECTION}/<script>alert(7)</script>", ()),
    ("the query", f"{LOGIN}?x={_ENCODED}", ()),
    ("a parameter", f"{TABLES[0]}?format={_ENCODED}", ()),
    ("a parameter's name", f"{TABLES[0]}?{_ENCODED}=1", ()),
    ("Host", LOGIN, [("Host", SCRIPT.replace(" ", ""))]),
    ("Origin", LOGIN, [("Origin", SCRIPT)]),
    ("Referer", f"{SECTION}/none", [("Referer", SCRIPT)]),
    ("User-Agent", f"{SECTION}/none", [("User-Agent", SCRIPT)]),
    ("X-Forwarded-Host", f"{SECTION}/none", [("X-Forwarded-Host", SCRIPT)]),
    ("X-Forwarded-Prefix", LOGIN, [("X-Forwarded-Prefix", SCRIPT)]),
    ("a cookie", SECTION + "/", [("Cookie", f"hivesync_analytics={SCRIPT}")]),
    ("a token", f"{SECTION}/summary", [("Authorization", f"Bearer {SCRIPT}")]),
]
_SPLITS = (f"/{SPLIT}", f"{SECTION}{SPLIT}", f"{LOGIN}?x={SPLIT}", f"{SECTION}/static/{SPLIT}", f"/-/healthy{SPLIT}")


def _clean(answer: Reply | None) -> bool:
    """Whether no markup of the request is in the response, unless it is no page."""
    return answer is None or SIGN not in answer.everything


def _reflected(path: str, headers: Sequence[tuple[str, str]], is_admin: bool) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        if is_admin and not target.api_key:
            return not_applicable("the API key is not known (HIVESYNC_ADMIN_API_KEY)")
        given = [*SHOWN, *headers, *([target.key] if is_admin else [])]
        answers = [ask(port, path, headers=given, source=target.source()) for port in target.ports]
        return judged(all(map(_clean, answers)), ", ".join(map(shown, answers)))

    return run


def _split(path: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        answers = [ask(port, path, source=target.source()) for port in target.ports]
        held = all(answer is None or not answer.header("x-split") for answer in answers)
        return judged(held, ", ".join(map(shown, answers)))

    return run


def _posted(target: Instance) -> Finding:
    """A form with script in place of a key, whose response is a page."""
    origin = f"{target.admin.scheme}://{target.admin.authority}"
    answer = ask(
        target.admin,
        LOGIN,
        method="POST",
        headers=[*SHOWN, ("Origin", origin), ("Content-Type", "application/x-www-form-urlencoded")],
        body=f"api_key={_ENCODED}".encode(),
        source=target.source(),
    )
    return judged(_clean(answer), shown(answer))


def _stored(target: Instance) -> Finding:
    """Markup in users' names, which the stage has planted: no page has it, and JSON is not taken for a page."""
    if not target.is_planted or not target.api_key:
        return not_applicable("no names are planted in this instance's database")
    page = ask(target.admin, f"{SECTION}/", headers=[target.key, *SHOWN])
    table = ask(target.admin, TABLES[0], headers=[target.key])
    is_json = table is not None and table.header("content-type").startswith("application/json")
    held = page is not None and b"<script>alert(1)" not in page.body and is_json
    return judged(
        held and table is not None and table.header("x-content-type-options") == "nosniff",
        f"{shown(page)}, {shown(table)}",
    )


ATTACKS = [
    *(
        Attack(SUBJECT, f"script in {name}{' (admin)' if is_admin else ''}", _reflected(path, headers, is_admin))
        for name, path, headers in _PLACES
        for is_admin in (False, True)
    ),
    Attack(SUBJECT, "script in a login form", _posted),
    Attack(SUBJECT, "script in users' names", _stored),
    *(Attack(SUBJECT, f"line breaks in {path}", _split(path)) for path in _SPLITS),
]
