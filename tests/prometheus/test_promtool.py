"""Checks of the shipped files by Prometheus' and Alertmanager's own tools."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from demo.monitoring import fit, replace
from tests.prometheus.rules import RULE_TESTS, SHIPPED, read

URL_FILE_SINCE = (0, 26)
"""The first version of Alertmanager with `url_file` in a webhook."""

_REMOTE_WRITE = (SHIPPED / "remote_write.yml").read_text()


def run(*command: str | Path) -> str:
    """The output of a tool; fails the test if the tool fails."""
    ended = subprocess.run(
        [str(word) for word in command], cwd=SHIPPED, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.mark.prometheus
def test_the_configuration_and_the_rules_are_valid_where_they_are() -> None:
    said = run("promtool", "check", "config", "prometheus.yml")
    assert said.count("rules found") == 3
    assert "FAILED" not in run("promtool", "check", "rules", *(SHIPPED / "rules").iterdir())


@pytest.mark.prometheus
def test_the_rules_do_what_their_tests_say() -> None:
    assert len(RULE_TESTS) > 15
    said = run("promtool", "test", "rules", *RULE_TESTS)
    assert said.count("SUCCESS") == len(RULE_TESTS)


@pytest.mark.prometheus
@pytest.mark.parametrize("store", ["victoriametrics:8428", "vminsert", "mimir"])
def test_with_a_store_to_write_to_the_configuration_is_valid(store: str, tmp_path: Path) -> None:
    """The section is appended, as its comment says, with each of the stores in it."""
    folder = fit(tmp_path / "shipped", exporters=["127.0.0.1:1"])
    section = read(folder / "remote_write.yml")
    commented = yaml.safe_load("\n".join(re.findall(rf"^ +#? ?(url: \S*{store}\S*)", _REMOTE_WRITE, re.MULTILINE)))
    more = yaml.safe_load("\n".join(re.findall(r"^ +# ((?:headers|authorization): .+)", _REMOTE_WRITE, re.MULTILINE)))
    section["remote_write"][0] |= commented | more
    both = folder / "with-remote-write.yml"
    both.write_text((folder / "prometheus.yml").read_text() + yaml.safe_dump(section))
    secret = more["authorization"]["credentials_file"]
    replace(both, secret, str(tmp_path / "token"))
    (tmp_path / "token").write_text("secret")
    run("promtool", "check", "config", both)


@pytest.mark.alertmanager
def test_alertmanager_takes_its_configuration(tmp_path: Path) -> None:
    folder = fit(tmp_path / "shipped", exporters=[], webhook="http://127.0.0.1:1/")
    said = run("amtool", "check-config", folder / "alertmanager.yml")
    assert f" {len(read(SHIPPED / 'alertmanager.yml')['inhibit_rules'])} inhibit rules" in said
    version = re.search(r"version (\d+)\.(\d+)", run("amtool", "--version"))
    assert version is not None
    if (int(version[1]), int(version[2])) >= URL_FILE_SINCE:
        run("amtool", "check-config", "alertmanager.yml")


def test_no_secret_and_no_address_of_a_person_is_in_the_configuration() -> None:
    text = (SHIPPED / "alertmanager.yml").read_text()
    assert "url_file: /run/secrets/" in text
    assert not re.search(r"https?://|password:|token:|@", text)
