"""The check of the Host header, against DNS rebinding."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from admin.access.hosts import HostCheck, host_names
from admin.site import build_site
from tests.admin.access.guarded import Behind, access_of, section_of
from tests.admin.client import Headers, ask
from tests.rows import NO_DATABASE, NOWHERE
from tests.scenario import settings_for

OURS = ("admin.example", "panel.example")


@pytest.fixture
def app() -> ASGIApp:
    return HostCheck(Behind(), OURS)


@pytest.mark.parametrize(
    "host",
    [
        *("admin.example", "Admin.Example:443", "admin.example.", "admin.example.:8443", "panel.example"),
        *("localhost", "localhost:10178", "LOCALHOST:1", "a.localhost"),
        *("127.0.0.1", "127.0.0.1:10178", "127.9.9.9", "[::1]", "[::1]:10178", "10.0.0.7:80", "[fd00::7]:80"),
    ],
)
def test_our_names_and_addresses_are_served(host: str, app: ASGIApp) -> None:
    assert ask(app, "/summary", "GET", {"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:10178", "admin.example.evil.example", "xadmin.example", "x.admin.example"),
        *("localhost.evil.example", "xlocalhost", "127.0.0.1.evil.example", "[admin.example", "0x7f.1", "127.1"),
        *("", ":10178", "[]", "admin.example@evil.example", "evil.example#admin.example", "evil.example admin.example"),
        *("[::1].evil.example", "[::1]evil.example:10178"),
    ],
)
def test_another_name_is_refused_and_the_log_names_the_setting(host: str, app: ASGIApp) -> None:
    with capture_logs() as events:
        answer = ask(app, "/summary", "GET", {"Host": host})
    assert (answer.status, answer.header("content-type")) == (421, "application/problem+json")
    assert "HIVESYNC_PUBLIC_URL" in answer.json["detail"]
    (event,) = events
    assert (event["event"], event["setting"]) == ("admin.host.refused", "HIVESYNC_PUBLIC_URL")
    assert (event["host"], event["address"]) == (host, "192.0.2.7")


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "localhost"), ("Host", "localhost")],
        [("Host", "localhost"), ("Host", "evil.example")],
        [("Host", "evil.example"), ("Host", "localhost")],
    ],
)
def test_two_hosts_are_refused(headers: Headers, app: ASGIApp) -> None:
    assert ask(app, "/summary", "GET", headers).status == 400


def test_refused_hosts_cannot_fill_the_log(app: ASGIApp) -> None:
    with capture_logs() as events:
        for number in range(100):
            ask(app, "/summary", "GET", {"Host": f"{'x' * 500}{number}.example"})
    assert len(events) == 30
    assert {len(event["host"]) for event in events} == {100}


def test_the_names_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = settings_for(
        NO_DATABASE,
        NOWHERE,
        tmp_path,
        public_url="https://Admin.Example:8443/",
        admin_origins="https://panel.example,http://[fd00::7]:80",
    )
    assert host_names(settings) == {"admin.example", "panel.example", "fd00::7"}
    assert host_names(settings_for(NO_DATABASE, NOWHERE, tmp_path)) == set()


def test_no_path_of_the_port_is_served_to_a_rebound_name() -> None:
    site = build_site(section_of(access_of()), OURS)
    for path in ("/", "/admin/analytics", "/admin/analytics/login", "/admin/analytics/static/styles/tokens.css", "/x"):
        with capture_logs():
            assert ask(site, path, "GET", {"Host": "evil.example"}, root_path="").status == 421, path
        assert ask(site, path, "GET", {"Host": "admin.example"}, root_path="").status != 421, path
