"""What of Grafana is reached through us: the requests that the page of one panel, or of one dashboard, makes.

    door, proxy -> paths (this) -> passed on, answered here, or refused

Everything else is refused: logging in, administration, lists of users and data sources, Explore, every way to change
something. A path is matched as it was sent, undecoded, so that Grafana reads the same one as we did; what could be
read in two ways (dots, encoded slashes, doubled slashes or percent signs) is refused before it is matched.

SEEN: on a real Grafana 7.5. SOURCE: in the source of Grafana 11 to 13, or in a log of what a browser asked a Grafana 13
for. GUESS: follows from these, not seen.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from urllib.parse import quote

from starlette.types import Scope


class Decision(Enum):
    """What becomes of a request."""

    PASS = auto()
    EMPTY = auto()
    METHOD = auto()
    REFUSE = auto()


_UID = r"[A-Za-z0-9_-]+"
_NAME = r"[A-Za-z0-9._-]+"
_ANY = r"[^/]+"
_READ_PROMETHEUS = rf"api/v1/(?:query|query_range|query_exemplars|series|labels|metadata|label/{_ANY}/values)"
"""Of Prometheus' API what reads series: nothing of its administration, its configuration or its targets."""

_DATASOURCES = (
    rf"api/datasources/proxy/(?:uid/{_UID}|[0-9]+)/{_READ_PROMETHEUS}",  # SEEN by number
    rf"api/datasources/uid/{_UID}/resources/{_READ_PROMETHEUS}",  # SOURCE
)


def _api(group: str, below: str) -> str:
    """A path of Grafana 12's newer API; versions come and go."""
    return rf"apis/{group}\.grafana\.app/v[0-9]+(?:(?:alpha|beta)[0-9]+)?/namespaces/{_NAME}/{below}"


_READ = (
    rf"d-solo/{_UID}(?:/{_ANY})?",  # SEEN
    rf"d/{_UID}(?:/|/{_ANY})?",  # SEEN
    rf"public(?:/{_ANY})+",  # SEEN
    r"bootdata",  # SOURCE: what 13 may ask for in place of the data in its page
    r"api/frontend/settings",  # GUESS: the same, elsewhere
    rf"api/dashboards/uid/{_UID}",  # SEEN
    r"apis/dashboard\.grafana\.app/?",  # SOURCE: which versions of the next there are
    _api("dashboard", rf"dashboards/{_UID}(?:/dto)?"),  # SOURCE
    rf"api/folders/{_UID}",  # SOURCE: a dashboard's folder, without which 12 and 13 do not show it
    _api("folder", rf"folders/{_UID}(?:/access|/parents)?"),  # SOURCE
    r"api/annotations",  # SOURCE
    r"api/prometheus/grafana/api/v1/rules",  # SOURCE: with alerting on, an error here is an error on the panel
    rf"api/plugins/{_NAME}/settings",  # SOURCE: of apps that come with it, such as drill-down
    _api("plugins", "metas"),  # SOURCE: behind a feature flag
    *_DATASOURCES,
)

_QUERY = (
    r"api/ds/query",  # SOURCE: all data of panels
    r"api/tsdb/query",  # SEEN
    _api("query", "query(?:/name)?"),  # SOURCE: behind a feature flag
    _api("features", rf"ofrep/v1/evaluate/flags(?:/{_NAME})?"),  # SOURCE: reads feature flags
    *_DATASOURCES,
)

_TELEMETRY = (r"api/frontend-metrics", r"log-grafana-javascript-agent(?:/.*)?", r"log")
"""What pages report of themselves. Nobody reads it; without an answer they complain."""

_PASSED_READ = re.compile("|".join(_READ))
_PASSED_QUERY = re.compile("|".join(_QUERY))
_ANSWERED = re.compile("|".join(_TELEMETRY))

_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*")
_TWO_FACED = re.compile(r"%(?:2[EF5]|5C|[01][0-9A-F]|7F)|//", re.IGNORECASE)
"""An encoded dot, slash, backslash or percent sign, a control character, or a slash too many."""


def below(scope: Scope, mount: str) -> str | None:
    """The path below a mount, as it was sent; None where it lies elsewhere, or can be read in two ways."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    prefix = quote(mount.rstrip("/")) + "/"
    if not path.startswith(prefix):
        return None
    rest = path.removeprefix(prefix)
    if not _CHARACTERS.fullmatch(rest) or rest.startswith("/") or _TWO_FACED.search(rest):
        return None
    return None if any(part in (".", "..") for part in rest.split("/")) else rest


def decide(method: str, path: str) -> Decision:
    """What becomes of a request for a path that `below` has let through."""
    if method in ("GET", "HEAD") and _PASSED_READ.fullmatch(path):
        return Decision.PASS
    if method == "POST" and _PASSED_QUERY.fullmatch(path):
        return Decision.PASS
    if method == "POST" and _ANSWERED.fullmatch(path):
        return Decision.EMPTY
    known = _PASSED_READ.fullmatch(path) or _PASSED_QUERY.fullmatch(path) or _ANSWERED.fullmatch(path)
    return Decision.METHOD if known else Decision.REFUSE
