"""The proxy between real servers: the requests that arrive at Grafana."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from admin.access.sessions import COOKIE
from admin.grafana.proxy import GrafanaProxy, ProxyLimits
from tests.admin.access.credentials import token
from tests.admin.client import ROOT, scope_of
from tests.admin.grafana.standing_in import (
    PANEL,
    QUERY,
    ServedSection,
    StandIn,
    analytics,
    answered,
    quick,
)
from tests.waiting import patience

LIMIT = ProxyLimits().body_bytes


def test_a_request_arrives_unchanged_under_the_viewers_name(grafana: StandIn, section: ServedSection) -> None:
    target = f"{PANEL}?orgId=1&panelId=11&from=now-24h&q=a%20b%2Fc&x=..%2f..&empty=&%C3%A9"
    answer = section.ask(target, headers={"Accept": "text/html", "User-Agent": "a browser", "X-Grafana-Org-Id": "1"})
    assert answer.status == 200
    (arrived,) = grafana.arrived
    assert (arrived.method, arrived.target, arrived.body) == ("GET", ROOT + target, b"")
    assert sorted(arrived.headers) == [
        ("accept", "text/html"),
        ("host", section.host),
        ("user-agent", "a browser"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", section.host),
        ("x-forwarded-proto", "http"),
        ("x-grafana-org-id", "1"),
        ("x-webauth-role", "Viewer"),
        ("x-webauth-user", "hivesync-analytics-viewer"),
    ]


def test_clients_cannot_set_an_identity(grafana: StandIn, section: ServedSection) -> None:
    spoofed = [
        ("X-WEBAUTH-USER", "admin"),
        ("X-Webauth-User", "admin"),
        ("x-webauth-role", "Admin"),
        ("X-WebAuth-Groups", "admins"),
        ("X_WEBAUTH_USER", "admin"),
        ("X-WEBAUTH_ROLE", "Admin"),
        ("Cookie", f"grafana_session=abc; {COOKIE}=def"),
        ("Cookie", "grafana_session_expiry=1"),
        ("X-API-Key", "glsa_abc"),
        ("X-DS-Authorization", "Bearer x"),
        ("X-JWT-Assertion", "x.y.z"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Anything", "x"),
        ("Forwarded", "for=10.0.0.1"),
        ("X-Real-IP", "10.0.0.1"),
        ("X-Original-URL", "/api/admin/users"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Proxy-Authorization", "Basic x"),
        # of Grafana's own services and later versions, and of proxies for logins
        ("X-Grafana-Id", "x.y.z"),
        ("X-Access-Token", "x.y.z"),
        ("X-ID-Token", "x.y.z"),
        ("X-Grafana-User", "admin"),
        ("X-Grafana-Device-Id", "x"),
        ("X-Remote-User", "admin"),
        ("Remote-User", "admin"),
        ("X-Auth-Request-User", "admin"),
        ("X-Amzn-Oidc-Identity", "admin"),
        ("X-Goog-Authenticated-User-Email", "admin"),
        ("X-Client-Cert", "x"),
        ("Impersonate-User", "admin"),
        ("X-Next-Version-Identity", "admin"),
        ("Referer", "https://admin.example/admin/analytics/login"),
    ]
    answer = section.ask(PANEL, headers=[*spoofed, ("Authorization", f"Bearer {token()}")], key=None)
    assert answer.status == 200
    (arrived,) = grafana.arrived
    names = [name for name, _ in arrived.headers]
    assert sorted(names) == [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-webauth-role",
        "x-webauth-user",
    ]
    assert arrived.header("x-webauth-user") == "hivesync-analytics-viewer"
    assert arrived.header("x-webauth-role") == "Viewer"
    assert arrived.header("x-forwarded-host") == section.host


def test_hop_by_hop_headers_are_removed(grafana: StandIn, section: ServedSection) -> None:
    headers = [
        ("Connection", "keep-alive, X-Private, X-WEBAUTH-USER, Host, content-length, X-Panel-Id"),
        ("Keep-Alive", "timeout=5"),
        ("X-Private", "x"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Proxy-Connection", "keep-alive"),
        ("X-Dashboard-Uid", "y"),
        ("X-Panel-Id", "12"),
    ]
    section.ask(QUERY, "POST", headers, b"{}")
    (arrived,) = grafana.arrived
    names = {name for name, _ in arrived.headers}
    assert not names & {"connection", "keep-alive", "x-private", "te", "trailer", "proxy-connection", "x-panel-id"}
    assert arrived.header("x-dashboard-uid") == "y"
    assert arrived.header("x-webauth-user") == "hivesync-analytics-viewer"
    assert arrived.header("host") == section.host
    assert arrived.body == b"{}"


def test_a_query_arrives_with_its_body(grafana: StandIn, section: ServedSection) -> None:
    body = b'{"queries": [{"refId": "A", "expr": "hivesync_online_users"}]}'
    section.ask(f"{QUERY}?ds_type=prometheus&requestId=Q1", "POST", {"Content-Type": "application/json"}, body)
    (arrived,) = grafana.arrived
    assert (arrived.method, arrived.target) == ("POST", f"{ROOT}{QUERY}?ds_type=prometheus&requestId=Q1")
    assert arrived.body == body
    assert arrived.header("content-type") == "application/json"
    assert arrived.header("content-length") == str(len(body))


def test_a_body_is_streamed(grafana: StandIn, section: ServedSection) -> None:
    begun = threading.Event()
    parts: list[bytes] = []

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            begun.set()
        await PlainTextResponse("read")(scope, receive, send)

    grafana.raw = read
    with section.connect() as connection:
        section.send(connection, QUERY, "POST", {"Transfer-Encoding": "chunked"})
        connection.send(b"5\r\nfirst\r\n")
        assert begun.wait(patience())
        connection.send(b"4\r\nlast\r\n0\r\n\r\n")
        assert answered(connection.getresponse()).status == 200
    assert b"".join(parts) == b"firstlast"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_body_of_a_get_is_dropped(grafana: StandIn, section: ServedSection, method: str) -> None:
    section.ask(PANEL, method, body=b"x" * 100)
    (arrived,) = grafana.arrived
    assert arrived.body == b""
    assert arrived.header("content-length") is None
    assert arrived.header("transfer-encoding") is None


def test_a_proxy_from_the_environment_is_not_used(grafana: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with analytics(grafana.url) as section:
        assert section.ask(PANEL).status == 200


def test_path_and_user_of_grafanas_url_are_ignored(grafana: StandIn) -> None:
    url = grafana.url.replace("http://", "http://user:password@") + "/some/path/"
    with analytics(url) as section:
        section.ask(PANEL)
    assert grafana.arrived[0].target == ROOT + PANEL
    assert grafana.arrived[0].header("authorization") is None


def test_the_client_of_an_untrusted_proxy_is_that_proxy(grafana: StandIn) -> None:
    scope = scope_of("/d-solo/x/y", "GET", {"X-Forwarded-For": "10.0.0.1"}, root_path=f"{ROOT}/grafana")
    assert asyncio.run(_status(GrafanaProxy(grafana.url), scope)) == 200
    assert grafana.arrived[0].header("x-forwarded-for") == "192.0.2.7"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/grafana/login", "GET", 403),
        ("/grafana/logout", "GET", 403),
        ("/grafana/api/admin/users", "GET", 403),
        ("/grafana/api/datasources", "GET", 403),
        ("/grafana/explore", "GET", 403),
        ("/grafana/public/../api/admin/users", "GET", 403),
        ("/grafana/public/%2e%2e/api/admin/users", "GET", 403),
        ("/grafana/public/..%2fapi%2fadmin%2fusers", "GET", 403),
        ("/grafana/public/..%5capi", "GET", 403),
        ("/grafana/public/%252e%252e/api", "GET", 403),
        ("/grafana/public//build/x.js", "GET", 403),
        ("/grafana//api/annotations", "GET", 403),
        ("/grafana/public/%00", "GET", 403),
        ("/%67rafana/api/annotations", "GET", 403),
        ("/x/../grafana/api/annotations", "GET", 404),
        ("/grafana/api/dashboards/uid/x", "POST", 405),
        ("/grafana/api/dashboards/db", "POST", 405),
        ("/grafana/api/annotations", "PUT", 405),
        ("/grafana/api/annotations", "DELETE", 405),
        ("/grafana/api/ds/query", "PATCH", 405),
        ("/grafana/api/ds/query", "GET", 405),
    ],
)
def test_refused_requests_do_not_arrive(
    grafana: StandIn, section: ServedSection, path: str, method: str, status: int
) -> None:
    answer = section.ask(path, method)
    assert answer.status == status
    assert answer.header("content-type") in ("application/problem+json", "text/plain; charset=utf-8")
    assert grafana.arrived == []


@pytest.mark.parametrize("key", [None, "wrong"])
def test_requests_without_a_credential_do_not_arrive(grafana: StandIn, section: ServedSection, key: str | None) -> None:
    for path, method in ((PANEL, "GET"), (QUERY, "POST"), ("/grafana/public/x.js", "GET"), ("/grafana/login", "GET")):
        assert section.ask(path, method, key=key).status == 401
    assert section.ask(PANEL, headers={"Authorization": f"Bearer {token(scope='user')}"}, key=None).status == 403
    assert grafana.arrived == []


def test_telemetry_is_answered_here(grafana: StandIn, section: ServedSection) -> None:
    answer = section.ask("/grafana/api/frontend-metrics", "POST", body=b'{"events": []}')
    assert (answer.status, answer.body) == (204, b"")
    assert grafana.arrived == []


def test_a_websocket_is_refused(grafana: StandIn, section: ServedSection) -> None:
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert section.ask("/grafana/api/live/ws", headers=handshake).status == 403
    assert grafana.arrived == []
    section.ask(PANEL, headers=handshake)
    assert grafana.arrived[0].header("upgrade") is None


def test_a_websocket_of_the_server_is_closed_before_it_is_open() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("/grafana/api/live/ws") | {"type": "websocket"}
    asyncio.run(GrafanaProxy("http://127.0.0.1:9")(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_body_of_a_megabyte_is_enough(grafana: StandIn, section: ServedSection) -> None:
    assert section.ask(QUERY, "POST", body=b"x" * LIMIT).status == 200
    assert len(grafana.arrived[0].body) == LIMIT
    answer = section.ask(QUERY, "POST", body=b"x" * (LIMIT + 1))
    assert answer.status == 413
    assert answer.header("content-type") == "application/problem+json"
    assert len(grafana.arrived) == 1


def test_a_body_with_too_large_a_length_is_refused_at_once() -> None:
    with analytics("http://127.0.0.1:9") as section:  # nothing listens there: a request would get 502
        assert section.ask(QUERY, "POST", body=b"x" * (LIMIT + 1)).status == 413


def test_a_chunked_body_is_cut_off_at_a_megabyte(grafana: StandIn, section: ServedSection) -> None:
    with section.connect() as connection:
        section.send(connection, QUERY, "POST", {"Transfer-Encoding": "chunked"})
        part = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        try:
            for _ in range(32):
                connection.send(part)
            connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert connection.getresponse().status == 413
    assert grafana.arrived == []


def test_a_stalled_body_times_out(grafana: StandIn) -> None:
    with analytics(grafana.url, quick()) as section, section.connect() as connection:
        section.send(connection, QUERY, "POST", {"Content-Length": "10"})
        connection.send(b"x")
        assert connection.getresponse().status == 408
    assert grafana.arrived == []


@pytest.mark.parametrize("hosts", [[], ["a.example", "b.example"]])
def test_a_request_needs_exactly_one_host(grafana: StandIn, hosts: list[str]) -> None:
    scope = scope_of(PANEL)
    scope["headers"] = [(b"host", host.encode()) for host in hosts]
    scope["root_path"] += "/grafana"
    assert asyncio.run(_status(GrafanaProxy(grafana.url), scope)) == 400
    assert grafana.arrived == []


def test_invalid_http_is_not_passed_on(grafana: StandIn) -> None:
    for query in ("x=\xff", "x=a b", "x=\r\nHost: evil"):
        scope = scope_of(f"/d-solo/x/y?{query}", root_path=f"{ROOT}/grafana")
        assert asyncio.run(_status(GrafanaProxy(grafana.url), scope)) == 400
    assert grafana.arrived == []


async def _status(proxy: GrafanaProxy, scope: Scope) -> int:
    statuses: list[int] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await proxy(scope, receive, send)
    await proxy.aclose()
    return statuses[0]
