"""A Celery worker, as its package brings it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.child import Child

ROOT = Path(__file__).parents[1]


class CeleryWorker(Child):
    """A worker of one process, which fetches up to four more messages than it works at: Celery's default."""

    name = "Celery"

    def __init__(
        self,
        directory: Path,
        broker: str,
        *,
        app: str,
        queues: Sequence[str],
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """`app` names the application's module, whose broker is the variable CELERY_BROKER_URL."""
        super().__init__(directory)
        self.broker = broker
        self.working_directory = ROOT
        self.environment = {**os.environ, "CELERY_BROKER_URL": broker, **(environment or {})}
        self._app = app
        self._queues = queues
        self._options = options

    @property
    def url(self) -> str:
        return self.broker

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "celery", "--app", self._app, "worker", "--loglevel", "INFO"),
            *("--concurrency", "1", "--queues", ",".join(self._queues)),
            *("--without-gossip", "--without-mingle", *self._options),
        ]

    def is_ready(self) -> bool:
        return " ready." in self.log_tail(100)
