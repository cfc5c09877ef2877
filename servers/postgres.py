"""PostgreSQL from a wheel."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from servers.child import Child
from servers.ports import LOOPBACK, free_port
from servers.postgres_files import has_library, installation, new_place, place_for_nobody
from servers.private import private_file

POSTGRES_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "50",
    "fsync": "off",  # written data survive a kill; here they need not survive the machine
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",  # a killed server leaves it in its own directory, not in /dev/shm
    "timezone": "Pacific/Auckland",  # far from UTC: exposes code that relies on the server's time zone
}


class PostgresServer(Child):
    """PostgreSQL with a superuser `postgres` and a random password; started by root it runs as `nobody`.

    Without the password, every user of the machine could run programs as the server's user.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": ends the clients' connections
    orphan_signal = signal.SIGQUIT  # "immediate": like a crash, but leaves no shared memory

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        *,
        in_memory: bool = False,
        primary: PostgresServer | None = None,
    ) -> None:
        """`settings` are added to those of postgresql.conf, and may replace them; `in_memory` keeps the data in memory,
        if there is room. With `primary`, a running server, it is a standby of that one, by streaming replication."""
        super().__init__(directory)
        self._primary = primary
        self.port = free_port()
        self.password: str = primary.password if primary else secrets.token_hex()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        preloaded = {"shared_preload_libraries": "pg_stat_statements"} if has_library("pg_stat_statements") else {}
        self._settings = POSTGRES_SETTINGS | preloaded | dict(settings or {})
        if os.geteuid() == 0:
            self.user = "nobody"
            self._data = place_for_nobody(self.user, in_memory=in_memory)
        else:
            self._data = new_place(in_memory=True) if in_memory else self.directory / "data"

    @property
    def url(self) -> str:
        """The superuser's connection URL for the database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = "postgres") -> str:
        """Return the connection URL of any database, and of any role with the server's password."""
        return f"postgresql://{user}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def passwords(self) -> Path:
        """A password file for clients (`PGPASSFILE`), for all roles with the server's password."""
        return self.directory / "pgpass"

    def prepare(self) -> None:
        """Create the data directory and the password file, once."""
        if (self._data / "PG_VERSION").exists():
            return
        private_file(self.passwords, f"{LOOPBACK}:{self.port}:*:*:{self.password}\n")
        if self._primary is not None:
            self._copy(self._primary)
            return
        password = self._data.with_name(f"{self._data.name}.password")
        private_file(password, self.password)
        try:
            if self.user:
                shutil.chown(password, self.user)
            initdb = [str(self._binaries() / "initdb"), "-D", str(self._data), "--no-sync", "--no-instructions"]
            superuser = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}"]
            self.run([*initdb, *superuser, "--encoding=UTF8", "--locale=C"])
        finally:
            password.unlink()

    def _copy(self, primary: PostgresServer) -> None:
        copy = [str(self._binaries() / "pg_basebackup"), "-D", str(self._data), "--username=postgres", "--no-sync"]
        server = [f"--host={LOOPBACK}", f"--port={primary.port}", "--checkpoint=fast", "--write-recovery-conf"]
        own = self.environment
        try:
            self.environment = {**own, "PGPASSWORD": self.password}  # all users see the arguments of a process
            self.run([*copy, *server])
        finally:
            self.environment = own

    def remove(self) -> None:
        """Remove the data of a stopped server, which is of no use any more."""
        shutil.rmtree(self._data)

    def forget_standby(self) -> None:
        """Make a stopped copy of another server a server of its own at its next start, without a promotion: like a
        restored snapshot of its disk."""
        (self._data / "standby.signal").unlink()

    def command(self) -> Sequence[str]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return [str(self._binaries() / "postgres"), "-D", str(self._data), f"--port={self.port}", *settings]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def promote(self) -> None:
        """Make a running standby a server of its own, and wait until it is."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def _binaries(self) -> Path:
        return installation(for_everyone=bool(self.user)) / "bin"
