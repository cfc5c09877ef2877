"""`python -m demo` as a command, with the real exporter: it starts, shows events, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlsplit

import pytest

from demo.__main__ import main
from demo.console import Console
from demo.overview import aligned, status
from demo.processes import Processes
from demo.traffic import Traffic
from servers.fetch import fetch
from servers.valkey import ValkeyServer
from tests.servers.processes import alive
from tests.servers.standin_grafana import install
from tests.waiting import patience, until

PROJECT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "demo", "--users", "60", "--days", "2", "--speed", "5"]
CHOSEN = "chosen"


@dataclass(frozen=True)
class Demo:
    """A running demo, with its temporary directories in one place."""

    process: subprocess.Popen[bytes]
    place: Path
    printed: Path

    def text(self) -> str:
        """The output so far."""
        return self.printed.read_text()

    def wait_until_it_shows(self, pattern: str) -> re.Match[str]:
        """The first match in the output."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.text(), re.MULTILINE)
            assert match or self.process.poll() is None, self.text()
            return match

        match = until(found)
        assert match
        return match

    def pids(self) -> dict[str, int]:
        """The process ids that the demo prints, by name."""
        self.wait_until_it_shows("Ctrl-C stops everything")
        return {name: int(pid) for name, pid in re.findall(r"^ +(\w+) .*\(process (\d+)\)$", self.text(), re.MULTILINE)}

    def environment(self) -> dict[str, str]:
        """The exporter's variables, as the demo prints them for other processes."""
        (file,) = self.place.glob("*/exporter.env")
        return dict(line.split("=", 1) for line in file.read_text().splitlines())


