"""python -m grafana: write the dashboards and the files of Grafana's provisioning.

With `--check` no file is written, and the exit status is 1 when the files differ from the generated ones: by a byte, by
a missing file, or by a file that is no longer generated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from grafana import provisioning
from grafana.dashboards import DASHBOARDS
from grafana.sdk import JSONEncoder

HERE = Path(__file__).parent
GENERATED, PROVISIONING = "generated", "provisioning"
"""Folders that contain generated files only."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check every file and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m grafana", description="Write Grafana's dashboards and provisioning."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if what is there differs")
    check = parser.parse_args(arguments).check
    files = render()
    if not check:
        write(HERE, files)
    elif differing := difference(HERE, files):
        print(f"not up to date, run 'make generate': {', '.join(differing)}", file=sys.stderr)
        return 1
    return 0


def render() -> dict[str, bytes]:
    """Return the content of every file, by its path in this package."""
    dashboards = {f"{GENERATED}/{name}": as_json(build()) for name, build in DASHBOARDS.items()}
    provisioned = {f"{PROVISIONING}/{name}": text.encode() for name, text in provisioning.FILES.items()}
    return dashboards | provisioned


def as_json(dashboard: object) -> bytes:
    """Return a dashboard as JSON for Grafana, indented for comparison by people."""
    text = json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def write(root: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, and delete all others in the generated folders."""
    for name in present(root) - files.keys():
        (root / name).unlink()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def difference(root: Path, files: Mapping[str, bytes]) -> list[str]:
    """Return the files that are missing, are too many, or have other bytes."""
    there = present(root)
    same = {name for name in there & files.keys() if (root / name).read_bytes() == files[name]}
    return sorted((there | files.keys()) - same)


def present(root: Path) -> set[str]:
    """Return every file in the generated folders."""
    return {
        path.relative_to(root).as_posix()
        for folder in (GENERATED, PROVISIONING)
        for path in (root / folder).rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    sys.exit(main())
