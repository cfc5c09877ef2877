"""Information in responses: data without a login, secrets and internals in errors, identities in the exposition."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import DOCUMENTS, LOGIN, SECTION, TABLES, Instance
from attack.wire import Connection, Reply, ask

SUBJECT = "leaks"

INTERNALS = re.compile(
    rb"Traceback|File \"/|\.py\b|site-packages|uvicorn|starlette|fastapi|httptools|psycopg|postgres(?:ql)?://|redis://"
    rb"|pydantic|asyncio|/home/|/usr/lib|/tmp/|Exception",
    re.IGNORECASE,
)
IDENTITIES = {
    "e-mail addresses": re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"),
    "UUIDs": re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE),
    "connection URLs": re.compile(r"(?:postgres(?:ql)?|rediss?|https?)://", re.IGNORECASE),
    "paths of files": re.compile(r"\"/(?:home|data|var|tmp|etc|root)/"),
    "IP addresses": re.compile(r"\"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]+)?\""),
}

CLOSED = (
    f"{SECTION}/openapi.json",
    f"{SECTION}/docs",
    f"{SECTION}/redoc",
    "/openapi.json",
    "/docs",
    "/debug",
    "/metrics",
    "/debug/pprof/",
    "/actuator/env",
    "/console",
    f"{SECTION}/sessions",
    f"{SECTION}/status",
)
OPEN_ON_METRICS = (
    "/debug/pprof/",
    "/-/reload",
    "/-/quit",
    "/config",
    "/flags",
    "/status",
    "/api/v1/query",
    SECTION,
    LOGIN,
)

_ERRORS: Sequence[tuple[str, str, str, Sequence[tuple[str, str]], bytes]] = [
    ("a path that does not exist", "GET", f"{SECTION}/none", (), b""),
    ("a method that is not allowed", "DELETE", f"{SECTION}/summary", (), b""),
    ("an invalid parameter", "GET", f"{TABLES[0]}?format=%00", (), b""),
    ("a parameter that is a list", "GET", f"{TABLES[0]}?format[]=csv&format=x", (), b""),
    ("broken JSON", "POST", LOGIN, (("Content-Type", "application/json"),), b'{"api_key": '),
    ("broken UTF-8", "POST", LOGIN, (("Content-Type", "application/json"),), b'{"api_key": "\xff\xfe"}'),
    ("deeply nested JSON", "POST", LOGIN, (("Content-Type", "application/json"),), b"[" * 30_000),
    ("a huge number", "POST", LOGIN, (("Content-Type", "application/json"),), b'{"code": ' + b"9" * 5_000 + b"}"),
    ("a broken form", "POST", LOGIN, (("Content-Type", "application/x-www-form-urlencoded"),), b"&&%=%zz&;=\xff"),
    (
        "a form of a thousand fields",
        "POST",
        LOGIN,
        (("Content-Type", "application/x-www-form-urlencoded"),),
        b"&".join(b"a%d=1" % n for n in range(1_000)),
    ),
    (
        "a multipart form",
        "POST",
        LOGIN,
        (("Content-Type", "multipart/form-data; boundary=x"),),
        b"--x\r\nContent-Disposition: form-data; name=api_key\r\n\r\nv\r\n--x--\r\n",
    ),
    ("a charset that does not exist", "POST", LOGIN, (("Content-Type", "application/json; charset=evil"),), b"{}"),
    (
        "an encoded body",
        "POST",
        LOGIN,
        (("Content-Type", "application/json"), ("Content-Encoding", "gzip")),
        b"\x1f\x8b",
    ),
    ("an invalid ETag", "GET", f"{SECTION}/summary", (("If-None-Match", '"' + "x" * 4_000),), b""),
    ("an invalid range", "GET", f"{SECTION}/static/styles/tokens.css", (("Range", "bytes=" + "0-," * 1_000),), b""),
    ("an invalid time", "GET", f"{SECTION}/static/styles/tokens.css", (("If-Modified-Since", "\xff"),), b""),
    ("an invalid session", "POST", f"{SECTION}/sessions/end", (("Content-Type", "application/json"),), b'{"name": {}}'),
    ("an encoded path", "GET", f"{SECTION}/%ff%fe%00", (), b""),
]


def _error(method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> Callable[[Instance], Finding]:
    """Held if the error is one of the client, without internals; also as an admin."""

    def run(target: Instance) -> Finding:
        origin = ("Origin", f"{target.admin.scheme}://{target.admin.authority}")
        answers = [
            ask(target.admin, path, method=method, headers=[origin, *headers, *own], body=body, source=target.source())
            for own in ([], *([[target.key]] if target.api_key else []))
        ]
        held = all(answer is not None and answer.status < 500 and _is_clean(answer) for answer in answers)
        return judged(held, ", ".join(map(shown, answers)))

    return run


def _is_clean(answer: Reply) -> bool:
    return not (answer.status >= 400 and INTERNALS.search(answer.body)) and not _names_server(answer)


def _names_server(answer: Reply) -> bool:
    return bool(answer.header("server") or answer.header("x-powered-by"))


def _refused_by_http(port: str) -> Callable[[Instance], Finding]:
    """The refusal of HTTP itself."""

    def run(target: Instance) -> Finding:
        with Connection(getattr(target, port), target.source()) as connection:
            connection.send(b"NONSENSE\r\n\r\n")
            answer = connection.answer()
        return judged(answer is None or (_is_clean(answer) and len(answer.body) < 200), shown(answer))

    return run


def _closed(path: str, port: str, statuses: Sequence[int]) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        answer = ask(getattr(target, port), path, source=target.source())
        return judged(answer is not None and answer.status in statuses and _is_clean(answer), shown(answer))

    return run


def _without_data(path: str) -> Callable[[Instance], Finding]:
    """A refusal has none of the document's words, as a GET, a HEAD and a conditional request."""

    def run(target: Instance) -> Finding:
        source = target.source()
        answers = [
            ask(target.admin, path, source=source),
            ask(target.admin, path, method="HEAD", source=source),
            ask(target.admin, path, headers=[("If-None-Match", "*")], source=source),
        ]
        held = all(
            answer is not None
            and answer.status in (401, 403)
            and not answer.header("etag")
            and b'"value"' not in answer.body
            for answer in answers
        )
        return judged(held, ", ".join(map(shown, answers)))

    return run


