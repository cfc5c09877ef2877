"""The real exporter as a process of its own: started with given settings, watched through /metrics and through its log.

    with RunningExporter(directory, database_url=..., redis_url=...) as exporter:
        exporter.wait_for(lambda samples: samples.get("hivesync_projects") == 3)

Nothing here sleeps for a guessed time: `until` asks again and again, and gives up at a deadline that is far off.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from demo.exporting import Exporter, exporter_variables

WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.05
REFRESH_SECONDS = 0.3
OPENMETRICS = "application/openmetrics-text"

Samples = Mapping[str, float]
"""Values by `name{label="value",...}`, labels in alphabetical order; `name` alone where there are none."""

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, within: float = WITHIN_SECONDS) -> T:
    """The first true value of the condition; AssertionError with `what` when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(POLL_SECONDS)


def parse(text: str, *, openmetrics: bool = False) -> dict[str, float]:
    """The samples of an exposition. Fails on a sample that is there twice."""
    families: Iterable[Any] = parse_openmetrics(text) if openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
    values: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in values, f"twice: {name}"
            values[name] = sample.value
    return values


def metrics_of(samples: Iterable[str]) -> set[str]:
    """The names without the labels."""
    return {name.partition("{")[0] for name in samples}


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and the body as it was sent; whoever does not answer for 5 s fails the test."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


class RunningExporter(Exporter):
    """The exporter with a state directory, price file and two log files of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        redis_url: str,
        refresh_seconds: float = REFRESH_SECONDS,
        **settings: object,
    ) -> None:
        """`settings` are further variables, named as the fields of `Settings`."""
        directory.mkdir(parents=True, exist_ok=True)
        variables = exporter_variables(
            directory, database_url=database_url, redis_url=redis_url, log_directory=directory / "logs"
        )
        given = {f"HIVESYNC_{name.upper()}": str(value) for name, value in settings.items()}
        self.variables = variables | {"HIVESYNC_REFRESH_SECONDS": str(refresh_seconds)} | given
        super().__init__(directory, self.variables)
        self.ai_log = Path(self.variables["HIVESYNC_AI_EVENTS_LOG"])
        self.preview_log = Path(self.variables["HIVESYNC_PREVIEW_LOG"])
        self.state = Path(self.variables["HIVESYNC_STATE_DIR"])
        self.ai_log.parent.mkdir(parents=True, exist_ok=True)

    def samples(self) -> dict[str, float]:
        """What /metrics says now."""
        return parse(self.metrics())

    def wait_for(self, condition: Callable[[Samples], object], within: float = WITHIN_SECONDS) -> dict[str, float]:
        """The first samples for which the condition holds."""
        samples: dict[str, float] = {}

        def holds() -> bool:
            samples.clear()
            samples.update(self.samples())
            return bool(condition(samples))

        try:
            until(holds, "the metrics waited for", within)
        except AssertionError as error:
            shown = "\n".join(f"{name} {value:g}" for name, value in samples.items() if "_bucket" not in name)
            raise AssertionError(f"{error}; the last were\n{shown}\nand it said\n{self.log_tail()}") from None
        return samples

    def refreshed(self, times: int = 2) -> dict[str, float]:
        """The samples once every collector has refreshed that often, from now on."""
        before = _refreshes(self.samples())
        return self.wait_for(
            lambda samples: all(count >= before[name] + times for name, count in _refreshes(samples).items())
        )

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it has logged since it was started: JSON objects, and nothing else."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            *lines, rest = log.read().split(b"\n")
        assert rest == b"" or self.is_alive, rest
        events = [orjson.loads(line) for line in lines]
        return [logged for logged in events if event is None or logged["event"] == event]

    def changes(self, **fields: str) -> list[str]:
        """`degraded` and `recovered`, in the order in which they were logged, of the events with these fields."""
        return [
            event["event"].removeprefix("system.analytics.")
            for event in self.events()
            if event["event"].startswith("system.analytics.") and fields.items() <= event.items()
        ]

    def launch(self) -> None:
        """Start it without waiting for its first pass: until it answers."""
        self.is_ready, wait = self.answers, self.is_ready  # type: ignore[method-assign]
        try:
            self.start()
        finally:
            self.is_ready = wait  # type: ignore[method-assign]

    def answers(self) -> bool:
        """Whether it serves /metrics."""
        try:
            return get(f"{self.url}/metrics")[0] == 200
        except (OSError, HTTPException):
            return False

    def terminate(self) -> tuple[int, float]:
        """End it with SIGTERM: its exit status, and the seconds that took."""
        process = self._process
        assert process is not None
        started = time.monotonic()
        self.stop()
        return process.returncode, time.monotonic() - started

    def command_line(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m exporter ...` with the same settings, to its end."""
        return run_exporter(self.environment, self.directory, arguments)


def run_exporter(
    environment: Mapping[str, str], directory: Path, arguments: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """`python -m exporter` until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # gone meanwhile
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = list(parents.get(pid, ()))
    for child in found:
        found += parents.get(child, ())
    return found


def signal_all(pid: int, number: int) -> None:
    """Send a signal to a process and then to its descendants."""
    for target in (pid, *descendants(pid)):
        os.kill(target, number)


def _refreshes(samples: Samples) -> dict[str, float]:
    return {
        name: value for name, value in samples.items() if name.startswith("hivesync_refresh_duration_seconds_count")
    }
