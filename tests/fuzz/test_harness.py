"""The harness: engines find a planted fault, findings are small and kept, and the command tells of them."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from faults import report as faults_report
from fuzz import campaign, corpus, engines, report
from fuzz.__main__ import main
from fuzz.campaign import Breach, Campaign, Tally
from fuzz.catalogue import BYTE_TARGETS, CATALOGUE, MACHINES
from fuzz.mutation import mutations
from fuzz.target import ByteTarget, Check, MachineTarget

ROOT = Path(__file__).parents[2]


def weak(content: bytes) -> None:
    if b"{" in content and b"}" in content:
        raise ValueError("a fault")


@contextmanager
def opened(_: Path) -> Iterator[Check]:
    yield weak


WEAK = ByteTarget("weak", "holds", opened, st.binary() | st.just(b"xx{xx}xx"), (b"xx{", b"yy}"), words=(b"}",))


class Weak(RuleBasedStateMachine):
    count = 0

    @rule()
    def step(self) -> None:
        self.count += 1
        assert self.count < 5


def campaign_of(check: Check, directory: Path, runs: int = 2_000) -> Campaign:
    """A campaign of about so many runs: its clock is a counter."""
    ticks = itertools.count()
    return Campaign(Tally("weak", "x", 1), check, runs / 100, directory, clock=lambda: next(ticks) / 100)


@pytest.mark.parametrize("engine", [engines.by_grammar, engines.by_mutation])
def test_an_engine_finds_a_fault_once_and_keeps_the_smallest_input(engine: object, tmp_path: Path) -> None:
    found = campaign_of(weak, tmp_path)
    engine(WEAK, found, 1)  # type: ignore[operator]
    ((finding),) = found.tally.findings
    assert finding.error == "ValueError"
    assert finding.where == f"tests/fuzz/test_harness.py:{weak.__code__.co_firstlineno + 2}"
    ((name, content),) = corpus.entries("weak", tmp_path).items()
    assert name == finding.entry
    assert sorted(content) == sorted(b"{}")
    assert found.tally.executions > 100


def test_a_machine_that_breaks_is_found_by_the_seed_of_its_steps(tmp_path: Path) -> None:
    target = MachineTarget("weak", "holds", Weak)
    check = engines.steps_check(target)
    found = campaign_of(check, tmp_path, 20)
    engines.by_steps(target, found, 1)
    assert [finding.error for finding in found.tally.findings] == ["AssertionError"]
    ((_, content),) = corpus.entries("weak", tmp_path).items()
    with pytest.raises(AssertionError):
        check(content)


def test_an_input_that_never_ends_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(content: bytes) -> None:
        while content == b"endless":
            pass

    monkeypatch.setattr(campaign, "HANG_SECONDS", 1)
    found = campaign_of(endless, tmp_path)
    for content in (b"ends", b"endless"):
        found.run(content)
    assert [finding.error for finding in found.tally.findings] == ["HangError"]


def test_mutations_are_the_same_for_the_same_seed_and_bounded() -> None:
    first, same, other = (
        list(itertools.islice(mutations(seed, [b"abc", b"x" * 90], [b"word"], 100), 300)) for seed in (1, 1, 2)
    )
    assert first == same
    assert first != other
    assert max(map(len, first)) <= 100
    assert len(set(first)) > 200


def run(*options: str, module: str = "fuzz") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *options], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


def test_the_command_runs_both_lanes_and_writes_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    options = ["--minutes", "0.1", "--only", "cookies", "--seed", "3", "--corpus", str(tmp_path / "corpus")]
    ran = run(*options, "--results", str(page))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    guided = "coverage" if engines.has_atheris() else "mutation"
    for engine in ("grammar", guided):
        assert re.search(rf"^cookies +{engine} +[\d,]+ +[\d,]+/s  seed 3 +0 new$", ran.stdout, re.MULTILINE), ran.stdout
        assert f"| cookies | {engine} | " in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "old" not in page.read_text()


def test_a_worker_that_dies_is_a_finding_and_no_silence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(CATALOGUE, "no-such", WEAK)  # the worker does not know it
    assert main(["--minutes", "0.05", "--only", "no-such", "--seed", "1", "--corpus", str(tmp_path)]) == 1


@pytest.mark.parametrize("option", ["--only=no-such-target", "--minutes=0", "--minutes=nan"])
def test_invalid_options_end_with_2(option: str) -> None:
    with pytest.raises(SystemExit) as refused:
        main([option])
    assert refused.value.code == 2


def test_the_table_names_each_finding_and_its_file() -> None:
    tally = Tally("tokens", "grammar", 7, 1_200, 3.0, [Breach("KeyError", "admin/x.py:3", "abc")])
    assert Tally.from_json(tally.to_json()) == tally
    assert report.line(tally).splitlines()[1].strip() == "KeyError at admin/x.py:3: fuzz/corpus/tokens/abc"
    assert "| tokens | grammar | 1,200 | 400 | 1 |" in report.results([tally], {"cpu": "two"})


def test_the_results_of_others_stay_as_they_are_on_the_page() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    for mark in (report.BEGIN, report.END, report.TARGETS_BEGIN, faults_report.RESULTS_BEGIN):
        assert text.count(mark) == 1


def test_every_module_of_a_target_is_in_the_catalogue() -> None:
    modules = {path.stem for path in (ROOT / "fuzz" / "targets").glob("[a-z]*.py")}
    assert len(modules) == len(CATALOGUE) > 10
    assert {each.opened.__module__.rpartition(".")[2] for each in BYTE_TARGETS.values()} <= modules
    assert {name.replace("-", "_") for name in CATALOGUE} == modules
    assert not MACHINES.keys() & BYTE_TARGETS.keys()


def test_every_seed_keeps_within_the_size_of_its_target() -> None:
    assert [name for name, target in BYTE_TARGETS.items() if max(map(len, target.seeds)) > target.size] == []
