"""Peers from PyPI, each in a virtual environment of its own: their dependencies may conflict with this project's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.command import run
from bench.measure import NotMeasured

INSTALL_SECONDS = 180.0


def cache_directory() -> Path:
    """Return the directory that keeps the environments between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hivesync-bench"


def environment_with(name: str, requirements: Sequence[str], *, install: bool) -> Path:
    """Return the environment of that name; with `install`, create it when missing. Raises NotMeasured when there is
    none."""
    place = cache_directory() / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    ready = place / "installed"
    if not ready.exists() and not install:
        raise NotMeasured(f"{name} is not installed (without --no-install it is, from PyPI)")
    if not ready.exists():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotMeasured(f"no place for a virtual environment: {error.strerror}") from error
        inherited = dict(os.environ)
        run([sys.executable, "-m", "venv", "--clear", str(place)], within=INSTALL_SECONDS, environment=inherited)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, *requirements], within=INSTALL_SECONDS, environment=inherited)
        ready.touch()
    return place


def version_in(environment: Path, package: str) -> str:
    """Return the version of a package in such an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [str(environment / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