def _identities(pattern: re.Pattern[str]) -> Callable[[Instance], Finding]:
    """In the samples of both formats; comments have links to nothing."""

    def run(target: Instance) -> Finding:
        forms = ("text/plain", "application/openmetrics-text; version=1.0.0")
        answers = [ask(target.metrics, "/metrics", headers=[("Accept", form)]) for form in forms]
        if any(answer is not None and answer.status == 401 for answer in answers):
            return not_applicable("the metrics port has passwords")
        lines = [line for answer in answers if answer for line in answer.body.decode().splitlines()]
        found = [line for line in lines if not line.startswith("#") and pattern.search(line)]
        return judged(len(lines) > 1 and not found, f"{len(lines)} lines, {len(found)} with it")

    return run


def _secrets(target: Instance) -> Finding:
    """No known secret in any document of the admin."""
    if not target.api_key:
        return not_applicable("the API key is not known (HIVESYNC_ADMIN_API_KEY)")
    paths = (f"{SECTION}/", f"{SECTION}/openapi.json", f"{SECTION}/sessions", LOGIN, *DOCUMENTS, *TABLES)
    answers = [ask(target.admin, path, headers=[target.key]) for path in paths]
    answers += [ask(target.metrics, path) for path in ("/", "/metrics")]
    secrets = [text.encode() for text in (target.api_key, target.jwt_secret) if text]
    found = [answer for answer in answers if answer and any(secret in answer.everything for secret in secrets)]
    return judged(not found and None not in answers, f"{len(answers)} responses, {len(found)} with a secret")


ATTACKS = [
    *(
        Attack(SUBJECT, f"internals in the error of {name}", _error(method, path, headers, body))
        for name, method, path, headers, body in _ERRORS
    ),
    *(
        Attack(SUBJECT, f"internals in the refusal of no HTTP ({port})", _refused_by_http(port))
        for port in ("metrics", "admin")
    ),
    *(Attack(SUBJECT, f"open to strangers: {path}", _closed(path, "admin", (401, 403, 404))) for path in CLOSED),
    *(
        Attack(SUBJECT, f"on the metrics port: {path}", _closed(path, "metrics", (401, 404, 405)))
        for path in OPEN_ON_METRICS
    ),
    *(
        Attack(SUBJECT, f"data without a login: {path.removeprefix(SECTION)}", _without_data(path))
        for path in (*DOCUMENTS, *TABLES)
    ),
    *(Attack(SUBJECT, f"{name} in the exposition", _identities(pattern)) for name, pattern in IDENTITIES.items()),
    Attack(SUBJECT, "secrets in the documents", _secrets),
]
