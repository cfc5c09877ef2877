"""pygtail, asked for the name under which a log was put away last."""

from __future__ import annotations

import os
from pathlib import Path

from pygtail.core import Pygtail


class Rotation(Pygtail):  # type: ignore[misc]  # pygtail has no types
    """pygtail, asked for the name under which the live file was put away last, and for nothing else."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), offset_file=os.devnull)
        self._path = path

    def last(self) -> str | None:
        """The file name, None where there is none beside the live file."""
        found = Path(self._check_rotated_filename_candidates() or "")
        # A path with wildcards in it makes it find other files.
        mine = found.parent == self._path.parent and found.name.startswith(self._path.name)
        return found.name if mine else None

    def __del__(self) -> None:
        """pygtail's own would open the live file in order to close it."""
