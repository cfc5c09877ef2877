"""A soak of half a minute against real processes, and the exit status and page of each result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from faults.catalogue import CATALOGUE
from faults.promises import LOGS
from faults.report import RESULTS_BEGIN, RESULTS_END
from faults.scene import Scene
from faults.table import FAULTS, fault
from soak import report
from soak.__main__ import main
from soak.clients import ClientReport
from soak.plan import Stroke
from soak.run import Options, Result, Struck, open_scene, run
from soak.sampling import QUANTITIES, RESIDENT, THREADS
from soak.trends import FLAT, GROWS, TOO_SHORT, Trend

SHORT = Options(0.0045, 7, 500, 1_000, 10, 5, 5, quick=True)
"""Sixteen seconds with two faults."""

OPTIONS = Options(1.0, 7, 2_000, 5_000, 50, 50, 60, quick=False)
KILLED = Struck(Stroke(61.0, CATALOGUE["redis-killed"], 2.0), 62.0, 0.5, 2.5, ())


def fake(monkeypatch: pytest.MonkeyPatch, made: Result) -> list[float]:
    """Have this result in place of runs. Return the list of their rows per second."""
    rates: list[float] = []

    def run_nothing(_: None, options: Options, *__: object) -> Result:
        rates.append(options.rows)
        return made

    monkeypatch.setattr("soak.__main__.open_scene", lambda *_: nullcontext())
    monkeypatch.setattr("soak.__main__.run", run_nothing)
    return rates


def result(verdict: str = FLAT, *, of_faults: tuple[str, ...] = (), wrong: tuple[str, ...] = ()) -> Result:
    trends = {each: Trend(FLAT, 100.0, 0.5, -1.0, 2.0, 0.4, 2.0, 2880.0) for each in QUANTITIES}
    trends[RESIDENT] = replace(trends[RESIDENT], verdict=verdict)
    tally = ClientReport({"scrape": 180_000, "page": 140_000}, {}, {"scrape": 0.25, "page": 0.5}, [])
    struck = (KILLED, replace(KILLED, recovered_after=3.5, wrong=of_faults))
    return Result(3600.0, 7_000_000, 17_900_000, 20, struck, trends, 70_000, tally, wrong, "Python 3.11")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(tmp_path_factory.mktemp("soak"), SHORT) as scene:
        yield scene


def test_a_short_soak_loses_nothing_and_claims_nothing(scene: Scene) -> None:
    table = {name: CATALOGUE[name] for name in ("redis-refusing", "log-rotations")}
    result = run(scene, SHORT, table)
    assert result.broken == []
    assert {each.stroke.fault.name for each in result.struck} <= set(table)
    assert result.struck  # on a busy machine the first one may take the time of both
    assert {trend.verdict for trend in result.trends.values()} == {TOO_SHORT}
    assert all(trend.level > 0 for trend in result.trends.values())
    assert all(result.tally.answered[kind] > 0 for kind in ("scrape", "page"))
    assert result.rows > 0
    assert result.lines > 0


def test_a_lost_line_is_found_at_the_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faults.subject.COUNTED_SECONDS", 10.0)

    @fault("logs", LOGS)
    def claims_a_line(scene: Scene) -> Iterator[None]:
        """A line that was never written."""
        scene.exporter.writer.events["preview"]["live_view.joined"] += 1
        yield

    made = FAULTS.pop("claims-a-line")
    result = run(scene, replace(SHORT, hours=0.001, every=1.5), {made.name: made})
    assert any("hivesync_preview_log_events_total" in problem for problem in result.broken), result.broken


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (result(), 0),
        (result(GROWS), 1),
        (result(TOO_SHORT), 3),
        (result(of_faults=("not within 30 s",)), 1),
        (result(TOO_SHORT, wrong=("verify, 1 differ",)), 1),
    ],
)
def test_the_status_is_0_only_if_nothing_is_lost_and_all_is_flat(
    made: Result, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, made)
    assert main(["--results", str(tmp_path / "page.md")]) == status


def test_only_a_run_long_enough_for_trends_is_written_beside_other_sections(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, result(TOO_SHORT))
    page = tmp_path / "page.md"
    page.write_text(f"prose\n{RESULTS_BEGIN}\n\nof faults\n\n{RESULTS_END}\nmore\n")
    before = page.read_text()
    monkeypatch.setattr("soak.__main__.PAGE", page)
    main(["--hours", "0.1"])
    assert page.read_text() == before
    main(["--hours", "0.2"])
    main(["--hours", "0.2"])
    assert page.read_text().startswith(before)
    assert page.read_text().count("| redis-killed |") == 1


def test_a_long_run_makes_fewer_rows_per_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rates = fake(monkeypatch, result())
    for hours in ("1", "10"):
        main(["--hours", hours, "--results", str(tmp_path / "page.md")])
    assert rates == [2_000, 20_000_000 / 36_000]


@pytest.mark.parametrize("options", [["--hours", "0"], ["--hours", "nan"], ["--hours", "x"], ["--rows", "-1"]])
def test_a_wrong_option_is_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(options)
    assert refused.value.code == 2


def test_the_section_has_the_figures_the_trends_and_the_faults() -> None:
    made = result(GROWS, of_faults=("a | b",), wrong=("the roll-up ended",))
    text = report.section(OPTIONS, made, {"cpu": "two"}, {"another exporter": ["few-descriptors"]})
    assert "| cpu | two |" in text
    assert "| rows | 7,000,000: 1,944 per second, of 2,000 wanted |" in text
    assert "| resident memory | 100 MB | +0.5 MB | -1 to +2 MB | +0.4 MB | 2 MB | GROWS |" in text
    assert f"| {THREADS.name} | 100 | +0.5 | -1 to +2 | +0.4 | 2 | flat |" in text
    assert "| redis-killed | 2 | 0.5 s | 3.5 s | a \\| b |" in text
    assert "- the roll-up ended" in text
    assert text.endswith("Left out (another exporter): few-descriptors.")
