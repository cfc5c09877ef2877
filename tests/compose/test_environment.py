"""Variables of docker-compose.yml and its overlay: settings of ours and of Grafana, the example and the demo."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exporter.settings import PREFIX, RollupSettings, Settings, read_settings
from exporter.settings import SECRETS as SECRET_SETTINGS
from tests.compose.stack import (
    COMPOSE,
    DEMO_ENV,
    EVERY,
    EXAMPLE_ENV,
    OVERLAY,
    ROOT,
    SECRETS,
    fill_in,
    of_ours,
    services,
    variables_in,
    variables_of,
)


def environment_names(*files: Path) -> set[tuple[str, str]]:
    return {(name, variable) for name, service in services(*files).items() for variable in service["environment"]}


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    known |= {f"{PREFIX}{field.upper()}_FILE" for field in SECRET_SETTINGS}
    used = {variable for _, variable in environment_names(COMPOSE, OVERLAY) if variable.startswith(PREFIX)}
    assert len(used) > 10
    assert used <= known


def test_grafana_is_told_what_grafana_env_knows_and_little_else() -> None:
    known = variables_of(ROOT / "grafana" / "grafana.env")
    own = set(EVERY["grafana"]["environment"]) - known.keys()
    assert own == {"GF_HIVESYNC_DB_PASSWORD__FILE", "GF_SECURITY_SECRET_KEY__FILE", "GF_LOG_MODE"}
    asked = (ROOT / "grafana" / "provisioning" / "datasources" / "hivesync.yaml").read_text()
    assert "$GF_HIVESYNC_DB_PASSWORD\n" in asked
    mounts = dict(mount.split(":")[:2] for mount in EVERY["grafana"]["volumes"])
    assert mounts["./grafana/generated"] == known["GF_HIVESYNC_DASHBOARDS"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def test_what_may_be_set_from_outside_stands_in_the_example_with_its_default() -> None:
    text = EXAMPLE_ENV.read_text()
    shown = dict(re.findall(r"^#?([A-Z][A-Z_]*)=(\S*)$", text, re.MULTILINE))
    variables = variables_in(COMPOSE)
    assert len(variables) > 10
    assert {name for name in shown if not name.startswith(PREFIX)} == variables.keys()
    for name, defaults in variables.items():
        assert len(defaults) <= 1, name
        if re.search(rf"^#{name}=", text, re.MULTILINE) and defaults and name != "PRICES_FILE":
            assert defaults == {shown[name]}, name
    settings = {name.removeprefix(PREFIX).lower() for name in shown if name.startswith(PREFIX)}
    assert settings <= Settings.model_fields.keys()
    assert not settings & set(SECRET_SETTINGS)


def test_the_overlay_adds_few_variables_and_their_names_say_so() -> None:
    assert variables_in(OVERLAY).keys() - variables_in(COMPOSE).keys() == {
        "LOGS_B_DIR",
        "STORE_MEMORY",
        "STORE_RETENTION",
    }


def test_the_demos_variables_are_asked_for() -> None:
    given = variables_of(DEMO_ENV)
    assert given.pop("COMPOSE_PROFILES") == "demo"
    assert given
    assert given.keys() <= variables_in(COMPOSE).keys()
    assert fill_in("${PRICES_FILE:+set}", {"PRICES_FILE": "x"}) == "set"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The secrets of the demo."""
    subprocess.run([ROOT / "tools" / "secrets.sh", "--demo", str(tmp_path / "secrets")], check=True)
    return tmp_path / "secrets"


@pytest.mark.parametrize("name", sorted(of_ours()))
@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, OVERLAY)], ids=["one machine", "several"])
def test_our_settings_are_complete_and_right(
    files: tuple[Path, ...], name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = services(*files)
    if name not in known:
        return
    monkeypatch.chdir(tmp_path)
    for variable, value in known[name]["environment"].items():
        if value != "":
            monkeypatch.setenv(variable, str(value).replace(SECRETS, f"{secrets}/"))
    module = known[name]["command"][0]
    settings = read_settings(None, RollupSettings if module == "rollup" else Settings)
    urls = [settings.database_url, settings.rollup_database_url, settings.redis_url]
    named = {urlsplit(url.get_secret_value()).hostname for url in urls if url is not None}
    assert named <= known.keys()


def test_the_second_exporter_runs_collectors_that_there_are() -> None:
    names = EVERY["exporter-b"]["environment"]["HIVESYNC_COLLECTORS"].split(",")
    assert names == ["ai_log", "preview_log"]
    assert "HIVESYNC_COLLECTORS" not in EVERY["exporter"]["environment"]
