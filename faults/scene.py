"""The scene of all faults: PostgreSQL and Redis behind proxies, live traffic, the control, and the common exporter."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg.conninfo import make_conninfo

from demo.database import DATABASE, EXPORTER_ROLE, create_database, fill_database
from exporter.collectors import build_collectors
from exporter.settings import Settings
from exporter.state import StateFile
from exporter.version import REVISION, VERSION
from faults.control import ControlServer
from faults.subject import REFRESH_SECONDS, StruckExporter, is_as_expected
from faults.traffic import LiveTraffic
from faults.watch import Samples
from servers.postgres import PostgresServer
from servers.proxy import Proxy
from servers.valkey import ValkeyServer

USERS, DAYS = 300, 32
BODY_BYTES = 60_000
"""Bytes of an answer of the control: about those of /metrics."""

CONNECTIONS = 30
"""Connections of PostgreSQL, few enough to be used up."""

VALKEY_SETTINGS = {"enable-debug-command": "yes", "loading-process-events-interval-bytes": "1024"}


class Scene:
    """Everything that runs, within a `with` block. `exporter` is the one that is struck now."""

    exporter: StruckExporter

    def __init__(
        self, directory: Path, *, seed: int = 7, quick: bool = False, in_memory: bool = True, new_users: bool = True
    ) -> None:
        """`quick`: smaller sizes and shorter faults, for `make test`. `in_memory`: PostgreSQL's files. `new_users`:
        users sign up all the time."""
        self.directory = directory
        self.quick = quick
        self.random = Random(seed)
        self.in_memory = in_memory
        self.postgres = PostgresServer(
            directory / "postgresql", {"max_connections": str(CONNECTIONS)}, in_memory=in_memory
        )
        self.valkey = ValkeyServer(directory / "valkey", VALKEY_SETTINGS)
        self._seed, self._new_users = seed, new_users
        self._numbers = count(1)
        self._stack = ExitStack()
        self._common: StruckExporter | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.postgres)
            stack.enter_context(self.valkey)
            self.owner_url = create_database(self.postgres)
            fill_database(self.owner_url, users=USERS, days=DAYS, seed=self._seed)
            self.database = stack.enter_context(Proxy(self.postgres.port))
            self.cache = stack.enter_context(Proxy(self.valkey.port))
            self.traffic = stack.enter_context(
                LiveTraffic(self.owner_url, self.valkey.url, self._seed, new_users=self._new_users)
            )
            self.control = stack.enter_context(ControlServer(self.directory / "control", BODY_BYTES))
            self.readers, self.gauges = _reading()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_common()
        self._stack.close()

    def new_exporter(
        self,
        *,
        prefix: Sequence[str] = (),
        kind: type[StruckExporter] = StruckExporter,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> StruckExporter:
        """Return another exporter on the same servers, not started."""
        database = make_conninfo(self.postgres.url_of(DATABASE, EXPORTER_ROLE), port=self.database.port)
        parts = urlsplit(self.valkey.url)
        address = parts.netloc.replace(f":{self.valkey.port}", f":{self.cache.port}")
        return kind(
            self.directory / f"exporter-{next(self._numbers)}",
            database_url=database,
            redis_url=urlunsplit(parts._replace(netloc=address)),
            prefix=prefix,
            refresh_seconds=refresh_seconds,
        )

    @contextmanager
    def struck(self, own: StruckExporter | None) -> Iterator[StruckExporter]:
        """Make `own`, or the common exporter, the one that is struck; start it if need be."""
        self._mend_servers()
        if own is not None:
            self._end_common()
            with own:
                self.exporter = own
                yield own
            return
        if self._common is None or not self._common.is_alive:
            self._end_common()
            self._common = self.new_exporter()
            self._common.__enter__()
        self.exporter = self._common
        yield self._common

    def renew(self) -> None:
        """Use another exporter for the faults after one that was not held."""
        self._end_common()

    def sql(self, *statements: str, url: str = "") -> list[Any]:
        """Execute statements as the superuser, in HiveSync's database; return the rows of the last one."""
        with psycopg.connect(url or self.owner_url, autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def disconnect_exporter(self) -> None:
        """End the exporter's connections to PostgreSQL, on the server."""
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{EXPORTER_ROLE}'")

    def is_well(self, samples: Samples) -> bool:
        """Return whether every source and collector is up."""
        return is_as_expected(samples, (), (), self.readers)

    def connections(self) -> int:
        """Return the number of the exporter's connections to PostgreSQL."""
        ((number,),) = self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{EXPORTER_ROLE}'")
        return int(number)

    def versions(self) -> str:
        """Return the versions of everything that runs."""
        with psycopg.connect(self.owner_url) as connection, self.redis() as client:
            info = client.info("server")
            versions = {
                "hivesync-analytics": f"{VERSION} ({REVISION})",
                "Python": sys.version.partition(" ")[0],
                "PostgreSQL": str((connection.execute("SHOW server_version").fetchone() or ("",))[0]),
                "Valkey": str(info.get("valkey_version", info.get("redis_version", ""))),
                **{name: metadata.version(name) for name in ("psycopg", "redis", "uvicorn", "uvloop")},
            }
        return ", ".join(f"{name} {version}" for name, version in versions.items())

    @contextmanager
    def redis(self, **options: Any) -> Iterator[redis.Redis]:
        """Open a client of Redis, beside the proxy."""
        with redis.Redis.from_url(self.valkey.url, **{"socket_timeout": 10, **options}) as client:
            yield client

    def _end_common(self) -> None:
        if self._common is not None:
            self._common.__exit__()
            self._common = None

    def _mend_servers(self) -> None:
        for server in (self.postgres, self.valkey):
            if not server.is_alive:
                server.start()


def plain_exporter(scene: Scene) -> StruckExporter:
    """Return an exporter like the common one, for a fault after which another one is needed."""
    return scene.new_exporter()


def _reading() -> tuple[dict[str, tuple[str, ...]], dict[str, frozenset[str]]]:
    """Return the sources of each collector; and of each source the gauges that no collector without it makes."""
    with tempfile.TemporaryDirectory() as scratch:
        collectors = build_collectors(Settings.model_construct(), lambda name: StateFile(Path(scratch), name))
    readers = {collector.name: tuple(collector.sources) for collector in collectors}
    made_by: dict[str, list[tuple[str, ...]]] = {}
    for collector in collectors:
        for spec in collector.specs:
            if spec.type == "gauge":
                made_by.setdefault(spec.name, []).append(readers[collector.name])
    sources = {source for read in readers.values() for source in read}
    return readers, {
        source: frozenset(name for name, makers in made_by.items() if all(source in maker for maker in makers))
        for source in sources
    }
