"""The harness itself: a broken promise is a failed row and exit status 1, and the page keeps its prose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from docs import generate
from faults import report
from faults.__main__ import main
from faults.catalogue import CATALOGUE, MODULES
from faults.promises import LOGS, PROMISES
from faults.run import Row, strike
from faults.scene import Scene
from faults.subject import is_as_expected
from faults.table import FAULTS, NotHeld, fault
from faults.watch import Watch, read_samples

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("harness"), quick=True) as scene:
        yield scene


def wrong_after(scene: Scene, name: str, change: object) -> tuple[str, ...]:
    """The findings of a fault during which the scene's exporter is in this state."""

    @fault("logs", LOGS)
    def made_for_a_test(scene: Scene) -> Iterator[None]:
        """A fault of this test."""
        change(scene)  # type: ignore[operator]
        yield

    made = FAULTS.pop("made-for-a-test")
    return strike(scene, replace(made, name=name)).wrong


def test_a_line_that_is_not_counted_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faults.subject.COUNTED_SECONDS", 1.0)

    def claim_a_line(scene: Scene) -> None:
        scene.exporter.writer.events["ai-events"]["ai.error"] += 1

    wrong = wrong_after(scene, "a line that was never written", claim_a_line)
    assert any("hivesync_ai_log_events_total" in each for each in wrong), wrong


def test_an_exporter_that_ends_is_found(scene: Scene) -> None:
    wrong = wrong_after(scene, "an end", lambda scene: scene.exporter.kill())
    assert any("not within" in each or "does not run" in each or "ended" in each for each in wrong), wrong


def test_a_broken_promise_is_a_failed_row_and_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault that takes PostgreSQL away, with the expectation that Redis is down."""
    monkeypatch.setattr("faults.run.NOTICED_SECONDS", 1.0)
    page = tmp_path / "page.md"
    broken = {"broken": replace(CATALOGUE["postgres-refusing"], name="broken", down=frozenset({"redis"}))}
    assert main(["--quick", "--only", "broken", "--results", str(page)], broken) == 1
    assert "| broken |" in page.read_text()
    assert "NOT HELD" in page.read_text()
    assert "1 not held" in capsys.readouterr().out


def test_a_fault_that_the_machine_cannot_have_is_named_with_the_reason() -> None:
    row = strike(None, replace(CATALOGUE["log-unreadable"], obstacle=lambda: "no such thing here"))  # type: ignore[arg-type]
    assert row.verdict == "not tried: no such thing here"
    assert "not tried: no such thing here" in report.results([row], {})


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (
            'hivesync_source_up{source="postgres"} 1',
            'hivesync_source_up{source="postgres"} 0\nhivesync_users 3',
            "shown",
        ),
        ('hivesync_log_lines_total{log="a"} 3', 'hivesync_log_lines_total{log="a"} 2', "fell from 3 to 2"),
        ("hivesync_jobs 1", "hivesync_jobs -1", "is -1"),
    ],
)
def test_an_answer_that_cannot_be_true_is_found(before: str, after: str, found: str) -> None:
    watch = Watch("http://127.0.0.1:1", "http://127.0.0.1:1", {"postgres": frozenset({"hivesync_users"})})
    watch._take(before)
    assert watch.wrong == []
    watch._take(after)
    assert [found in each for each in watch.wrong] == [True]


@pytest.mark.parametrize(
    ("down", "failing", "answer", "expected"),
    [
        ((), (), "redis 1 queues 1 users 1", True),
        (("redis",), (), "redis 0 queues 0 users 1", True),
        (("redis",), (), "redis 0 queues 0 users 0", False),
        ((), ("queues",), "redis 1 queues 0 users 1", True),
        ((), (), "redis 1 queues 0 users 1", False),
        ((), ("queues",), "redis 0 queues 0 users 1", False),
    ],
)
def test_exactly_the_expected_sources_and_collectors_may_fail(
    down: tuple[str, ...], failing: tuple[str, ...], answer: str, expected: bool
) -> None:
    source, is_up, *collectors = answer.split()
    lines = [f'hivesync_source_up{{source="{source}"}} {is_up}', 'hivesync_source_up{source="postgres"} 1']
    for name, value in zip(collectors[::2], collectors[1::2], strict=True):
        lines.append(f'hivesync_collector_up{{collector="{name}"}} {value}')
    readers = {"queues": ("redis",), "users": ("postgres",)}
    assert is_as_expected(read_samples("\n".join(lines)), down, failing, readers) is expected


def test_the_page_keeps_its_prose_around_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.RESULTS_BEGIN}\nold\n{report.RESULTS_END}\nafter\n")
    report.write(page, [Row("a fault", "redis", answered=3, wrong=("a | b",))], {"cpu": "two"})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| a fault | 3 of 3 |" in text
    assert r"| NOT HELD | a \| b |" in text


def test_every_promise_has_a_fault_and_every_fault_an_explanation() -> None:
    assert len(CATALOGUE) > 80
    assert {each.promise for each in CATALOGUE.values()} == PROMISES.keys()
    assert [each.name for each in CATALOGUE.values() if not each.about] == []
    assert {module.__name__ for module in MODULES} == {each.act.__module__ for each in CATALOGUE.values()}


def test_a_fault_is_in_the_table_once() -> None:
    def redis_killed(_: Scene) -> Iterator[None]:
        yield

    with pytest.raises(ValueError, match="redis-killed"):
        fault("redis", LOGS)(redis_killed)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--only", "no-such-fault"])
    assert refused.value.code == 2


def test_the_promises_of_the_page_are_those_of_the_faults() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert generate.reliability() == page
    assert report.RESULTS_BEGIN in page


def test_a_broken_promise_is_an_error_of_its_own() -> None:
    with pytest.raises(NotHeld, match="said so"):
        raise NotHeld("said so")
