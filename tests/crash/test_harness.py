"""The harness itself: its points, its traces, its findings, its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash import report
from crash.__main__ import main
from crash.calls import EINTR, EIO, ENOSPC, KILL, Call, kind_of, unknown
from crash.days import Killed
from crash.exporting import CrashingExporter
from crash.points import Point, Struck, points, spread
from crash.report import Result
from crash.trace import Seen, merged, read_calls, read_faults
from faults import report as report_of_faults

FSYNC = Call("new counts", "fsync")

TRACE = """\
7 openat(AT_FDCWD</run>, "/run/state/.ai-events.new", O_WRONLY|O_CREAT, 0600) = 5</run/state/.ai-events.new>
7 fsync(5</run/state/.ai-events.new> <unfinished ...>
8 pread64(9</run/logs/ai-events.log.1>, "{...", 100, 0) = 100
7 <... fsync resumed>) = -1 EIO (Input/output error) (INJECTED)
7 rename("/run/state/.ai-events.new", "/run/state/ai-events") = 0
8 fsync(5</run/state/.ai-events.new>) = 0
7 fsync(5</run/state/.ai-events.new>) = 0
7 write(2</dev/null>, "/run/state/lock", 15) = 15
7 openat(AT_FDCWD</run>, "/elsewhere/state/lock", O_RDONLY) = -1 ENOENT (No such file or directory)
7 splice(5</run/state/other>, NULL, 6</run/logs>, NULL, 1, 0) = 1
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "trace").write_text(TRACE)
    return tmp_path / "trace"


def test_a_trace_is_read_by_call_file_and_thread(trace: Path) -> None:
    calls = read_calls(trace, Path("/run"))
    assert {(call.kind, call.name): seen.occurrences for call, seen in calls.items()} == {
        ("new counts", "openat"): 1,
        ("new counts", "fsync"): 2,
        ("new counts", "rename"): 1,
        ("rotated log", "pread64"): 1,
        ("unknown file state/other", "splice"): 1,
    }
    assert read_faults(trace) == 1


def test_a_call_or_a_file_that_is_not_known_is_found(trace: Path) -> None:
    assert unknown(read_calls(trace, Path("/run"))) == ["splice on unknown file state/other"]
    assert unknown({Call("counts", "splice"): 1}) == ["splice on counts"]
    assert unknown({Call("counts", "read"): 1}) == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("state", "state folder"),
        ("state/ai-events", "counts"),
        ("state/.ai-events.new", "new counts"),
        ("state/#123 (deleted)", "file without a name"),
        ("logs/ai-events.log", "log"),
        ("logs/ai-events.log.1.gz", "rotated log"),
        ("state/ai-events2", "unknown file state/ai-events2"),
    ],
)
def test_a_file_has_a_kind_by_its_path(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_points_are_every_fault_that_a_call_can_have() -> None:
    calls = {
        FSYNC: Seen(3, {"state/.ai-events.new"}),
        Call("counts", "lseek"): Seen(1, {"state/ai-events"}),
        Call("file without a name", "close"): Seen(1, {"state/#1"}),
    }
    found = [(point.call.name, point.fault, point.occurrence) for point in points(calls, errors=1, kills=2)]
    assert found == [
        ("lseek", KILL, 1),
        ("fsync", EIO, 1),
        ("fsync", ENOSPC, 1),
        ("fsync", EINTR, 1),
        ("fsync", KILL, 1),
        ("fsync", KILL, 3),
    ]


@pytest.mark.parametrize(
    ("occurrences", "most", "chosen"), [(1, 3, [1]), (2, 3, [1, 2]), (9, 3, [1, 5, 9]), (9, 1, [1]), (500, 2, [1, 20])]
)
def test_occurrences_are_spread_from_the_first_to_the_last(occurrences: int, most: int, chosen: list[int]) -> None:
    assert spread(occurrences, most) == chosen


def test_the_calls_of_two_processes_are_one_list() -> None:
    one, other = {FSYNC: Seen(2, {"a"})}, {FSYNC: Seen(1, {"b"}), Call("log", "read"): Seen(1, {"c"})}
    assert merged([one, other]) == {FSYNC: Seen(2, {"a", "b"}), Call("log", "read"): Seen(1, {"c"})}


def test_a_line_that_is_not_counted_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crash.exporting.COUNTED_SECONDS", 0.5)
    exporter = CrashingExporter(tmp_path)

    def claim_a_line(exporter: CrashingExporter) -> None:
        exporter.writer.events["ai-events"]["ai.error"] += 1

    wrong = list(exporter.live([claim_a_line]))
    assert [each.partition(" is ")[0] for each in wrong] == ['hivesync_ai_log_events_total{event="ai.error"}']
    assert not exporter.is_alive


def test_an_event_that_no_fault_explains_is_found(tmp_path: Path) -> None:
    exporter = CrashingExporter(tmp_path)
    exporter.log.write_text('{"event": "service.stopped"}\n{"event": "log.lines_lost"}\nTraceback (most recent...\n')
    assert exporter.wrong_events() == ["event log.lines_lost", "a traceback in its log"]


def test_a_fault_that_never_struck_is_a_finding() -> None:
    point = Point(FSYNC, EIO, 1, ())
    missed = Result([Struck(point, 0, ())], [])
    assert missed.broken == ["fsync on new counts: EIO never struck"]
    assert "EIO never struck" in report.results(missed, {})
    assert Result([Struck(point, 0, ()), Struck(point, 2, ())], []).broken == []


def test_the_page_keeps_the_results_of_the_faults(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"{report_of_faults.RESULTS_BEGIN}\nfaults\n{report_of_faults.RESULTS_END}\n{report.BEGIN}{report.END}\nafter\n"
    )
    result = Result([Struck(Point(FSYNC, EIO, 1, ()), 2, ("lost | a line",))], [Killed("SELECT 1", 1, ())])
    report.write(page, result, {"cpu": "two"})
    report_of_faults.write(page, [], {"cpu": "three"})
    text = page.read_text()
    assert "faults\n" not in text
    assert "| cpu | three |" in text
    assert "| cpu | two |" in text
    assert r"| new counts | `fsync` | 1 of 1 | - | - | - | NOT HELD | lost \| a line |" in text
    assert "| `SELECT 1` | 1 | held | nil |" in text
    assert text.endswith("after\n")


def test_the_page_of_the_project_has_both_results() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert page.index(report_of_faults.RESULTS_END) < page.index(report.BEGIN) < page.index(report.END)


def test_without_strace_the_command_names_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "crash.__main__.no_strace", lambda: "strace is not installed (on Debian: apt-get install strace)"
    )
    assert main([]) == 2
    assert "apt-get install strace" in capsys.readouterr().err
