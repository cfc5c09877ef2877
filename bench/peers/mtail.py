"""google/mtail over a whole log (`-one_shot`), with a typical program for these metrics."""

from __future__ import annotations

import re
import time
from pathlib import Path

from bench.command import installed, run

PACKAGE = "mtail"
READ_SECONDS = 120.0

# One expression per line, mostly matched near the start of the line; the second for errors alone.
PROGRAM = """\
counter ai_log_events by event
counter ai_log_errors by kind

/"event":"(?P<event>ai\\.requested|ai\\.completed|ai\\.error)"/ {
  ai_log_events[$event]++
  $event == "ai.error" {
    /"error_kind":"(?P<kind>[a-z_]+)"/ {
      ai_log_errors[$kind]++
    }
  }
}
"""


class Mtail:
    """mtail from the PATH. Raises NotMeasured when it is not installed."""

    def __init__(self, directory: Path) -> None:
        self._program = installed("mtail", PACKAGE)
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        (directory / "ai_events.mtail").write_text(PROGRAM)

    def read(self, log: Path) -> tuple[float, int]:
        """Return the seconds of the whole process, and the number of counted events."""
        started = time.perf_counter()
        options = ["-one_shot", "-one_shot_format=prometheus", f"-log_dir={self._directory}"]
        ended = run(
            [self._program, *options, f"-progs={self._directory / 'ai_events.mtail'}", f"-logs={log}"],
            within=READ_SECONDS,
        )
        seconds = time.perf_counter() - started
        return seconds, sum(map(int, re.findall(r"^ai_log_events\{.*\} (\d+)", ended.stdout, re.MULTILINE)))
