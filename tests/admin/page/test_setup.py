"""The installation of the page's packages (tools/page.sh), with a stand-in for npm that records its arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import patience

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the project that the script reads, without packages."""
    for name in ("tools/page.sh", "admin/page/package.json", "admin/page/package-lock.json"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, target)
    return tmp_path


def npm(project: Path, does: str) -> Path:
    """An npm that records its arguments and runs a script."""
    script = project / "bin" / "npm"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f'#!/bin/sh\necho "$@" >>{project}/told\n{does}\n')
    script.chmod(0o755)
    return script


def run(project: Path) -> subprocess.CompletedProcess[str]:
    path = f"{project}/bin:{os.environ['PATH']}"
    return subprocess.run(
        [project / "tools/page.sh", sys.executable],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(),
    )


def test_packages_are_installed_again_only_for_a_changed_lock(project: Path) -> None:
    page = project / "admin/page"
    npm(project, f"mkdir -p {page}/node_modules && touch {page}/node_modules/.package-lock.json")
    for _ in range(2):
        done = run(project)
        assert done.returncode == 0
    told = (project / "told").read_text().splitlines()
    assert len(told) == 1
    assert told[0].startswith("ci --prefix ")
    assert "--ignore-scripts" in told[0]
    assert done.stderr == ""
    installed = page / "node_modules/.package-lock.json"
    os.utime(page / "package-lock.json", (installed.stat().st_mtime + 10,) * 2)
    run(project)
    assert len((project / "told").read_text().splitlines()) == 2


def test_npm_uses_the_systems_certificates(project: Path) -> None:
    npm(project, f'echo "$NODE_EXTRA_CA_CERTS" >{project}/believed')
    run(project)
    believed = (project / "believed").read_text().strip()
    assert Path(believed).is_file()


def test_a_failure_of_npm_is_reported_and_ends_nothing(project: Path) -> None:
    npm(project, "echo no network; exit 1")
    done = run(project)
    assert done.returncode == 0
    assert "no network" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("npm could not install uPlot")
