"""The suite can fail: each class of attack finds something on a server without protection."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from attack import suite
from attack.__main__ import main
from attack.classes import flood
from attack.findings import Attack, Verdict, judged, not_applicable
from attack.report import summary, table
from attack.suite import Outcome
from attack.target import Instance, read_port
from attack.wire import BoundReachedError, Budget
from exporter.httpd.connections import Limits
from tests.attack.weak import weak_target
from tests.certificates import Authority
from tests.exporter.httpd.echo import echo
from tests.serving import serving


@pytest.mark.parametrize("subject", suite.subjects())
def test_a_server_without_protection_is_not_held(subject: str, tmp_path: Path) -> None:
    attacks = suite.chosen(quick=True, subjects=[subject])
    assert attacks
    with weak_target(tmp_path, one_at_a_time=subject == flood.SUBJECT) as target:
        verdicts = (suite.run(target, [attack])[0].finding.verdict for attack in attacks)
        assert Verdict.NOT_HELD in verdicts


def test_attacks_that_wait_are_held_by_a_server_with_limits_in_time() -> None:
    """Limits shorter than those of the ports."""
    limits = Limits(
        idle_seconds=1, head_seconds=1, body_seconds=1, write_seconds=1, linger_seconds=0.5, tick_seconds=0.05
    )
    attacks = [attack for attack in suite.chosen() if attack.waits]
    with serving(echo, limits) as server:
        url = f"http://{server.address[0]}:{server.address[1]}"
        metrics, admin = (read_port(name, url, Budget()) for name in ("metrics", "admin"))
        rows = suite.run(Instance(metrics, admin), attacks)
    verdicts = {row.attack.name: row.finding.verdict for row in rows}
    without_tls = {name for name in verdicts if "TLS" in name}
    assert len(verdicts) > 10
    assert {name for name, verdict in verdicts.items() if verdict is not Verdict.HELD} == without_tls


def test_the_command_ends_with_1_and_names_what_was_not_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with weak_target(tmp_path) as target:
        url = f"http://{target.admin.authority}"
        status = main(["--metrics-url", url, "--admin-url", url, "--only", "other origins"], {})
    printed = capsys.readouterr().out
    assert status == 1
    assert "NOT HELD  other origins: reading by https://evil.example (metrics): 200 *" in printed


def test_a_port_with_tls_is_attacked_too(tmp_path: Path) -> None:
    """The certificate of the instance is taken as it is."""
    issued = Authority.create("authority").issue(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    with weak_target(tmp_path, tls=context) as target:
        rows = suite.run(target, suite.chosen(quick=True, subjects=["other origins"]))
    assert [row.finding.answer for row in rows][:2] == ["200 *", "200 *"]


def test_an_attack_without_an_end_or_a_verdict_is_not_held(tmp_path: Path) -> None:
    def without_end(target: Instance) -> None:
        target.admin.budget.spend(bytes=100)

    def without_verdict(_: Instance) -> None:
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
    rows = [Outcome(attack, judged(False, "\x1b[2J\r\nheld")), Outcome(attack, judged(True, "x" * 500))]
    text = table(rows) + summary(rows, 1.0)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "?[2J??held" in text
    assert max(map(len, table(rows).splitlines())) < 500
