"""The version of the distribution, and the revision from which it was built."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).parent.parent


def _version() -> str:
    try:
        return version("hivesync-analytics")
    except PackageNotFoundError:
        return "unknown"


def _revision() -> str:
    """Return the commit: from the file REVISION that a build leaves in the package, else from git, else `unknown`."""
    built = Path(__file__).with_name("REVISION")
    if built.is_file():
        return built.read_text(encoding="ascii").strip()
    if not (_ROOT / ".git").exists():
        return "unknown"
    git = ["git", "-C", str(_ROOT), "rev-parse", "--short=12", "HEAD"]
    try:
        answer = subprocess.run(git, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - constant words
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return answer.stdout.strip() or "unknown"


VERSION = _version()
REVISION = _revision()
