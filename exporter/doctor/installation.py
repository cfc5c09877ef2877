"""The installation under examination: its settings, its sources, and the places outside the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.collector import Collector, Sources
from exporter.settings import PREFIX, Settings
from exporter.web_config.port import PortConfig

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
    ports: Mapping[str, PortConfig | None] = field(default_factory=dict)
    """The web configurations of the ports `metrics` and `admin`."""

    def scheme(self, port: str) -> str:
        """Return `https` or `http`, as the port speaks."""
        config = self.ports.get(port)
        return "http" if config is None else config.scheme

    @property
    def metrics_are_guarded(self) -> bool:
        """Whether the metrics port speaks TLS, or needs a password: the doctor has neither."""
        config = self.ports.get("metrics")
        return config is not None and (config.scheme == "https" or config.has_passwords)

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
