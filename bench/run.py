"""The shared objects of the parts: options, common servers and files, and the collection of results."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psycopg
import redis

from bench import data, log_file, sockets
from bench.conditions import Options, memory_bytes
from bench.measure import NotMeasured
from bench.product import Product
from bench.progress import Progress
from servers.postgres import PostgresServer
from servers.valkey import ValkeyServer


@dataclass
class Run:
    """A run. Servers and other resources started in it are put on `stack`, and end with it."""

    options: Options
    directory: Path
    progress: Progress
    stack: ExitStack
    versions: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @cached_property
    def postgres(self) -> PostgresServer:
        """The private PostgreSQL, started at its first use."""
        server = self.stack.enter_context(data.server(self.directory / "postgresql", memory_bytes()))
        with psycopg.connect(server.url) as connection:
            self.versions["PostgreSQL"] = str((connection.execute("SHOW server_version").fetchone() or ("",))[0])
        return server

    @cached_property
    def quiet_valkey(self) -> ValkeyServer:
        """A Valkey with a few queues, workers and WebSockets."""
        server = self._valkey("quiet")
        sockets.seed_small(server.url)
        return server

    @cached_property
    def valkey(self) -> ValkeyServer:
        """A Valkey with the number of WebSockets in the options."""
        server = self._valkey("valkey")
        count = self.options.web_sockets
        with self.progress.stage("redis", f"{count:,} ws_sessions hashes"):
            sockets.seed_small(server.url)
            sockets.fill(server.url, count, self.options.seed)
        return server

    @cached_property
    def base(self) -> data.Database:
        """The database of the requested size, without live traffic until the refresh part has run."""
        options = self.options
        room_for(options.size)
        with self.progress.stage("postgres", f"{options.size:,} AI events of {options.users:,} users"):
            return data.create(self.postgres, "base", data.Shape(options.users, options.size), options.seed)

    @cached_property
    def small_database(self) -> data.Database:
        """A small database, for parts that do not measure PostgreSQL."""
        shape = data.Shape(users=self.options.users // 10, ai_events=min(200_000, self.options.size // 5))
        with self.progress.stage("postgres", f"a small database, {shape.ai_events:,} AI events"):
            return data.create(self.postgres, "small", shape, self.options.seed)

    @cached_property
    def log(self) -> log_file.LogFile:
        """The log to read."""
        with self.progress.stage("logs", f"{self.options.log_lines:,} lines of a log") as results:
            log = log_file.write(self.directory / "big-log", self.options.log_lines, self.options.seed)
            results.append(f"{log.path.stat().st_size / 1e6:.0f} MB")
        return log

    def verify(self, part: str, when: str, *products: Product) -> None:
        """Compare the windows of running products with the definitions; a difference fails the bench."""
        with self.progress.stage(part, f"verify {when}") as results, ThreadPoolExecutor() as threads:
            found = [difference for difference in threads.map(Product.verify, products) if difference]
            results.append("differs" if found else "nil")
        self.differences += [f"{part}, {when}:\n{difference}" for difference in found]

    def _valkey(self, name: str) -> ValkeyServer:
        server = self.stack.enter_context(ValkeyServer(self.directory / name))
        with redis.Redis.from_url(server.url) as client:
            info = client.info("server")
            self.versions["Valkey"] = str(info.get("valkey_version", info.get("redis_version", "")))
        return server


def room_for(events: int) -> None:
    """Raise NotMeasured when a database of that many AI events would fill the disk."""
    free = _free_bytes()
    needed = events * data.BYTES_PER_AI_EVENT
    if needed > free * 0.8:
        raise NotMeasured(f"needs about {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} GB are free")


def _free_bytes() -> int:
    return shutil.disk_usage(tempfile.gettempdir()).free
