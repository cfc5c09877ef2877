"""Paths to Grafana: a path that is passed on stays in the allowed list after any decoding, and is read in one way only.

The list here is written apart from the product's (`admin/grafana/paths.py`): the beginnings of paths that show panels.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from hypothesis import strategies as st
from starlette.types import Scope

from admin.grafana.paths import Decision, below, decide
from fuzz.inputs import damaged
from fuzz.target import ByteTarget, Check

MOUNT = "/admin/analytics/grafana"

READ = [
    "d-solo/",
    "d/",
    "public/",
    "bootdata",
    "api/frontend/settings",
    "api/dashboards/uid/",
    "apis/dashboard.grafana.app",
    "api/folders/",
    "apis/folder.grafana.app/",
    "api/annotations",
    "api/prometheus/grafana/api/v1/rules",
    "api/plugins/",
    "apis/plugins.grafana.app/",
    "apis/preferences.grafana.app/",
    "apis/iam.grafana.app/",
]
DATA = ("api/datasources/proxy/", "api/datasources/uid/")
QUERY = [
    "api/ds/query",
    "api/tsdb/query",
    "apis/query.grafana.app/",
    "ofrep/v1/evaluate/flags",
    "apis/features.grafana.app/",
]
NEVER = [
    "admin",
    "api/admin",
    "api/users",
    "api/user",
    "api/org",
    "api/orgs",
    "api/auth",
    "api/serviceaccounts",
    "api/snapshots",
    "api/login",
    "login",
    "logout",
    "signup",
    "explore",
    "render",
    "api/search",
    "api/live",
    "api/ruler",
    "api/alertmanager",
    "metrics",
    "debug",
    "connections",
    "profile",
]
OF_PROMETHEUS = ("query", "query_range", "query_exemplars", "series", "labels", "metadata", "label")

DECODINGS = 4
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get", "")


@contextmanager
def opened(_: Path) -> Iterator[Check]:
    """The check, which needs nothing."""
    yield check


def check(content: bytes) -> None:
    """No method passes a path that another reader may take for one outside the list."""
    path = below(_scope(content), MOUNT)
    if path is None:
        return
    assert path.isascii(), "the path would be encoded on its way"
    assert path.encode() == content.partition(b"?")[0], "another path than the one that was sent"
    for method in METHODS:
        if decide(method, path) is Decision.PASS:
            assert method in ("GET", "HEAD", "POST")
            for read in _readings(path):
                check_allowed(method, read)


def _readings(path: str) -> Iterator[str]:
    """The path as servers, proxies and browsers may read it: decoded up to four times, in two encodings."""
    for encoding in ("utf-8", "latin-1"):
        read = path
        for _ in range(DECODINGS):
            yield read
            yield read.replace("\\", "/")
            read = unquote(read, encoding, "replace")


def check_allowed(method: str, path: str) -> None:
    """Raise AssertionError for a path, as some reader reads it, outside of the list."""
    normal = posixpath.normpath(path).lstrip("/")
    assert normal == path.rstrip("/"), f"{path!r} is another path to a reader that resolves it"
    assert not any(part in (".", "..", "") for part in path.rstrip("/").split("/"))
    assert not any(character < " " or character == "\x7f" for character in path)
    allowed = (*DATA, *(QUERY if method == "POST" else READ))
    assert path.startswith(tuple(allowed)), f"{method} {path}"
    assert not any(path == never or path.startswith(f"{never}/") for never in NEVER)
    if path.startswith(DATA):
        begin, api, rest = path.partition("/api/v1/")
        assert api
        assert begin.count("/") <= 4
        assert rest.partition("/")[0] in OF_PROMETHEUS


def _scope(content: bytes) -> Scope:
    return {"type": "http", "path": "", "raw_path": MOUNT.encode() + b"/" + content}


_beginnings = [path.encode() for path in (*READ, *DATA, *QUERY, *NEVER)]
_parts = st.sampled_from(
    [
        b"/",
        b"//",
        b"..",
        b".",
        b"%2e%2e",
        b"%2E.",
        b"%2f",
        b"%5c",
        b"\\",
        b"%252e",
        b"%25",
        b"%00",
        b"%0d%0a",
        b";",
        b"?",
        b"#",
        b"\xc0\xae",
        b"%c0%ae",
        b"%ef%bc%8f",
        b"%e2%81%84",
        b"x",
        b"uid",
        b"1",
        b"api/v1/query",
        b"api/v1/admin",
        b"/..;/",
        b"~",
        b"resources",
        b"hivesync-analytics",
        b"v1",
        b"namespaces/default",
        b"query",
        b"preferences/merged",
        b"dashboards/x",
    ]
)

TARGET = ByteTarget(
    name="proxy-paths",
    promise="A path that is passed on to Grafana is the one that was sent, and within the list of panels' requests"
    " after any number of decodings.",
    opened=opened,
    inputs=damaged(
        st.builds(
            lambda first, separator, rest: first + separator.join(rest),
            st.sampled_from(_beginnings),
            st.sampled_from([b"", b"/"]),
            st.lists(_parts, max_size=5),
        ),
        (b"%", b"/", b".", b"\\", b"\0", b"\xff", b"%2", b"\n", b" ", b"\xe2\x81\x84"),
    ),
    seeds=(
        b"d-solo/hivesync-analytics/panel?panelId=1",
        b"public/build/app.0f7e13c164c6f4cfac8a.js",
        b"api/datasources/proxy/uid/hivesync-prometheus/api/v1/query_range",
        b"api/datasources/uid/hivesync-prometheus/resources/api/v1/label/queue/values",
        b"apis/dashboard.grafana.app/v2beta1/namespaces/default/dashboards/x/dto",
        b"apis/query.grafana.app/v0alpha1/namespaces/default/query",
        b"ofrep/v1/evaluate/flags/x",
        b"public/%2e%2e/api/admin/users",
    ),
    words=(*_beginnings, b"%2e", b"%2f", b"%5c", b"%25", b"..", b"//", b"%00", b"%c0%ae"),
    examples=600,
    size=300,
)
