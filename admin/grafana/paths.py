"""The requests to Grafana that are passed on: those of the page of one panel, or of one dashboard.

    middleware, proxy -> paths (this) -> passed on, answered here, or refused

All others are refused: logins, administration, lists of users and data sources, Explore, all changes. A path is matched
as it was sent, undecoded, so that Grafana reads the same path. Ambiguous paths (dots, encoded slashes, doubled slashes
or percent signs, bytes that are no UTF-8) are refused before they are matched.

SEEN: on a real Grafana 7.5. SOURCE: in the source of Grafana 11 to 13, or in a log of the requests of a browser to
Grafana 13. GUESS: follows from these, not seen.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

READ_METHODS = ("GET", "HEAD")


class Decision(Enum):
    """The treatment of a request."""

    PASS = auto()
    EMPTY = auto()
    METHOD = auto()
    REFUSE = auto()


_UID = r"[A-Za-z0-9_-]+"
_NAME = r"[A-Za-z0-9._-]+"
_ANY = r"[^/]+"
_READ_PROMETHEUS = rf"api/v1/(?:query|query_range|query_exemplars|series|labels|metadata|label/{_ANY}/values)"
"""The part of Prometheus' API that reads series: not its administration, configuration or targets."""

_DATASOURCES = (
    rf"api/datasources/proxy/(?:uid/{_UID}|[0-9]+)/{_READ_PROMETHEUS}",  # SEEN by number
    rf"api/datasources/uid/{_UID}/resources/{_READ_PROMETHEUS}",  # SOURCE
)


def _api(group: str, below: str) -> str:
    """A path of Grafana 12's newer API, in any version."""
    return rf"apis/{group}\.grafana\.app/v[0-9]+(?:(?:alpha|beta)[0-9]+)?/namespaces/{_NAME}/{below}"


_READ = (
    rf"d-solo/{_UID}(?:/{_ANY})?",  # SEEN
    rf"d/{_UID}(?:/|/{_ANY})?",  # SEEN
    rf"public(?:/{_ANY})+",  # SEEN
    r"bootdata",  # SOURCE: 13 may request it in place of the data in its page
    r"api/frontend/settings",  # GUESS: the same, elsewhere
    rf"api/dashboards/uid/{_UID}",  # SEEN
    r"apis/dashboard\.grafana\.app/?",  # SOURCE: the versions of the next
    _api("dashboard", rf"dashboards/{_UID}(?:/dto)?"),  # SOURCE
    rf"api/folders/{_UID}",  # SOURCE: a dashboard's folder, without which 12 and 13 do not show it
    _api("folder", rf"folders/{_UID}(?:/access|/parents)?"),  # SOURCE
    r"api/annotations",  # SOURCE
    r"api/prometheus/grafana/api/v1/rules",  # SOURCE: with alerting on, an error here is an error on the panel
    rf"api/plugins/{_NAME}/settings",  # SOURCE: of apps that come with it, such as drill-down
    _api("plugins", "metas"),  # SOURCE: behind a feature flag
    _api("preferences", "preferences/merged"),  # SOURCE: 13.2; without it the theme of the URL has no effect
    _api("iam", "display"),  # SOURCE: names of a folder's authors
    *_DATASOURCES,
)

_QUERY = (
    r"api/ds/query",  # SOURCE: all data of panels
    r"api/tsdb/query",  # SEEN
    _api("query", "query(?:/name)?"),  # SOURCE: behind a feature flag
    rf"ofrep/v1/evaluate/flags(?:/{_NAME})?",  # SOURCE: 13.2; the same flags without the API's version
    _api("features", rf"ofrep/v1/evaluate/flags(?:/{_NAME})?"),  # SOURCE: reads feature flags
    *_DATASOURCES,
)

_TELEMETRY = (r"api/frontend-metrics", r"log-grafana-javascript-agent(?:/.*)?", r"log")
"""Reports of the pages about themselves: not read, but pages log an error without a response."""

_PASSED_READ = re.compile("|".join(_READ))
_PASSED_QUERY = re.compile("|".join(_QUERY))
_ANSWERED = re.compile("|".join(_TELEMETRY))

_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*")
_AMBIGUOUS = re.compile(r"%(?:2[EF5]|5C|[01][0-9A-F]|7F)|//", re.IGNORECASE)
"""An encoded dot, slash, backslash or percent sign, a control character, or a doubled slash."""


def below(scope: Scope, mount: str) -> str | None:
    """The path below a mount, as it was sent; None for a path elsewhere, or an ambiguous one."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    prefix = quote(mount.rstrip("/")) + "/"
    if not path.startswith(prefix):
        return None
    rest = path.removeprefix(prefix)
    if not _CHARACTERS.fullmatch(rest) or rest.startswith("/") or _AMBIGUOUS.search(rest):
        return None
    if any(part in (".", "..") for part in rest.split("/")) or not _is_text(rest):
        return None
    return rest


def _is_text(path: str) -> bool:
    """Whether the path is UTF-8 once decoded: other bytes may be an overlong dot or slash to a lenient reader."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def decide(method: str, path: str) -> Decision:
    """The treatment of a request for a path from `below`."""
    if method in READ_METHODS and _PASSED_READ.fullmatch(path):
        return Decision.PASS
    if method == "POST" and _PASSED_QUERY.fullmatch(path):
        return Decision.PASS
    if method == "POST" and _ANSWERED.fullmatch(path):
        return Decision.EMPTY
    known = _PASSED_READ.fullmatch(path) or _PASSED_QUERY.fullmatch(path) or _ANSWERED.fullmatch(path)
    return Decision.METHOD if known else Decision.REFUSE
