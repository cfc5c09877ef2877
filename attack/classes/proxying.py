"""The proxy to Grafana: paths beyond those of panels, other identities, and headers both ways.

With the attacker's server in place of Grafana, held means also that the request did not arrive there. Otherwise the
answer alone decides, and attacks on headers do not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import SECTION, Instance
from attack.upstream import HOSTILE, Noted
from attack.wire import Reply, ask

SUBJECT = "proxy to Grafana"
GRAFANA = f"{SECTION}/grafana"
PANEL = f"{GRAFANA}/d-solo/hivesync-analytics/panel"
QUERY = f"{GRAFANA}/api/ds/query"
REFUSALS = (400, 401, 403, 404, 405, 421)
NO_KEY = "the API key is not known (HIVESYNC_ADMIN_API_KEY)"
NO_GRAFANA = "the instance has no Grafana"
NOT_OURS = "Grafana is not a server of the attacker, which would note requests"

BEYOND = (
    "",
    "login",
    "logout",
    "signup",
    "explore",
    "admin/users",
    "connections",
    "metrics",
    "debug/pprof/",
    "swagger",
    "api/admin/users",
    "api/admin/settings",
    "api/user",
    "api/users",
    "api/org/users",
    "api/orgs/1",
    "api/datasources",
    "api/datasources/1",
    "api/datasources/uid/hivesync-postgres",
    "api/datasources/proxy/1/api/v1/targets",
    "api/datasources/proxy/1/api/v1/status/config",
    "api/datasources/proxy/1/api/v1/admin/tsdb/delete_series",
    "api/datasources/proxy/1/-/reload",
    "api/dashboards/home",
    "api/search",
    "api/snapshots",
    "api/plugins",
    "api/live/ws",
    "api/auth/keys",
    "api/serviceaccounts/search",
    "api/ruler/grafana/api/v1/rules",
    "api/alertmanager/grafana/config/api/v1/alerts",
    "apis/secret.grafana.app/v1beta1/namespaces/default/securevalues",
    "apis/iam.grafana.app/v0alpha1/namespaces/default/users",
    "render/d-solo/x/y",
    "API/DS/QUERY",
)
AMBIGUOUS = (
    "public/../api/admin/users",
    "public/./x",
    "public/..",
    "public/%2e%2e/api/admin/users",
    "public/%2E./api/admin/users",
    "public/..%2fapi/admin/users",
    "public/%2fapi",
    "d-solo/x%2Fy/z",
    "d-solo/x/y%5c..%5cz",
    "public/x%252e%252e/y",
    "public/%252e%252e%252fapi",
    "public/%00",
    "public/x%0d%0ay",
    "public/x%7f",
    "public//build/x.js",
    "/api/ds/query",
    "public/build/x.js;/../../api",
    "public\\..\\x",
    "public/x%",
    "public/x%zz",
    "public/%c0%ae%c0%ae/api",
    "d-solo/../../../summary",
    "%2e%2e/summary",
    "public/..;/api/admin/users",
)

PASSED_HEADERS: Sequence[tuple[str, str]] = [
    *(
        (name, "admin")
        for name in (
            "X-WEBAUTH-USER",
            "X-WEBAUTH-ROLE",
            "X-Webauth-Groups",
            "X-WEBAUTH-EMAIL",
            "X_WEBAUTH_USER",
            "Remote-User",
            "X-Grafana-Id",
            "X-JWT-Assertion",
            "X-Grafana-Device-Id",
            "X-Id-Token",
            "X-Access-Token",
            "X-DS-Authorization",
            "X-Grafana-User",
            "X-Disable-Provenance",
            "X-Real-IP",
            "X-Original-URL",
            "Proxy-Authorization",
            "X-Forwarded-User",
            "Via",
            "Forwarded",
            "X-HTTP-Method-Override",
        )
    ),
]
"""Headers from the client that could be an identity, or change the request."""

SECRETS = ("cookie", "authorization", "x-api-key", "proxy-authorization")


def _panel(target: Instance) -> Reply | None:
    return ask(target.admin, PANEL, headers=[target.key])


def _missing(target: Instance, *, needs_upstream: bool = False) -> str:
    """The reason for which an attack on the proxy does not apply; empty if it does."""
    if not target.api_key:
        return NO_KEY
    if needs_upstream:
        return "" if target.upstream else NOT_OURS
    answer = _panel(target)
    return NO_GRAFANA if answer is not None and answer.status == 404 else ""


def _arrived(target: Instance) -> list[Noted]:
    return target.upstream.take() if target.upstream else []


def _refused(path: str, method: str = "GET", *headers: tuple[str, str]) -> Callable[[Instance], Finding]:
    """A request that may not pass, by an admin."""

    def run(target: Instance) -> Finding:
        if reason := _missing(target):
            return not_applicable(reason)
        _arrived(target)
        answer = ask(target.admin, path, method=method, headers=[target.key, *headers])
        arrived = _arrived(target)
        held = answer is not None and answer.status in REFUSALS and not arrived
        return judged(held, shown(answer) + (", arrived at Grafana" if arrived else ""))

    return run


def _stranger(path: str, method: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        _arrived(target)
        answer = ask(target.admin, path, method=method, source=target.source())
        arrived = _arrived(target)
        return judged(answer is not None and answer.status in (401, 403) and not arrived, shown(answer))

    return run


def _noted(
    headers: Sequence[tuple[str, str]],
    check: Callable[[Noted], bool],
    path: str = PANEL,
    method: str = "GET",
    body: bytes = b"",
) -> Callable[[Instance], Finding]:
    """A request that may pass: it arrives as `check` demands, or not at all."""

    def run(target: Instance) -> Finding:
        if reason := _missing(target, needs_upstream=True):
            return not_applicable(reason)
        _arrived(target)
        answer = ask(
            target.admin, path, headers=[target.key, *headers], source=target.source(), method=method, body=body
        )
        arrived = _arrived(target)
        text = (
            f"{shown(answer)}, {'arrived clean' if all(map(check, arrived)) else 'arrived'}"
            if arrived
            else shown(answer)
        )
        return judged(answer is not None and all(map(check, arrived)) and len(arrived) <= 1, text)

    return run


def _is_viewer(noted: Noted) -> bool:
    """Whether Grafana sees the viewer alone, and nothing of the client's."""
    users, roles = noted.values("x-webauth-user"), noted.values("x-webauth-role")
    others = [value for name, value in noted.headers if value == "admin"]
    secret = [name for name, _ in noted.headers if name in SECRETS]
    return len(users) == 1 and users[0] not in ("", "admin") and roles == ["Viewer"] and not others and not secret


