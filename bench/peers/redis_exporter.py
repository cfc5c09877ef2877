"""oliver006/redis_exporter, counting keys of a pattern: it reads the names of keys (SCAN) and no values, and so knows
neither users nor devices. (Its `-check-keys` reads type and size of each key, and exposes a series per key.)"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from bench.command import debian_version, installed
from bench.measure import NotMeasured
from servers.child import Child
from servers.fetch import fetch
from servers.ports import LOOPBACK, free_port

PACKAGE = "prometheus-redis-exporter"
PASS_SECONDS = 120.0


class RedisExporter(Child):
    """redis_exporter from the PATH."""

    name = "redis_exporter"

    def __init__(self, directory: Path, redis_url: str, pattern: str) -> None:
        """Raises NotMeasured when redis_exporter is not installed."""
        self._program = installed(PACKAGE, PACKAGE)
        super().__init__(directory)
        self.port = free_port()
        self.version = debian_version(PACKAGE)
        self._options = [f"-redis.addr={redis_url}", f"-count-keys=db0={pattern}", "-connection-timeout=120s"]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/metrics"

    def command(self) -> Sequence[str]:
        return [self._program, *self._options, f"-web.listen-address={LOOPBACK}:{self.port}"]

    def is_ready(self) -> bool:
        try:
            return fetch(f"http://{LOOPBACK}:{self.port}/health")[0] == 200
        except (OSError, HTTPException):
            return False

    def count(self) -> tuple[float, int]:
        """Scrape once; return the seconds and the number of keys found."""
        started = time.perf_counter()
        try:
            _, text = fetch(self.url, timeout=PASS_SECONDS)
        except (OSError, HTTPException) as error:
            raise NotMeasured(f"{self.name} did not answer: {type(error).__name__}") from error
        found = re.search(r"^redis_keys_count\{[^}]*\} (\S+)", text, re.MULTILINE)
        if found is None:
            raise NotMeasured(f"{self.name} did not count the keys")
        return time.perf_counter() - started, int(float(found[1]))
