"""Events: one JSON object a line, and no reason to stop when they cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

from tests.waiting import patience

SAY_SOMETHING = """
import structlog
from exporter import events
events.configure()
structlog.get_logger().warning("system.analytics.degraded", source="postgres", kind="refused")
print("still here")
"""


def say(stderr: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", SAY_SOMETHING], stdout=subprocess.PIPE, stderr=stderr, timeout=patience(), check=False
    )


def test_an_event_is_a_json_object_on_a_line_of_its_own() -> None:
    (line,) = say(subprocess.PIPE).stderr.splitlines()
    event = orjson.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "system.analytics.degraded",
        "level": "warning",
        "source": "postgres",
        "kind": "refused",
    }


def test_that_events_cannot_be_written_stops_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        said = say(full.fileno())
    assert (said.stdout, said.returncode) == (b"still here\n", 0)
