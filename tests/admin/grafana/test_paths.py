"""The requests that are passed to Grafana, and their paths in one reading."""

from __future__ import annotations

import pytest

from admin.grafana.paths import Decision, below, decide
from presentation.panels import CATALOGUE, GRAFANA_PATH
from tests.admin.client import scope_of

MOUNT = "/admin/analytics/grafana"

PASSED = {
    "GET": [
        "d-solo/hivesync-analytics/panel",
        "d-solo/hivesync-analytics",
        "d/hivesync-analytics/",
        "d/hivesync-analytics/hivesync-analytics",
        "public/build/app.0f7e13c164c6f4cfac8a.js",
        "public/build/img/icons/unicons/angle-down.svg",
        "public/plugins/grafana-lokiexplore-app/module.js",
        "bootdata",
        "api/frontend/settings",
        "api/dashboards/uid/hivesync-analytics",
        "apis/dashboard.grafana.app/",
        "apis/dashboard.grafana.app/v2/namespaces/default/dashboards/hivesync-analytics/dto",
        "apis/dashboard.grafana.app/v1beta1/namespaces/org-2/dashboards/hivesync-analytics",
        "api/folders/hivesync",
        "apis/folder.grafana.app/v1beta1/namespaces/default/folders/hivesync/access",
        "apis/folder.grafana.app/v1beta1/namespaces/default/folders/hivesync/parents",
        "api/annotations",
        "api/prometheus/grafana/api/v1/rules",
        "api/plugins/grafana-lokiexplore-app/settings",
        "apis/plugins.grafana.app/v0alpha1/namespaces/default/metas",
        "apis/preferences.grafana.app/v1/namespaces/default/preferences/merged",
        "apis/preferences.grafana.app/v1alpha1/namespaces/default/preferences/merged",
        "apis/iam.grafana.app/v0alpha1/namespaces/default/display",
        "api/datasources/uid/hivesync-prometheus/resources/api/v1/label/queue/values",
        "api/datasources/proxy/1/api/v1/query_range",
    ],
    "POST": [
        "api/ds/query",
        "api/tsdb/query",
        "apis/query.grafana.app/v0alpha1/namespaces/default/query",
        "apis/features.grafana.app/v0alpha1/namespaces/default/ofrep/v1/evaluate/flags",
        "ofrep/v1/evaluate/flags",
        "api/datasources/proxy/1/api/v1/query",
        "api/datasources/proxy/uid/hivesync-prometheus/api/v1/series",
        "api/datasources/uid/hivesync-prometheus/resources/api/v1/labels",
    ],
}

REFUSED = [
    "",
    "login",
    "logout",
    "signup",
    "api/login/ping",
    "api/admin/users",
    "api/admin/settings",
    "api/user",
    "api/user/preferences",
    "api/user/auth-tokens/rotate",
    "api/users",
    "api/org/users",
    "api/orgs/1",
    "api/datasources",
    "api/datasources/uid/hivesync-prometheus",
    "api/datasources/proxy/1/api/v1/admin/tsdb/delete_series",
    "api/datasources/proxy/1/api/v1/targets",
    "api/datasources/proxy/1/api/v1/status/config",
    "api/datasources/uid/x/resources/api/v1/write",
    "api/datasources/uid/x/resources/anything",
    "api/dashboards/db",
    "api/dashboards/home",
    "api/dashboards/uid/x/versions",
    "api/search",
    "api/folders",
    "api/folders/x/permissions",
    "api/snapshots",
    "api/plugins",
    "api/plugin-proxy/x/y",
    "api/ruler/grafana/api/v1/rules",
    "api/alertmanager/grafana/config/api/v1/alerts",
    "api/live/ws",
    "api/live/push/x",
    "api/serviceaccounts/search",
    "api/auth/keys",
    "api/health",
    "apis",
    "apis/iam.grafana.app/v0alpha1/namespaces/default/users",
    "apis/preferences.grafana.app/v1/namespaces/default/preferences",
    "apis/preferences.grafana.app/v1/namespaces/default/preferences/user-x",
    "ofrep/v1/configuration",
    "apis/dashboard.grafana.app/v2/namespaces/default/dashboards",
    "apis/secret.grafana.app/v1beta1/namespaces/default/securevalues",
    "explore",
    "admin/users",
    "connections",
    "render/d-solo/x/y",
    "metrics",
    "debug/pprof/",
    "swagger",
    "public",
    "public/",
    "public-dashboards/x",
    "d-solo/",
    "d-solo/a/b/c",
    "dashboard/snapshot/x",
    "API/DS/QUERY",
    "api/ds/query/",
    "api/ds/queryx",
    "xapi/ds/query",
]

