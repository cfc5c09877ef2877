"""Commands of docker-compose.yml and its overlay: modules, options and configurations that the programs accept."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

from demo import feed
from rollup import __main__ as rollup
from tests.compose.stack import EVERY, ONE_MACHINE, ROOT, of_ours


@pytest.mark.parametrize("name", sorted(of_ours()))
def test_what_our_image_runs_can_be_run(name: str) -> None:
    module, *arguments = EVERY[name]["command"]
    if module == "rollup":
        rollup._parse(arguments)
    elif module == "demo.feed":
        feed._parse(arguments)
    else:
        assert (module, arguments) == ("exporter", [])
        assert EVERY[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "exporter", "health"]


@cache
def options_of(program: str) -> str:
    helped = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return helped.stdout + helped.stderr


@pytest.mark.prometheus
@pytest.mark.alertmanager
@pytest.mark.victoriametrics
def test_the_options_of_what_others_made_are_options_of_theirs() -> None:
    """Options are checked for the installed programs; those of a VictoriaMetrics cluster are not installed."""
    alertmanager = shutil.which("prometheus-alertmanager") or "alertmanager"
    programs = {"prometheus": "prometheus", "alertmanager": alertmanager, "vmagent": "vmagent"}
    run = [(ONE_MACHINE["prometheus"], "prometheus"), *((EVERY[name], program) for name, program in programs.items())]
    for service, program in run:
        known = set(re.findall(r"^\s+--?([\w.-]+)", options_of(program), re.MULTILINE))
        options = {word.lstrip("-").partition("=")[0] for word in service["command"]}
        assert options
        assert options - known == set()


@pytest.mark.victoriametrics
def test_vmagent_understands_the_configuration() -> None:
    command = ["vmagent", "-dryRun", "-promscrape.config=prometheus/scale.yml", "-promscrape.config.strictParse=false"]
    checked = subprocess.run(
        [*command, "-remoteWrite.url=http://vminsert:8480/"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.prometheus
def test_prometheus_understands_the_configuration_for_two_hosts() -> None:
    command = ["promtool", "check", "config", "prometheus/scale.yml"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
