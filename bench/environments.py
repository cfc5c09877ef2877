"""Peers from PyPI, each in a virtual environment of its own: what they depend on may not go with what we do."""

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
    """Where they are kept for the next time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hivesync-bench"


def environment_with(name: str, requirements: Sequence[str], *, install: bool) -> Path:
    """The environment of that name, made when it is not there. Raises NotMeasured when it cannot be made."""
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
    """The version of a package in such an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [str(environment / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
