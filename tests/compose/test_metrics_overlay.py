"""docker-compose.metrics.yml: publishes the metrics port, protected, and only where an operator says so."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml

from exporter.settings import Settings
from tests.compose.stack import COMPOSE, ROOT, services

OVERLAY = ROOT / "docker-compose.metrics.yml"
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")


def test_the_file_keeps_to_the_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(OVERLAY)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_it_publishes_the_metrics_port_where_told_with_a_web_configuration() -> None:
    (name, service), *others = yaml.safe_load(OVERLAY.read_text())["services"].items()
    assert (name, others) == ("exporter", [])
    port = Settings.model_fields["metrics_listen"].default.port
    assert services(COMPOSE)["exporter"]["environment"]["HIVESYNC_METRICS_LISTEN"] == f"0.0.0.0:{port}"
    (published,), (mounted,) = service["ports"], service["volumes"]
    assert REQUIRED.sub(r"<\1>", published) == f"<METRICS_PUBLISH>:{port}"
    folder = REQUIRED.sub(r"<\1>", mounted).removeprefix("<WEB_CONFIG_DIR>:").removesuffix(":ro")
    assert service["environment"] == {"HIVESYNC_WEB_CONFIG_FILE": f"{folder}/web-config.yml"}


def test_without_it_the_metrics_port_is_not_published() -> None:
    port = Settings.model_fields["metrics_listen"].default.port
    published = [mapping for service in services(COMPOSE).values() for mapping in service.get("ports", [])]
    assert published
    assert [mapping for mapping in published if mapping.endswith(f":{port}")] == []
