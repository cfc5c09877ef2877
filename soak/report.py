"""The result of a soak: on the terminal, and as Markdown between the markers of docs/reliability.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from faults.report import escaped, write_section
from soak.run import Options, Result, Struck
from soak.sampling import Quantity
from soak.trends import FLAT, GROWS, TOO_SHORT, Trend, warm_up

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
HEADINGS = ("resource", "level", "slope per hour", "interval (99 %)", "rise", "noise", "verdict")

Conditions = Mapping[str, str]


def line(struck: Struck) -> str:
    """Return a fault for the terminal, with its problems below it."""
    degraded, recovered = _seconds(struck.degraded_after), _seconds(struck.recovered_after)
    text = f"{struck.at:7.0f} s  {struck.stroke.fault.name:<32} degraded {degraded}  recovered {recovered}"
    return "\n    ".join((text, *struck.wrong))


def verdict(result: Result) -> str:
    """Return the verdict of all trends: that of the first trend that is not flat."""
    found = {trend.verdict for trend in result.trends.values()}
    return next((each for each in (GROWS, TOO_SHORT) if each in found), FLAT)


def summary(result: Result) -> str:
    """Return the result in a sentence."""
    promises = f"{len(result.broken)} promises broken" if result.broken else "nothing lost, nothing wrong"
    counts = {
        each: [trend.verdict for trend in result.trends.values()].count(each) for each in (FLAT, GROWS, TOO_SHORT)
    }
    trends = ", ".join(f"{number} {each}" for each, number in counts.items() if number)
    return f"{len(result.struck)} faults in {result.seconds / 3600:.2f} h: {promises}; resources: {trends}."


def trend_cells(quantity: Quantity, trend: Trend) -> tuple[str, ...]:
    """Return the cells of a trend."""
    unit = f" {quantity.unit}" if quantity.unit else ""
    level = "-" if math.isnan(trend.level) else f"{trend.level:.4g}{unit}"
    if not trend.noise:
        return quantity.name, level, "-", "-", "-", "-", trend.verdict
    interval = f"{trend.low:+.3g} to {trend.high:+.3g}{unit}"
    figures = f"{trend.slope:+.3g}{unit}", interval, f"{trend.rise:+.3g}{unit}", f"{trend.noise:.3g}{unit}"
    return quantity.name, level, *figures, trend.verdict


def trends(result: Result) -> str:
    """Return the trends for the terminal."""
    rows = [HEADINGS, *(trend_cells(*pair) for pair in result.trends.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def figures(options: Options, result: Result) -> dict[str, str]:
    """Return the load that was wanted and reached."""
    tally = result.tally
    answers = [
        f"{name}: {tally.answered.get(kind, 0):,} requests answered, {tally.missing.get(kind, 0)} not,"
        f" the slowest in {tally.slowest.get(kind, 0.0):.2f} s"
        for kind, name in (("scrape", f"{options.scrapers} scrapers"), ("page", f"{options.pages} page clients"))
    ]
    rows, lines = result.rows / result.seconds, result.lines / result.seconds
    return {
        "rows": f"{result.rows:,}: {rows:,.0f} per second, of {options.rows:,.0f} wanted",
        "log lines": f"{result.lines:,}: {lines:,.0f} per second, of {options.lines:,.0f} wanted;"
        f" {result.rotations} rotations",
        "clients": "; ".join(answers),
        "measured": f"{result.seconds / 3600:.2f} h, of which the first {warm_up(result.seconds) / 60:.0f} min are the"
        " warm-up",
    }


def section(options: Options, result: Result, conditions: Conditions, left_out: Mapping[str, Sequence[str]]) -> str:
    """Return conditions, trends and faults as Markdown."""
    lines = [
        *_table(("condition", ""), {**conditions, **figures(options, result)}.items()),
        "",
        summary(result),
        "",
        *_table(HEADINGS, (trend_cells(*pair) for pair in result.trends.items())),
        "",
        *(f"- {problem}" for problem in result.broken),
        *([""] if result.broken else []),
        *_table(("fault", "struck", "degraded", "recovered", "wrong"), _faults(result.struck)),
        "",
        *(f"Left out ({reason}): {', '.join(names)}.\n" for reason, names in left_out.items()),
    ]
    return "\n".join(lines).rstrip()


def write(path: Path, text: str) -> None:
    """Write the section into the page."""
    write_section(path, BEGIN, END, text)


def _faults(struck: Sequence[Struck]) -> Iterable[tuple[str, ...]]:
    """Return a row for each kind of fault, in the order of the first strokes: how often, and the longest times."""
    kinds: dict[str, list[Struck]] = {}
    for each in struck:
        kinds.setdefault(each.stroke.fault.name, []).append(each)
    for name, every in kinds.items():
        wrong = [problem for each in every for problem in each.wrong]
        yield (
            name,
            str(len(every)),
            _seconds(max((each.degraded_after for each in every if each.degraded_after is not None), default=None)),
            _seconds(max((each.recovered_after for each in every if each.recovered_after is not None), default=None)),
            "; ".join(wrong) or "nil",
        )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    every = [headings, *rows]
    lines = [f"| {' | '.join(map(escaped, row))} |" for row in every]
    return [lines[0], f"|{'---|' * len(headings)}", *lines[1:]]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