@pytest.fixture
def places() -> Iterator[list[Path]]:
    """Two places for temporary directories of demos; pytest's own are closed to the user of PostgreSQL."""
    places = [Path(tempfile.mkdtemp(prefix="test-demo-")) for _ in range(2)]
    for place in places:
        place.chmod(0o755)
    yield places
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def demos(places: list[Path], tmp_path: Path) -> Iterator[list[Demo]]:
    """Two small demos, started together: one with a Grafana on its PATH (`standin_grafana.py`), and one without, in a
    given directory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
    environment["HIVESYNC_AI_QUEUE_KEYS"] = "inherited:by:mistake"
    with ExitStack() as stack:
        demos = []
        with_grafana = f"{install(tmp_path / 'grafana')}{os.pathsep}{environment['PATH']}"
        for number, place in enumerate(places):
            printed = tmp_path / f"printed-{number}"
            process = stack.enter_context(
                subprocess.Popen(
                    [*DEMO, *(["--directory", str(place / CHOSEN)] if number else [])],
                    cwd=PROJECT,
                    env=environment | {"TMPDIR": str(place)} | ({} if number else {"PATH": with_grafana}),
                    stdout=stack.enter_context(printed.open("wb")),
                    stderr=subprocess.STDOUT,
                )
            )
            stack.callback(process.kill)
            demos.append(Demo(process, place, printed))
        yield demos


@pytest.mark.prometheus
@pytest.mark.alertmanager
def test_two_demos_at_once_run_the_exporter_and_leave_nothing(demos: list[Demo]) -> None:
    first, second = demos
    pids = [demo.pids() for demo in demos]
    everywhere = {"PostgreSQL", "Valkey", "Exporter", "Prometheus", "Alertmanager"}
    assert [set(found) for found in pids] == [everywhere | {"Grafana"}, everywhere]
    assert "Grafana      not installed" in second.text()
    urls = [demo.wait_until_it_shows(r"^ +Exporter +(http\S+)")[1] for demo in demos]
    assert urls[0] != urls[1]
    for demo, url in zip(demos, urls, strict=True):
        demo.wait_until_it_shows(r"online users \d+, AI requests in the last hour \d+, waiting: AI \d+")
        assert 'hivesync_source_up{source="redis"} 1' in fetch(url)[1]
        assert "postgresql://hivesync_exporter:" in demo.environment()["HIVESYNC_DATABASE_URL"]
        for name in ("HIVESYNC_DATABASE_URL", "HIVESYNC_REDIS_URL"):
            assert (urlsplit(demo.environment()[name]).password or "no password") not in demo.text()
        assert "by:mistake" not in fetch(url)[1]

    prometheus = first.wait_until_it_shows(r"^ +Prometheus +(http\S+)")[1]
    assert urls[0].removeprefix("http://").removesuffix("/metrics") in fetch(f"{prometheus}/api/v1/status/config")[1]

    past = asked(prometheus, f"query?query={quote('count(hivesync_worker_healthy offset 1d)')}")["result"]
    assert [value for series in past for value in series["value"][1:]] == ["5"], "charts are not blank at the start"

    names = {rule["name"] for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]}
    assert {"HiveSyncQueueBacklog", "queue:hivesync_queue_depth:sum"} <= names
    alertmanager = first.wait_until_it_shows(r"^ +Alertmanager +(http\S+)")[1]
    until(lambda: asked(prometheus, "alertmanagers")["activeAlertmanagers"])
    assert asked(prometheus, "alertmanagers")["activeAlertmanagers"] == [{"url": f"{alertmanager}/api/v2/alerts"}]

    told = json.loads(next(first.place.glob("*/grafana/data/told.json")).read_text())["variables"]
    assert told["GF_HIVESYNC_PROMETHEUS_URL"] == prometheus
    assert first.environment()["HIVESYNC_GRAFANA_URL"].endswith(f":{told['GF_SERVER_HTTP_PORT']}")
    assert told["GF_SERVER_ROOT_URL"] == first.wait_until_it_shows(r"^ +Grafana +(http\S+)")[1]
    assert told["GF_SERVER_ROOT_URL"].startswith(f"http://{first.environment()['HIVESYNC_ADMIN_LISTEN']}/")
    assert second.environment()["HIVESYNC_GRAFANA_URL"] == "''"

    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(patience()) == 0, first.text()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(patience()) == 0, second.text()
    for demo, found, url in zip(demos, pids, urls, strict=True):
        assert alive(found.values()) == []
        assert [path.name for path in demo.place.iterdir()] == ([CHOSEN] if demo is second else [])
        with pytest.raises((OSError, HTTPException)):
            fetch(url)
    assert "fast shutdown" in (second.place / CHOSEN / "postgresql" / "postgresql.log").read_text()


@pytest.mark.prometheus
@pytest.mark.alertmanager
def test_a_demo_says_why_when_its_exporter_ends_and_a_second_ctrl_c_ends_it_at_once(demos: list[Demo]) -> None:
    first, second = demos
    pids = [demo.pids() for demo in demos]
    os.kill(pids[0]["Exporter"], signal.SIGKILL)
    assert first.process.wait(patience()) == 1
    assert re.search(r"^The exporter ended; the end of .*exporter\.log:\n    \S", first.text(), re.MULTILINE)
    assert list(first.place.iterdir()) == []

    os.kill(pids[1]["Prometheus"], signal.SIGSTOP)  # so that the first Ctrl-C takes long
    second.process.send_signal(signal.SIGINT)
    second.wait_until_it_shows("^Stopping")
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(patience(5)) == 130
    until(lambda: alive(found for demo_pids in pids for found in demo_pids.values()) == [])


def asked(prometheus: str, path: str) -> Any:
    """The data of a response of Prometheus' API."""
    return json.loads(fetch(f"{prometheus}/api/v1/{path}")[1])["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users", "0"], "argument --users: should be a whole number from 1 up, not '0'"),
        (["--days", "many"], "argument --days: should be a whole number from 1 up, not 'many'"),
        (["--speed", "nan"], "argument --speed: should be a number above 0, not 'nan'"),
        (["--exit-after", "-1"], "argument --exit-after: should be a number above 0, not '-1'"),
        (["--directory", str(PROJECT)], "is there already, and not an empty directory"),
    ],
)
def test_an_argument_that_makes_no_sense_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_server_that_somebody_ends_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.processes.AWAY_SECONDS", 0.2)
    processes = Processes(tmp_path, Console())
    processes.traffic = cast("Traffic", SimpleNamespace(is_alive=True))
    with ValkeyServer(tmp_path / "valkey") as valkey:
        processes.children = [valkey]
        pid = valkey.pid
        os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            processes.watch()
            return valkey.is_alive and valkey.pid != pid

        until(is_back)


def test_the_status_adds_up_queues_and_shows_a_dash_for_what_is_absent() -> None:
    exposition = """\
# TYPE hivesync_queue_depth gauge
hivesync_queue_depth{queue="ai",name="default"} 3
hivesync_queue_depth{queue="ai",name="priority"} 2
hivesync_queue_depth{queue="preview",name="default"} 0
# TYPE hivesync_ai_requests_in_window gauge
hivesync_ai_requests_in_window{window="1h"} 70
hivesync_ai_requests_in_window{window="24h"} 900
"""
    expected = "online users –, AI requests in the last hour 70, waiting: AI 5, previews 0, AI log lines –"
    assert status(exposition) == expected


def test_columns_are_aligned() -> None:
    assert aligned({"a": "1", "long": "2"}) == "  a     1\n  long  2"