def _one_framing(noted: Noted) -> bool:
    return len(noted.values("content-length")) + len(noted.values("transfer-encoding")) <= 1


def _back(name: str) -> Callable[[Instance], Finding]:
    """A header from a hostile Grafana for the whole origin."""

    def run(target: Instance) -> Finding:
        if reason := _missing(target, needs_upstream=True):
            return not_applicable(reason)
        answer = _panel(target)
        given = dict(HOSTILE)[name]
        held = answer is not None and answer.status == 200 and given not in answer.header(name.lower())
        return judged(held, shown(answer) + ("" if held else f", {name} passed"))

    return run


def _framed(target: Instance) -> Finding:
    """Grafana's page in a frame of another site."""
    if reason := _missing(target, needs_upstream=True):
        return not_applicable(reason)
    answer = _panel(target)
    policy = "" if answer is None else answer.header("content-security-policy")
    return judged("frame-ancestors 'self'" in policy, policy or "no policy")


def _query_origin(target: Instance) -> Finding:
    """A query with SQL from a page of another site, with the browser's cookie."""
    if reason := _missing(target):
        return not_applicable(reason)
    _, value = target.log_in(target.source())
    _arrived(target)
    answer = target.post(
        QUERY,
        {"queries": [{"rawSql": "SELECT 1"}]},
        "",
        (target.cookie(value), ("Origin", "https://evil.example")),
    )
    arrived = _arrived(target)
    return judged(answer is not None and answer.status == 403 and not arrived, shown(answer))


