"""The probe of Grafana in the background."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

import admin.grafana.probe
from admin.grafana.probe import GrafanaProbe
from admin.grafana.proxy import GrafanaProxy
from tests.admin.grafana.standing_in import StandIn, raw_server, standing_in
from tests.waiting import until_async


async def asked(url: str, times: int = 1) -> GrafanaProbe:
    """A probe after so many requests."""
    probe = GrafanaProbe(url)
    for _ in range(times):
        await probe.ask()
    await probe.aclose()
    return probe


def test_the_state_is_unknown_before_the_first_probe() -> None:
    assert GrafanaProxy("http://127.0.0.1:9").up is None


def test_the_probe_uses_the_public_path() -> None:
    with standing_in() as grafana:

        async def run() -> bool | None:
            proxy = GrafanaProxy(f"{grafana.url}/", period_seconds=60)
            running = asyncio.ensure_future(proxy.run())
            try:
                await until_async(lambda: proxy.up is not None)
                return proxy.up
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
                await proxy.aclose()

        assert asyncio.run(run()) is True
    (arrived,) = grafana.arrived
    assert arrived.target == "/admin/analytics/grafana/api/health"
    assert {name for name, _ in arrived.headers} == {"host", "user-agent"}


@pytest.mark.parametrize("status", [301, 302, 401, 404, 407, 500, 503])
def test_any_status_but_200_is_down(status: int) -> None:
    with standing_in() as grafana, capture_logs() as events:
        grafana.answering = PlainTextResponse("", status)
        assert asyncio.run(asked(grafana.url)).up is False
    assert events == [{"event": "admin.grafana.down", "reason": f"http_{status}", "log_level": "warning"}]


def test_a_refused_connection_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with capture_logs():
        assert asyncio.run(asked(url)).up is False


def test_a_time_out_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(admin.grafana.probe, "ANSWER_SECONDS", 0.1)
    with raw_server(script) as url, capture_logs() as events:
        assert asyncio.run(asked(url)).up is False
    assert events[0]["reason"] == "TimeoutError"


def test_changes_are_logged_once() -> None:
    with standing_in() as grafana, capture_logs() as events:
        asyncio.run(_ups_and_downs(grafana))
    assert [event["event"] for event in events] == ["admin.grafana.up", "admin.grafana.down", "admin.grafana.up"]


async def _ups_and_downs(grafana: StandIn) -> None:
    probe = GrafanaProbe(grafana.url)
    for status in (200, 200, 503, 503, 200):
        grafana.answering = PlainTextResponse("", status)
        await probe.ask()
        assert probe.up is (status == 200)
    await probe.aclose()


def test_the_probe_repeats() -> None:
    with standing_in() as grafana:

        async def run() -> None:
            proxy = GrafanaProxy(grafana.url, period_seconds=0.01)
            running = asyncio.ensure_future(proxy.run())
            await until_async(lambda: len(grafana.arrived) >= 3)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await proxy.aclose()

        with capture_logs():
            asyncio.run(run())
