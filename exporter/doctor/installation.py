"""The installation under examination: its settings, its sources, and the places outside the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.collector import Collector, Sources
from exporter.settings import PREFIX, Settings

LOGROTATE = (Path("/etc/logrotate.conf"), Path("/etc/logrotate.d"))


@dataclass(frozen=True)
class Installation:
    """One exporter's surroundings. `build` returns new collectors without state."""

    settings: Settings
    sources: Sources
    build: Callable[[], Sequence[Collector]]
    env_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    public_url: str | None = None
    logrotate: Sequence[Path] = LOGROTATE

    @property
    def sources_read(self) -> frozenset[str]:
        """The names of the sources that the chosen collectors read."""
        return frozenset(source for collector in self.build() for source in collector.sources)

    def reads(self, source: str) -> bool:
        """Return whether any of the chosen collectors reads the source."""
        return source in self.sources_read


def setting(name: str, value: object) -> str:
    """Return a line of a `.env` file."""
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return f"{PREFIX}{name.upper()}={text}"


def added(name: str, present: Sequence[str], *values: str) -> str:
    """Return the line that adds values to a setting of several."""
    return setting(name, list(dict.fromkeys((*present, *values))))
