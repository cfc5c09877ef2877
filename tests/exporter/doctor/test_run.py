"""The checks as a whole: limits of time, failures of checks, the output, and the list of needed columns."""

from __future__ import annotations

import asyncio
import importlib
import io
import pkgutil
from typing import cast

import orjson
import pytest

from exporter import doctor
from exporter.doctor import printing
from exporter.doctor.findings import Check, Finding, Findings, Verdict, check, look, ok, word, wrong
from exporter.doctor.grafana import DATASOURCES
from exporter.doctor.installation import Installation
from exporter.doctor.run import CheckGroup, examine
from exporter.doctor.subjects import SUBJECTS
from exporter.errors import SettingsError, SourceUnavailable
from exporter.inputs import not_in_postgres, tables
from grafana.queries import POSTGRES, PROMETHEUS
from tests.exporter.doctor.house import House

FOUND = [
    Finding("a.one", Verdict.OK, "fine"),
    Finding("a.two", Verdict.LOOK, "perhaps", "SELECT 1;"),
    Finding("b.three", Verdict.WRONG, "no", "line one\nline two"),
]


class _Nothing:
    """An installation of which only the sources' names are asked."""

    sources_read = frozenset({"postgres"})


def outcome(*checks: Check, seconds: float = 5, source: str = "") -> list[Finding]:
    """The findings of some checks."""
    installation = cast("Installation", _Nothing())
    return asyncio.run(examine(installation, [CheckGroup("test", checks, source)], seconds=seconds))


@check("test.fails")
async def failing(installation: Installation) -> Findings:
    """Fail with data in the message."""
    del installation
    raise ValueError("ada@example.org")


@check("test.hangs", seconds=0.05)
async def hanging(installation: Installation) -> Findings:
    """Take too long."""
    del installation
    await asyncio.Event().wait()
    return []


@check("test.down", gate=True)
async def down(installation: Installation) -> Findings:
    """Find the source down."""
    del installation
    raise SourceUnavailable("postgres", "refused")


@check("test.fine")
def fine(installation: Installation) -> Findings:
    """Find a text with a control character."""
    del installation
    return [ok("a\033[31mb")]


def test_a_check_that_fails_is_a_finding_without_the_text_of_its_error() -> None:
    (found, after) = outcome(failing, fine)
    assert (found.check, found.verdict) == ("test.fails", Verdict.WRONG)
    assert "ValueError at " in found.found
    assert "ada" not in str(found)
    assert after.verdict is Verdict.OK


def test_a_check_that_hangs_is_a_finding_and_the_next_is_made() -> None:
    assert [each.verdict for each in outcome(hanging, fine)] == [Verdict.LOOK, Verdict.OK]


def test_the_time_of_all_checks_is_limited() -> None:
    patient = check("test.patient", seconds=600)(hanging.run)
    assert ["not finished" in each.found for each in outcome(patient, patient, seconds=0.05)] == [True, True]


def test_after_a_closed_gate_the_checks_behind_it_are_left_out() -> None:
    assert [each.mend for each in outcome(down, fine)] == [
        "start PostgreSQL, or correct host and port in HIVESYNC_DATABASE_URL"
    ]


def test_a_subject_whose_source_is_not_read_is_left_out() -> None:
    assert outcome(fine, source="redis") == []
    assert len(outcome(fine, source="postgres")) == 1


def test_a_finding_has_no_control_characters() -> None:
    assert outcome(fine)[0].found == "a\N{REPLACEMENT CHARACTER}[31mb"


def test_settings_that_keep_the_service_from_starting_end_the_examination() -> None:
    @check("test.settings")
    def unusable(installation: Installation) -> Findings:
        raise SettingsError("HIVESYNC_X: no")

    with pytest.raises(SettingsError):
        outcome(unusable)


def test_every_check_is_in_a_subject_and_says_its_purpose() -> None:
    modules = [
        importlib.import_module(f"exporter.doctor.{each.name}") for each in pkgutil.iter_modules(doctor.__path__)
    ]
    written = {each.name for module in modules for each in vars(module).values() if isinstance(each, Check)}
    registered = [each for subject in SUBJECTS for each in subject.checks]
    assert {each.name for each in registered} == written
    assert len(registered) == len(written) > 40
    assert [each.name for each in registered if not each.meaning.endswith(".")] == []


def test_the_table_has_each_finding_with_its_mend_unwrapped() -> None:
    table = printing.as_table(FOUND, colour=False)
    assert table.splitlines() == [
        "a",
        "  ok    one: fine",
        "  look  two: perhaps",
        "        -> SELECT 1;",
        "",
        "b",
        "  wrong three: no",
        "        -> line one",
        "           line two",
        "",
        "1 ok, 1 look, 1 wrong",
    ]


def test_the_table_is_in_colour_at_a_terminal_alone() -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    assert printing.wants_colour(terminal, {})
    assert not printing.wants_colour(terminal, {"NO_COLOR": "1"})
    assert printing.wants_colour(terminal, {"NO_COLOR": ""})
    assert not printing.wants_colour(io.StringIO(), {})
    assert "\033[31mwrong\033[0m" in printing.as_table(FOUND, colour=True)


def test_json_has_the_worst_verdict_and_every_finding() -> None:
    content = orjson.loads(printing.as_json(FOUND))
    assert content["verdict"] == "wrong"
    assert content["counts"] == {"ok": 1, "look": 1, "wrong": 1}
    assert content["findings"][1] == {"check": "a.two", "verdict": "look", "found": "perhaps", "mend": "SELECT 1;"}


@pytest.mark.parametrize("text", ["ada@example.org", "a\nb", "x" * 61, 'a "quoted" word'])
def test_a_text_that_may_be_more_than_a_word_is_not_shown(text: str) -> None:
    assert word(text) == f"(text of {len(text)} characters)"
    assert word("Free plan-2") == "Free plan-2"


def test_verdicts_are_made_by_three_functions() -> None:
    assert [each.verdict for each in (ok(""), look("", ""), wrong("", ""))] == list(Verdict)


def test_the_datasources_are_those_of_the_dashboards() -> None:
    assert (PROMETHEUS.uid, POSTGRES.uid) == DATASOURCES


def test_every_collector_works_with_the_needed_columns_alone(house: House) -> None:
    """The list of columns is complete: a role with SELECT on these and nothing else."""
    house.sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {house.role}")
    for table, columns in tables(not_in_postgres((), "redis")).items():
        house.sql(f"GRANT SELECT ({', '.join(columns) or 'id'}) ON {table} TO {house.role}")
    assert house.new_findings("postgres") == []
    assert {"users", "online", "activity", "ai", "cost", "incidents", "rollup", "top_users"} <= house.refresh()
