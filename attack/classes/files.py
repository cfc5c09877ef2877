"""Path traversal on static files, and files that no server should give."""

from __future__ import annotations

from collections.abc import Callable

from attack.findings import Attack, Finding, judged, shown
from attack.target import SECTION, Instance
from attack.wire import ask

SUBJECT = "files"
SIGNS = (b"root:", b"import ", b"{% ", b"HIVESYNC_", b"[core]", b"-----BEGIN", b"def ")
"""Parts of a password file, of Python, of a template, of an environment, of a repository, of a key."""

STATIC = f"{SECTION}/static"

TRAVERSALS = (
    "/../templates/page.html",
    "/%2e%2e/templates/page.html",
    "/styles/../../templates/page.html",
    "/styles/..%2f..%2ftemplates%2fpage.html",
    "/styles/%2e%2e%2f__init__.py",
    "/styles/..%5c..%5ctemplates%5cpage.html",
    "/styles/....//....//templates/page.html",
    "/styles/%252e%252e%252ftemplates",
    "/modules/../__init__.py",
    "/modules//etc/passwd",
    "/modules/%2fetc%2fpasswd",
    "/modules/..%00.js",
    "/styles/%c0%ae%c0%ae/__init__.py",
    "/../../../../../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/styles/../../../../../../../proc/self/environ",
    "/styles/",
    "/modules",
    "/styles/.",
    "/uplot/../../package.json",
)
HIDDEN = (
    "/.env",
    "/.git/config",
    "/.git/HEAD",
    "/exporter.env",
    "/session.key",
    "/sessions.json",
    "/config.json",
    "/server-status",
    "/backup.zip",
    "/etc/passwd",
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "//etc/passwd",
    "/file:///etc/passwd",
)


def _hidden(path: str, port: str) -> Callable[[Instance], Finding]:
    """Held if there is neither a success nor a sign of a file's content."""

    def run(target: Instance) -> Finding:
        headers = [target.key] if target.api_key and port == "admin" else []
        answer = ask(getattr(target, port), path, headers=headers)
        held = answer is None or (answer.status >= 300 and not any(sign in answer.body for sign in SIGNS))
        return judged(held, shown(answer))

    return run


ATTACKS = [
    *(Attack(SUBJECT, f"static{path}", _hidden(f"{STATIC}{path}", "admin")) for path in TRAVERSALS),
    *(Attack(SUBJECT, f"{path} ({port})", _hidden(path, port)) for path in HIDDEN for port in ("metrics", "admin")),
    *(Attack(SUBJECT, f"{SECTION}{path}", _hidden(f"{SECTION}{path}", "admin")) for path in HIDDEN[:6]),
]