TWO_FACED = [
    "public/../api/admin/users",
    "public/./build/x.js",
    "public/..",
    "public/%2e%2e/api/admin/users",
    "public/%2E./api/admin/users",
    "public/.%2e/x",
    "public/..%2fapi/admin/users",
    "public/%2fapi",
    "d-solo/x%2Fy/z",
    "d-solo/x/y%5c..%5cz",
    "public/x%252e%252e/y",
    "public/%00",
    "public/x%0d%0ay",
    "public/x%7f",
    "public//build/x.js",
    "public/build//x.js",
    "/api/ds/query",
    "public/build/x.js;../../api",
    "public\\..\\x",
    "public/x y",
    "public/x\ty",
    "public/x\r\ny",
    "public/\xe9",
    "public/%c0%ae%c0%ae/api/admin/users",
    "public/%e0%80%af",
    "public/%ff",
    "public/x%",
    "public/x%2",
    "public/x%zz",
    "public/x#y",
    "public/<x>",
]


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, paths in PASSED.items() for path in paths])
def test_requests_of_panels_are_passed_on(method: str, path: str) -> None:
    assert below(scope_of(f"/grafana/{path}"), MOUNT) == path
    assert decide(method, path) is Decision.PASS


def test_the_panels_of_the_page_are_passed_on() -> None:
    urls = [panel.url(theme="light") for part in CATALOGUE for panel in part if not panel.is_row]
    assert len(urls) > 60
    for url in urls:
        path = url.partition("?")[0].removeprefix(GRAFANA_PATH)
        assert decide("GET", path) is Decision.PASS
        assert decide("HEAD", path) is Decision.PASS


@pytest.mark.parametrize("path", REFUSED)
def test_all_other_requests_are_refused(path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert decide(method, path) is Decision.REFUSE


def test_paths_for_reading_refuse_other_methods() -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "get"):
        for path in PASSED["GET"] + PASSED["POST"]:
            assert decide(method, path) is Decision.METHOD
    for path in ("api/dashboards/uid/x", "api/annotations", "api/folders/x", "d-solo/x/y", "public/x"):
        assert decide("POST", path) is Decision.METHOD
    for path in ("api/ds/query", "api/tsdb/query"):
        assert decide("GET", path) is Decision.METHOD


def test_telemetry_of_pages_is_answered_here() -> None:
    for path in ("api/frontend-metrics", "log-grafana-javascript-agent", "log-grafana-javascript-agent/faro"):
        assert decide("POST", path) is Decision.EMPTY
        assert decide("GET", path) is Decision.METHOD


@pytest.mark.parametrize("path", TWO_FACED)
def test_an_ambiguous_path_is_refused(path: str) -> None:
    assert below(scope_of(f"/grafana/{path}".replace("?", "")), MOUNT) is None


def test_a_path_outside_the_mount_is_refused() -> None:
    for path in ("/summary", "/grafanax/public/x", "/grafana", "/%67rafana/public/x", "/x/grafana/public/x"):
        assert below(scope_of(path), MOUNT) is None


def test_a_scope_without_a_raw_path_works() -> None:
    scope = scope_of("/grafana/d-solo/x/panel")
    scope["raw_path"] = None
    assert below(scope, MOUNT) == "d-solo/x/panel"
    scope["path"] = f"{MOUNT}/d-solo/x/a/../b"
    assert below(scope, MOUNT) is None
