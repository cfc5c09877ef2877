"""Modules that the start of the service does not wait for."""

from __future__ import annotations

import subprocess
import sys

LATER = ("admin", "exporter.doctor", "exporter.web_config", "jinja2", "yaml")
"""Imported in a thread of its own, after the first pass, or where a file of a port is configured."""


def test_the_start_does_not_wait_for_what_it_does_not_need() -> None:
    code = f"import sys, exporter.__main__\nprint(*(name for name in {LATER} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
