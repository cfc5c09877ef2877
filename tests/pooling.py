"""PgBouncer in transaction mode in front of the tests' PostgreSQL, as a child process on a free port.

with PgBouncer(directory, server, database, users=["reader"]) as pooler:
    psycopg.connect(pooler.url_of("reader"))
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.child import Child, ChildError
from servers.ports import LOOPBACK, free_port
from servers.postgres import PostgresServer
from servers.postgres_files import place_for_nobody
from servers.private import private_file

PROGRAM = "pgbouncer"
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
"""The PATH, extended by Debian's directory of administrators' programs."""


class PgBouncer(Child):
    """A PgBouncer with one database and some users with the server's password; started by root, it runs as
    `nobody`."""

    name = "PgBouncer"

    def __init__(
        self,
        directory: Path,
        server: PostgresServer,
        database: str,
        users: Sequence[str],
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """`settings` are added to those of pgbouncer.ini, and may replace them."""
        super().__init__(directory)
        self.port = free_port()
        self._server, self._database, self._users = server, database, users
        self._settings = dict(settings or {})
        self._files = self.directory
        if os.geteuid() == 0:
            self.user = "nobody"
            self._files = place_for_nobody(self.user)

    @staticmethod
    def binary() -> str | None:
        """The path of the program; None if it is not installed."""
        return shutil.which(PROGRAM, path=PATH)

    @property
    def url(self) -> str:
        return self.url_of(self._users[0])

    def url_of(self, user: str, database: str = "") -> str:
        """The connection URL of a role through PgBouncer."""
        return f"postgresql://{user}:{self._server.password}@{LOOPBACK}:{self.port}/{database or self._database}"

    def prepare(self) -> None:
        """Write the configuration."""
        settings = {
            "listen_addr": LOOPBACK,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "pool_mode": "transaction",
            "auth_type": "scram-sha-256",
            "auth_file": self._files / "users.txt",
            **self._settings,
        }
        users = self._files / "users.txt"
        private_file(users, "".join(f'"{user}" "{self._server.password}"\n' for user in self._users))
        if self.user:
            shutil.chown(users, self.user)
        lines = [f"{name} = {value}" for name, value in settings.items()]
        (self._files / "pgbouncer.ini").write_text(
            "\n".join(
                [
                    "[databases]",
                    f"{self._database} = host={LOOPBACK} port={self._server.port}",
                    "[pgbouncer]",
                    *lines,
                    "",
                ]
            )
        )

    def command(self) -> Sequence[str]:
        binary = self.binary()
        if binary is None:
            raise ChildError("PgBouncer is not installed (on Debian: apt-get install pgbouncer)")
        return [binary, str(self._files / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True
