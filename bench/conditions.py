"""The conditions of the measurements: machine, versions, options. No host names, no paths."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from exporter.version import REVISION, VERSION


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run and the quantities that follow from them. Sizes are counts (of AI events, users, keys,
    lines); times are in seconds."""

    size: int
    seed: int
    rounds: int
    steady: float
    history: bool
    install: bool
    parts: tuple[str, ...]
    users: int
    many_users: int
    active_users: int
    web_sockets: int
    log_lines: int
    load_seconds: float

    @classmethod
    def scaled(
        cls, size: int, *, seed: int, rounds: int, steady: float, history: bool, install: bool, parts: tuple[str, ...]
    ) -> Options:
        """Return the quantities that the targets name; smaller quantities below a million AI events, for a quick
        run."""
        return cls(
            size=size,
            seed=seed,
            rounds=rounds,
            steady=steady,
            history=history,
            install=install,
            parts=parts,
            users=min(200_000, size // 5),
            many_users=min(2_000_000, size * 2),
            active_users=min(100_000, size // 10),
            web_sockets=min(1_000_000, size),
            log_lines=min(2_000_000, size * 2),
            load_seconds=5.0 if size >= 1_000_000 else 1.0,
        )


def shown(options: Options) -> str:
    """Return the options in words."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_words(value)}" for name, value in asdict(options).items() if name != "install"
    )


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else f"{value:,}"


def memory_bytes() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine() -> dict[str, str]:
    """Return the machine's description, with its load before the run."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "memory": f"{memory_bytes() / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def own_versions() -> dict[str, str]:
    """Return the versions of the software on both sides of each comparison."""
    packages = ("prometheus-client", "orjson", "redis", "hiredis", "pygtail", "uvloop", "numpy", "psycopg")
    return {
        "hivesync-analytics": f"{VERSION} ({REVISION})",
        "Python": sys.version.partition(" ")[0],
        **{name: metadata.version(name) for name in packages},
    }
