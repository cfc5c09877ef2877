"""`python -m bench` as a command, very small: it leaves two files and no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

import bench.__main__ as program
from bench import data
from bench.figures import Figure
from bench.parts import PARTS, Part
from bench.product import Product, all_up
from bench.run import Run
from demo.database import EXPORTER_ROLE
from tests.waiting import patience, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with a mark by which every process of the bench is found, and a cache of its own."""
    marks = {"BENCH_TEST": uuid4().hex, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    return dict(os.environ) | marks


def marked(environment: dict[str, str]) -> list[str]:
    """The command lines of processes with the mark of this environment."""
    mark = f"BENCH_TEST={environment['BENCH_TEST']}".encode()
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended, or of another user
    return found


def bench_command(results: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", "--no-install", "--results", str(results), *arguments]


def test_a_small_run_writes_its_table_and_leaves_no_process(tmp_path: Path, environment: dict[str, str]) -> None:
    results = tmp_path / "results"
    command = bench_command(results, "--size", "2000", "--rounds", "1", "--steady", "1", "--no-history")
    ended = subprocess.run(
        [*command, "--only", "refresh,logs,ablation"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience(120),
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert marked(environment) == []
    document = json.loads((results / "2000.json").read_text())
    assert document["conditions"]["verify"] == "nil"
    verdicts = {figure["name"]: figure["verdict"] for figure in document["figures"]}
    assert verdicts["start to all that needs no history"] in ("met", "not met")
    assert verdicts["ten times the history / base, database time"] == "not measured"
    assert verdicts["query-exporter: database time of a refresh"] == "not measured"
    assert verdicts["product: lines, events and errors counted wrongly"] == "met"
    assert {name for name in verdicts if name.startswith("without / with ")} == {
        "without / with row versions, database time",
        "without / with batches of log lines, CPU time",
        "without / with memory.py, resident memory",
    }
    page = (results / "2000.md").read_text()
    assert str(tmp_path) not in page
    assert os.uname().nodename not in page
    assert "Targets: " in ended.stdout


def test_an_interrupted_run_stops_everything_and_writes_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    results = tmp_path / "results"
    with subprocess.Popen(
        bench_command(results, "--size", "2000", "--only", "refresh", "--no-history"),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        until(lambda: any("bin/postgres" in line for line in marked(environment)), "PostgreSQL runs")
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=patience(120))
    assert running.returncode == 130, said
    assert marked(environment) == []
    assert not results.exists()


@pytest.mark.parametrize(
    "arguments", [["--only", "nothing"], ["--size", "7"], ["--rounds", "0"], ["--steady", "0"], ["--sise", "1000"]]
)
def test_bad_options_are_said_with_status_2(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert arguments[0][:5] in capsys.readouterr().err


@pytest.fixture
def one_part(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One part, which verifies a product, in place of the bench's; a True in the list deletes settled rows before."""
    spoil = [False]

    def measure(run: Run) -> list[Figure]:
        database = data.create(run.postgres, "base", data.Shape(users=100, ai_events=1_000), run.options.seed)
        product = Product(
            run.directory / "product",
            database_url=database.url_as(EXPORTER_ROLE),
            redis_url=run.quiet_valkey.url,
        )
        with product:
            product.wait_for(all_up, "all collectors up", 60)
            if spoil[0]:
                with psycopg.connect(database.url) as connection:
                    connection.execute("DELETE FROM ai_usage_events WHERE created_at < now() - interval '1 hour'")
            run.verify("only", "at the end", product)
        return [Figure("only", "nothing", 1.0, "")]

    monkeypatch.setattr(program, "PARTS", (Part("only", "verify", measure),))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handlers of the test run stay
    return spoil


def test_windows_that_are_not_the_definitions_fail_the_bench(
    tmp_path: Path, one_part: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    one_part[0] = True
    assert program.main(["--size", "1000", "--results", str(tmp_path)]) == 1
    assert "hivesync_ai_requests_in_window" in capsys.readouterr().err
    assert json.loads((tmp_path / "1000.json").read_text())["conditions"]["verify"] == "DIFFERS"


def test_windows_that_are_the_definitions_do_not(tmp_path: Path, one_part: list[bool]) -> None:
    assert one_part == [False]
    assert program.main(["--size", "1000", "--results", str(tmp_path)]) == 0


def test_every_part_is_registered_under_its_modules_name() -> None:
    modules = {path.stem for path in (ROOT / "bench" / "parts").glob("*.py")} - {"__init__"}
    assert {part.name for part in PARTS} == modules
    assert len(modules) >= 4
