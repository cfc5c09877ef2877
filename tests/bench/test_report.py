"""The table of results: each figure, its target, and its verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Figure, at_least, at_most, ratio
from bench.report import as_json, as_markdown, as_text, number, summary, write

SPEED = Figure.median("logs", "product", [900_000, 1_000_000, 1_100_000], "lines/s", at_least(5))
SLOW = Figure("refresh", "start", 4.25, "s", at_most(3), "cold")
ABSENT = Figure("logs", "mtail", None, "lines/s", at_least(5), "mtail is not installed")
PLAIN = Figure("logs", "pygtail", 350_000.0, "lines/s")
FIGURES = [SPEED, ABSENT, PLAIN, SLOW]
CONDITIONS = {"cpu": "2 x Something", "verify": "nil"}


def test_a_figure_is_the_median_of_its_measurements() -> None:
    assert Figure.median("part", "name", [1.0, 9.0, 2.0], "ms").value == 2.0


def test_a_figure_without_measurements_is_not_measured() -> None:
    figure = Figure.median("part", "name", [], "ms", at_most(1))
    assert (figure.value, figure.verdict) == (None, "not measured")


@pytest.mark.parametrize(("value", "verdict"), [(4.99, "not met"), (5.0, "met"), (5.01, "met"), (None, "not measured")])
def test_at_least_is_met_from_the_bound_on(value: float | None, verdict: str) -> None:
    assert Figure("part", "name", value, "times", at_least(5)).verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [(1.05, "met"), (1.051, "not met"), (0.0, "met")])
def test_at_most_is_met_up_to_the_bound(value: float, verdict: str) -> None:
    assert Figure("part", "name", value, "times", at_most(1.05)).verdict == verdict


def test_a_figure_without_a_target_has_no_verdict() -> None:
    assert PLAIN.verdict == ""


def test_a_ratio_says_how_many_times_the_one_is_the_other() -> None:
    assert ratio("logs", "product / pygtail", SPEED, PLAIN).value == pytest.approx(1_000_000 / 350_000)


def test_a_ratio_to_what_was_not_measured_is_not_measured_and_says_why() -> None:
    figure = ratio("logs", "product / mtail", SPEED, ABSENT, at_least(5))
    assert figure.verdict == "not measured"
    assert "mtail is not installed" in figure.note


def test_a_ratio_to_nothing_is_not_measured() -> None:
    assert ratio("logs", "a / b", SPEED, Figure("logs", "b", 0.0, "ms"), at_least(5)).verdict == "not measured"


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.8, "1,234,568"), (12.345, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (None, "-")]
)
def test_numbers_have_as_many_digits_as_a_person_reads(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_terminal_shows_every_figure_with_its_verdict_and_note() -> None:
    lines = as_text(FIGURES, CONDITIONS).splitlines()
    assert lines[:2] == ["cpu: 2 x Something", "verify: nil"]
    (row,) = (line for line in lines if line.startswith("start"))
    assert row.split() == ["start", "4.25", "s", "at", "most", "3", "not", "met"]
    assert lines[lines.index(row) + 1] == "    cold"
    (row,) = (line for line in lines if line.startswith("mtail"))
    assert row.endswith("not measured")


def test_the_spread_of_the_measurements_is_shown() -> None:
    assert "900,000 to 1,100,000 (3)" in as_text(FIGURES, CONDITIONS)


def test_markdown_has_a_table_a_part_with_all_its_figures() -> None:
    page = as_markdown(FIGURES, CONDITIONS, "Benchmark")
    assert page.startswith("# Benchmark\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## logs", "## refresh"]
    assert "| start | 4.25 s |  | at most 3 | not met | cold |" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(row.count("|") in (3, 7) for row in rows)


def test_a_bar_in_a_note_does_not_break_the_markdown_table() -> None:
    page = as_markdown([Figure("part", "name", 1.0, "ms", note="a|b\nc")], {}, "Benchmark")
    assert r"a\|b c |" in page


def test_json_has_everything() -> None:
    document = json.loads(as_json(FIGURES, CONDITIONS))
    assert document["conditions"] == CONDITIONS
    figure = document["figures"][0]
    assert figure["value"] == 1_000_000
    assert figure["samples"] == [900_000, 1_000_000, 1_100_000]
    assert figure["target"] == {"kind": "at least", "bound": 5}
    assert [figure["verdict"] for figure in document["figures"]] == ["met", "not measured", "", "not met"]


def test_the_summary_counts_targets_alone() -> None:
    assert summary(FIGURES) == "Targets: 1 met, 1 not met, 1 not measured."


def test_both_files_are_written(tmp_path: Path) -> None:
    write(tmp_path / "results", "1000", FIGURES, CONDITIONS, "Benchmark")
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"1000.json", "1000.md"}
