"""pygtail, used for the name of the file to which a log was last rotated."""

from __future__ import annotations

import os
from pathlib import Path

from pygtail.core import Pygtail


class Rotation(Pygtail):  # type: ignore[misc]  # pygtail has no types
    """pygtail, used for the name of the file to which the live file was last rotated, and for nothing else."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), offset_file=os.devnull)
        self._path = path

    def last(self) -> str | None:
        """Return the file name, None where there is no rotated file beside the live one."""
        found = Path(self._check_rotated_filename_candidates() or "")
        # For a path with wildcards, pygtail finds other files.
        mine = found.parent == self._path.parent and found.name.startswith(self._path.name)
        return found.name if mine else None

    def __del__(self) -> None:
        """Do nothing: pygtail's own would open the live file in order to close it."""
