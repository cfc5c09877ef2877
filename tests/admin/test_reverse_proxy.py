"""The admin port behind nginx with the documented lines: addresses of clients, host names and the cookie."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from servers.ports import LOOPBACK
from tests.admin.world import API_KEY
from tests.reverse_proxy import Nginx
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter
from tests.waiting import patience, until

pytestmark = pytest.mark.nginx

LOGIN = "/admin/analytics/login"


def test_behind_the_documented_proxy_each_client_has_an_address_of_its_own(tmp_path: Path) -> None:
    with (
        RunningExporter(
            tmp_path / "exporter",
            database_url=NO_DATABASE,
            redis_url=NOWHERE,
            admin_api_key=API_KEY,
            public_url="https://admin.example",
        ) as exporter,
        Nginx(tmp_path / "nginx", exporter.variables["HIVESYNC_ADMIN_LISTEN"]) as proxy,
    ):

        def log_in(source: str, key: str, host: str = "admin.example") -> tuple[int, str]:
            connection = http.client.HTTPConnection(
                LOOPBACK, proxy.port, timeout=patience(), source_address=(source, 0)
            )
            headers = {"Host": host, "Origin": "https://admin.example", "X-Forwarded-For": "192.0.2.99"}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("POST", LOGIN, f"api_key={key.replace(' ', '+')}", headers)
            answer = connection.getresponse()
            connection.close()
            return answer.status, answer.getheader("Set-Cookie", "")

        until(lambda: log_in("127.0.0.2", API_KEY)[0] == 303, "the section is served")
        for _ in range(10):
            assert log_in("127.0.0.3", "wrong")[0] == 401
        assert [log_in(source, "wrong")[0] for source in ("127.0.0.3", "127.0.0.2")] == [429, 401]
        status, cookie = log_in("127.0.0.3", API_KEY)
        assert (status, cookie.partition("=")[0]) == (303, "__Secure-hivesync_analytics")
        assert log_in("127.0.0.2", API_KEY, "evil.example")[0] == 421
        events = exporter.events()
    accepted = [event["address"] for event in events if event["event"] == "admin.login.accepted"]
    assert accepted == ["127.0.0.2", "127.0.0.3"]
    (refused,) = [event for event in events if event["event"] == "admin.host.refused"]
    assert (refused["host"], refused["setting"]) == ("evil.example", "HIVESYNC_PUBLIC_URL")
