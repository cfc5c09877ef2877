"""The suite can fail: each class of attack finds something on a server without protection."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack import suite
from attack.__main__ import main
from attack.classes import flood
from attack.findings import Attack, Verdict, judged, not_applicable
from attack.report import summary, table
from attack.suite import Row
from attack.target import Target
from attack.wire import BoundReachedError, Budget
from tests.attack.weak import weak_target


@pytest.mark.parametrize("subject", suite.subjects())
def test_a_server_without_protection_is_not_held(subject: str, tmp_path: Path) -> None:
    attacks = suite.chosen(quick=True, subjects=[subject])
    assert attacks
    with weak_target(tmp_path, one_at_a_time=subject == flood.SUBJECT) as target:
        verdicts = (suite.run(target, [attack])[0].finding.verdict for attack in attacks)
        assert Verdict.NOT_HELD in verdicts


def test_the_command_ends_with_1_and_names_what_was_not_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with weak_target(tmp_path) as target:
        url = f"http://{target.admin.authority}"
        status = main(["--metrics-url", url, "--admin-url", url, "--only", "other origins"], {})
    printed = capsys.readouterr().out
    assert status == 1
    assert "NOT HELD  other origins: reading by https://evil.example (metrics): 200 *" in printed


def test_an_attack_without_an_end_or_a_verdict_is_not_held(tmp_path: Path) -> None:
    def without_end(target: Target) -> None:
        target.admin.budget.spend(bytes=100)

    def without_verdict(_: Target) -> None:
        raise ConnectionRefusedError

    with weak_target(tmp_path) as target:
        attacks = [Attack("x", "x", run) for run in (without_end, without_verdict)]  # type: ignore[arg-type]
        rows = suite.run(target.with_budget(Budget(bytes=50)), attacks)
    assert [row.finding.verdict for row in rows] == [Verdict.NOT_HELD] * 2
    assert not suite.is_held(rows)


@pytest.mark.parametrize("bounds", [{"seconds": -1.0}, {"connections": 0}, {"bytes": 0}])
def test_a_run_is_bounded(bounds: dict[str, float]) -> None:
    with pytest.raises(BoundReachedError):
        Budget(**bounds).spend(connections=1, bytes=1)  # type: ignore[arg-type]


def test_an_answer_cannot_control_the_terminal() -> None:
    attack = Attack("subject", "name", lambda _: not_applicable(""))
    rows = [Row(attack, judged(False, "\x1b[2J\r\nheld")), Row(attack, judged(True, "x" * 500))]
    text = table(rows) + summary(rows, 1.0)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "?[2J??held" in text
    assert max(map(len, table(rows).splitlines())) < 500
