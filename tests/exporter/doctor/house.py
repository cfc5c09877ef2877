"""A healthy installation to be harmed: the demo's history in a database of its own, keys, logs, a Prometheus and a
Grafana that are stand-ins, and settings in a `.env` file.

    house.harm(...)                         whatever the fault is
    (finding,) = house.new_findings()       beyond those of the healthy house
    house.apply(finding.mend)               as it is written: SQL, commands of Redis, settings, shell
"""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import redis

from exporter.collector import Collector
from exporter.collectors import build_collectors
from exporter.doctor.findings import Finding, Verdict
from exporter.doctor.installation import Installation
from exporter.doctor.run import examine
from exporter.doctor.subjects import SUBJECTS
from exporter.running import open_sources
from exporter.settings import PREFIX, read_settings
from exporter.state import StateFile
from exporter.web_config.port import read_configs
from tests.waiting import patience

SQL = ("ALTER", "CREATE", "DROP", "GRANT", "REVOKE", "UPDATE")
COMMANDS = ("ACL", "DEL", "HSET", "SET")


@dataclass
class House:
    """The installation, and its parts for a fault to change."""

    directory: Path
    connection: psycopg.Connection
    valkey: redis.Redis
    role: str
    env: dict[str, str]
    grafana: dict[str, Any]
    prometheus: dict[str, Any]
    healthy: Sequence[Finding] = ()
    token: str | None = None
    public_url: str | None = None
    logrotate: Path = field(default=Path("/nonexistent"))

    @property
    def ai_log(self) -> Path:
        """The AI events log."""
        return Path(self.env["HIVESYNC_AI_EVENTS_LOG"])

    @property
    def env_file(self) -> Path:
        """The file of the settings."""
        return self.directory / ".env"

    def examine(self, *subjects: str) -> list[Finding]:
        """Return the findings of every check, or of these subjects, with the settings as they now are."""
        self.env_file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in self.env.items()))
        self.env_file.chmod(0o600)
        return asyncio.run(self._examine(subjects))

    async def _examine(self, names: Sequence[str]) -> list[Finding]:
        settings = read_settings(self.env_file)

        def build() -> Sequence[Collector]:
            return build_collectors(settings, lambda name: StateFile(self.directory / "scratch", name))

        async with open_sources(settings) as sources:
            installation = Installation(
                settings,
                sources,
                build,
                self.env_file,
                self.token,
                self.public_url,
                (self.logrotate,),
                read_configs(settings),
            )
            chosen = [subject for subject in SUBJECTS if not names or subject.name in names]
            return await examine(installation, chosen, seconds=patience(9))

    def refresh(self) -> set[str]:
        """Refresh every collector of PostgreSQL, and return their names. Raises the first failure."""
        settings = read_settings(self.env_file)

        async def refreshed() -> set[str]:
            async with open_sources(settings) as sources:
                every = build_collectors(settings, lambda name: StateFile(self.directory / "scratch", name))
                chosen = [collector for collector in every if "postgres" in collector.sources]
                for collector in chosen:
                    await collector.refresh(sources)
                return {collector.name for collector in chosen}

        return asyncio.run(refreshed())

    def new_findings(self, *subjects: str) -> list[Finding]:
        """Return the findings that are not ok, beyond those of the healthy house."""
        before = {(each.check, each.verdict) for each in self.healthy if each.verdict is not Verdict.OK}
        found = [each for each in self.examine(*subjects) if each.verdict is not Verdict.OK]
        return [each for each in found if (each.check, each.verdict) not in before]

    def subject_of(self, check: str) -> str:
        """Return the name of the subject with that check."""
        return next(subject.name for subject in SUBJECTS if check in {each.name for each in subject.checks})

    def sql(self, statements: str) -> None:
        """Run statements as a superuser, as written; one alone runs outside a transaction."""
        self.connection.execute(statements.encode())

    def apply(self, mend: str) -> None:
        """Do as the mend says, word by word."""
        for line in mend.splitlines():
            first = line.split(maxsplit=1)[0]
            if first in SQL:
                self.sql(line)
            elif first in COMMANDS:
                command(self.valkey, *shlex.split(line.partition("  (")[0]))
            elif line.startswith(PREFIX):
                name, _, value = line.partition("  #")[0].partition("=")
                self.env[name] = value
            else:
                subprocess.run(["sh", "-c", line], check=True, timeout=patience())

    def write_log(self, *lines: object, name: str = "HIVESYNC_AI_EVENTS_LOG", mode: str = "a") -> None:
        """Write lines to a log: objects as JSON, texts as they are."""
        with Path(self.env[name]).open(mode) as log:
            log.writelines(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)


def command(valkey: redis.Redis, *words: object) -> None:
    """Run a command of Redis."""
    valkey.execute_command(*words)  # type: ignore[no-untyped-call]


def event(name: str, **fields: object) -> dict[str, object]:
    """A line of a log."""
    return {"ts": datetime.now(UTC).isoformat(), "event": name, **fields}


def heartbeat(valkey: redis.Redis, worker: str, **changes: object) -> None:
    """Store a worker's heartbeat."""
    fields: dict[Any, Any] = {"kind": "cpu", "state": "idle", "last_heartbeat": time.time()} | changes
    valkey.hset(f"worker:heartbeat:{worker}", mapping=fields)
