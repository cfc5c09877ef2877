"""The start of Grafana by the demo, with a stand-in that records its arguments and variables (`standin_grafana.py`)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from servers.child import ChildError
from servers.fetch import fetch
from servers.grafana import SHIPPED, GrafanaServer, home_of, shipped_variables
from tests.servers.standin_grafana import install

ANALYTICS = "http://127.0.0.1:10178"


def server(directory: Path) -> GrafanaServer:
    return GrafanaServer(
        directory,
        analytics=ANALYTICS,
        prometheus_url="http://127.0.0.1:9090",
        database_address="127.0.0.1:5432",
        database="classroom",
        user="hivesync_grafana",
        password="of-the-reader",
    )


def told(directory: Path) -> Any:
    return json.loads((directory / "data" / "told.json").read_text())


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-in's unpacked archive; its `bin` comes first in the PATH."""
    binaries = install(tmp_path / "grafana-13.1.1")
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    return binaries.parent


def test_grafana_gets_what_ships_and_the_demos_own_addresses(archive: Path, tmp_path: Path) -> None:
    with server(tmp_path / "run") as grafana:
        assert fetch(f"{grafana.origin}/admin/analytics/grafana/api/health")[0] == 200
        assert grafana.url == f"{ANALYTICS}/admin/analytics/grafana/"
    started = told(tmp_path / "run")
    assert started["arguments"] == ["server", f"--homepath={archive}"]
    variables = started["variables"]
    assert (
        variables.items()
        >= {
            "GF_SERVER_ROOT_URL": grafana.url,
            "GF_SERVER_HTTP_PORT": str(grafana.port),
            "GF_PATHS_PROVISIONING": str(SHIPPED / "provisioning"),
            "GF_HIVESYNC_DASHBOARDS": str(SHIPPED / "generated"),
            "GF_HIVESYNC_PROMETHEUS_URL": "http://127.0.0.1:9090",
            "GF_HIVESYNC_DB_ADDRESS": "127.0.0.1:5432",
            "GF_HIVESYNC_DB_NAME": "classroom",
            "GF_HIVESYNC_DB_USER": "hivesync_grafana",
            "GF_HIVESYNC_DB_SSLMODE": "disable",
        }.items()
    )
    overridden = {"GF_SERVER_ROOT_URL", "GF_SERVER_HTTP_PORT", *(name for name in variables if "HIVESYNC" in name)}
    assert {name: variables[name] for name in shipped_variables().keys() - overridden} == {
        name: value for name, value in shipped_variables().items() if name not in overridden
    }
    assert len(shipped_variables().keys() - overridden) > 30


def test_what_is_provisioned_asks_for_nothing_that_grafana_is_not_told(tmp_path: Path) -> None:
    environment = server(tmp_path).environment
    files = sorted((SHIPPED / "provisioning").rglob("*.yaml"))
    asked = {name for file in files for name in re.findall(r"\$\{?(\w+)", file.read_text())}
    assert len(asked) > 5
    assert asked <= environment.keys()


def test_grafanas_variables_of_whoever_starts_the_demo_are_not_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GF_AUTH_ANONYMOUS_ENABLED", "true")
    monkeypatch.setenv("GF_DATABASE_URL", "mysql://somewhere/else")
    environment = server(tmp_path).environment
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert "GF_DATABASE_URL" not in environment


@pytest.mark.usefixtures("archive")
def test_a_grafana_that_ends_while_it_starts_is_said(tmp_path: Path) -> None:
    (tmp_path / "run" / "data").mkdir(parents=True)  # makes the stand-in fail
    with pytest.raises(ChildError, match=r"(?s)Grafana ended while starting.*FileExistsError"):
        server(tmp_path / "run").start()


def test_without_grafana_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not GrafanaServer.is_installed()
    with pytest.raises(ChildError, match="not installed"):
        server(tmp_path).command()


def test_an_older_package_has_another_name_and_its_home_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = install(tmp_path / "old", "grafana-server")
    monkeypatch.setenv("PATH", str(binaries))
    words = server(tmp_path / "run").command()
    assert words == [str(binaries / "grafana-server"), f"--homepath={tmp_path / 'old'}"]

    prefix = tmp_path / "opt"
    (prefix / "share" / "grafana" / "conf").mkdir(parents=True)
    (prefix / "share" / "grafana" / "conf" / "defaults.ini").touch()
    assert home_of(prefix / "bin" / "grafana") == prefix / "share" / "grafana"