_BODY = b'{"queries": [{"rawSql": "SELECT 1"}]}'

ATTACKS = [
    *(
        Attack(SUBJECT, f"a stranger: {method} {path.removeprefix(GRAFANA)}", _stranger(path, method))
        for method, path in (("GET", PANEL), ("POST", QUERY), ("GET", f"{GRAFANA}/login"))
    ),
    *(Attack(SUBJECT, f"not of a panel: /{path}", _refused(f"{GRAFANA}/{path}")) for path in BEYOND),
    *(Attack(SUBJECT, f"two readings: {path}", _refused(f"{GRAFANA}/{path}")) for path in AMBIGUOUS),
    *(
        Attack(SUBJECT, f"{method} {path}", _refused(f"{GRAFANA}/{path}", method))
        for method, path in (
            ("POST", "api/dashboards/db"),
            ("POST", "api/dashboards/uid/x"),
            ("DELETE", "api/dashboards/uid/x"),
            ("PUT", "api/ds/query"),
            ("PATCH", "api/ds/query"),
            ("POST", "api/annotations"),
            ("GET", "api/ds/query"),
            ("POST", "login"),
            ("POST", "api/user/password"),
            ("DELETE", "public/x.js"),
        )
    ),
    Attack(SUBJECT, "a target with Grafana's own name", _refused(f"http://grafana:3000{GRAFANA}/api/admin/users")),
    Attack(
        SUBJECT,
        "SQL in the query of a path for reading",
        _noted(
            (), lambda n: n.method == "GET" and "/d-solo/" in n.target, f"{PANEL}?rawSql=SELECT+1&/../../api/ds/query"
        ),
    ),
    Attack(
        SUBJECT, "SQL in the body of a GET", _noted((), lambda n: not n.values("content-length"), PANEL, body=_BODY)
    ),
    Attack(SUBJECT, "SQL from a page of another site", _query_origin),
    *(Attack(SUBJECT, f"identity in {name}", _noted([(name, value)], _is_viewer)) for name, value in PASSED_HEADERS),
    Attack(SUBJECT, "identity twice", _noted([("X-WEBAUTH-USER", "admin"), ("x-webauth-user", "admin")], _is_viewer)),
    Attack(
        SUBJECT, "credentials and cookies of the client", _noted([("Cookie", "grafana_session=x; other=y")], _is_viewer)
    ),
    *(
        Attack(SUBJECT, f"Connection: {names}", _noted([("Connection", names)], _is_viewer))
        for names in ("X-WEBAUTH-USER", "close, X-WEBAUTH-USER, X-WEBAUTH-ROLE", "Host", "X-Forwarded-For")
    ),
    Attack(
        SUBJECT,
        "Connection: Content-Length",
        _noted(
            [("Connection", "Content-Length"), ("Content-Type", "application/json")],
            _one_framing,
            QUERY,
            method="POST",
            body=_BODY,
        ),
    ),
    Attack(
        SUBJECT,
        "TE, Trailer and Keep-Alive",
        _noted(
            [("TE", "trailers"), ("Trailer", "X"), ("Keep-Alive", "timeout=9")],
            lambda n: not any(n.values(one) for one in ("te", "trailer", "keep-alive")),
        ),
    ),
    Attack(
        SUBJECT,
        "an address that the client invents",
        _noted([("X-Forwarded-For", "admin")], lambda n: n.values("x-forwarded-for") not in ([], ["admin"])),
    ),
    *(Attack(SUBJECT, f"from a hostile Grafana: {name}", _back(name)) for name, _ in HOSTILE),
    Attack(SUBJECT, "a panel in a frame of another site", _framed),
]
