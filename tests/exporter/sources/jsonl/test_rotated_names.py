"""The grammar of the names of a log's rotated files, and their order."""

from __future__ import annotations

import pytest

from exporter.sources.jsonl.names import Names, is_time, template

NAMES = Names(["ai-events.log"])
LOGS = frozenset({"ai-events.log", "ai-events-debug.log", "ai-events-2.log", "ai-events-12.log", "preview.log"})

ROTATED = [
    "ai-events.log.1",
    "ai-events.log.0",
    "ai-events.log.10.gz",
    "ai-events.1.log",
    "ai-events.1.log.zst",
    "ai-events.1",
    "ai-events.log-20250101",
    "ai-events.log-20250101.1",
    "ai-events-20250101.log",
    "ai-events-20250101.gz",
    "ai-events.log20250101",
    "ai-events.log-2025010112",
    "ai-events.log-1700000000.xz",
    "ai-events-1700000000.log.bz2",
    "ai-events.log.1700000000123",
    "ai-events.log-2025-01-01T10:20:30",
    "ai-events.log-20250101T102030Z",
    "ai-events.log.2025-01-01_10-30-00",
    "ai-events-2006-01-02T15-04-05.000.log.gz",
    "ai-events.log-2025-01",
    "ai-events.log-2025-W48",
    "ai-events.log-48-2025",
    "ai-events.log-02-01-2025",
    "ai-events.log-02-Jan-2025",
    "ai-events.log-2025-january",
]

DOUBTFUL = [
    "ai-events.log-backup-20250101",
    "ai-events.log.1.old",
    "ai-events.log-2025",
    "ai-events-104523.log",
    "ai-events-3-20250101.log",
    "ai-events-31.log",
]

OTHERS = [
    "ai-events.log",
    "ai-events-debug.log",
    "ai-events-debug.log.1",
    "ai-events-debug-20250101.log",
    "ai-events-debug.log-backup-2025",
    "ai-events-2-20250101.log",
    "ai-events-12-20250101.log",
    "ai-events-12.log.1",
    "ai-events2.log",
    "ai-eventsx.log.1",
    "ai-events.log.bak",
    "ai-events.log.offset",
    "ai-events.log.gz",
    "ai-events.logger",
    "preview.log.1",
    "old-ai-events.log.1",
    "AI-EVENTS.LOG.1",
]


@pytest.mark.parametrize("name", ROTATED)
def test_a_number_or_a_time_makes_a_name_that_of_a_rotated_file(name: str) -> None:
    assert NAMES.is_rotated(name, LOGS | {name})


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_name_that_could_be_another_logs_is_that_of_a_rotated_file_perhaps(name: str) -> None:
    assert not NAMES.is_rotated(name, LOGS | {name})
    assert NAMES.may_be_rotated(name, LOGS | {name})


@pytest.mark.parametrize("name", OTHERS)
def test_the_names_of_other_logs_and_of_other_things_are_none(name: str) -> None:
    assert not NAMES.is_rotated(name, LOGS | {name})
    assert not NAMES.may_be_rotated(name, LOGS | {name, "ai-events-2.log.1", "ai-events-12.log.1"})


def test_a_log_without_an_extension_has_rotated_files_too() -> None:
    names = Names(["events"])
    assert names.is_rotated("events.1.gz", {"events"})
    assert names.is_rotated("events-20250101", {"events"})
    assert not names.is_rotated("events.log.1", {"events", "events.log"})


def test_a_name_that_two_logs_explain_is_the_longer_ones_or_that_of_the_very_stem() -> None:
    assert NAMES.is_rotated("ai-events.1", {"ai-events.log"})
    assert not NAMES.is_rotated("ai-events.1", {"ai-events.log", "ai-events"})
    assert NAMES.is_rotated("ai-events-2024-12-31-20250101.log", {"ai-events.log"})
    both = {"ai-events.log", "ai-events-2024.log", "ai-events-2024-20250101.log"}
    assert not NAMES.is_rotated("ai-events-2024-20250101.log", both)


def test_the_files_before_the_one_that_a_link_leads_to_are_rotated_ones() -> None:
    names = Names(["ai-events.log", "app-20250104.log"], linked_to="app-20250104.log")
    assert names.is_rotated("app-20250103.log", {"app-20250104.log"})
    assert names.is_rotated("app-20250103.log.gz", {"app-20250104.log"})
    assert not names.is_rotated("other-20250103.log", {"app-20250104.log"})


@pytest.mark.parametrize(
    "rest", ["", "-", ".", "T", "-jan", "1" * 5000, "-" * 5000, "-" + "1-" * 2000 + "x", ".100000"]
)
def test_what_holds_neither_a_number_nor_a_time_is_none_however_long(rest: str) -> None:
    assert not is_time(rest)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("ai-events.log.10.gz", "ai-events.log.9"),
        ("ai-events.2.log", "ai-events.1.log"),
        ("ai-events.log.1", "ai-events.log.0"),
        ("ai-events.log-20241231", "ai-events.log-20250101"),
        ("ai-events.log.2025-01-01T10:20:30", "ai-events.log.2025-01-01T10:20:31.gz"),
        ("ai-events-1699999999.log", "ai-events-1700000000.log"),
    ],
)
def test_names_of_one_template_are_in_order(older: str, newer: str) -> None:
    first, second = NAMES.place(older), NAMES.place(newer)
    assert first.template == second.template
    assert first.readings[0] < second.readings[0]


@pytest.mark.parametrize("name", ["ai-events.log-02-01-2025", "ai-events.log-2025-january", "ai-events.log-backup-48"])
def test_a_name_whose_numbers_do_not_tell_the_order_says_nothing(name: str) -> None:
    assert NAMES.place(name).readings == ((),)


def test_names_of_different_templates_are_not_compared() -> None:
    names = [
        "ai-events.log.1",
        "ai-events.1.log",
        "ai-events.log-20250101",
        "ai-events.log-1700000000",
        "ai-events.log-1",
    ]
    assert len({template(name) for name in names}) == len(names)
