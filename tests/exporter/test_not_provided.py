"""The list of inputs, the setting that names some, and the command line without them."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from exporter import exposition, snapshot
from exporter.collector import Dispensable
from exporter.collectors import build_collectors
from exporter.columns import optional
from exporter.inputs import BY_NAME, INPUTS, Need, check_names
from exporter.settings import Settings
from exporter.spec import MetricSpec
from exporter.state import StateFile
from servers.valkey import ValkeyServer
from tests.running import RunningExporter, run_exporter, seed_database, seed_valkey

METRIC = re.compile(r"`(hivesync_\w+)")


@pytest.fixture
def specs(tmp_path: Path) -> list[MetricSpec]:
    collectors = build_collectors(Settings.model_construct(), lambda name: StateFile(tmp_path, name))
    return [spec for collector in collectors for spec in collector.specs] + [*snapshot.SPECS, *exposition.SPECS]


def test_every_need_is_an_input_and_a_label_of_its_metric(specs: list[MetricSpec], tmp_path: Path) -> None:
    needs = [(spec, need) for spec in specs for need in spec.needs]
    assert len(needs) > 20
    for spec, need in needs:
        assert set(need.inputs) <= BY_NAME.keys()
        if need.label:
            (label,) = (label for label in spec.labels if label.name == need.label)
            assert label.values is None or {*need.values, *filter(None, [need.but])} <= set(label.values)
    collectors = build_collectors(Settings.model_construct(), lambda name: StateFile(tmp_path, name))
    dispensable = [collector for collector in collectors if isinstance(collector, Dispensable)]
    assert {collector.name for collector in dispensable} == {"online", "workers", "ai_log", "preview_log"}


def test_the_list_names_the_metrics_that_need_each_input(specs: list[MetricSpec]) -> None:
    for each in INPUTS:
        needing = {spec.name for spec in specs for need in spec.needs if need.inputs[0] == each.name}
        named = METRIC.findall(each.without)
        assert [name for name in needing if not any(name.startswith(prefix) for prefix in named)] == []


def test_a_need_of_several_inputs_lacks_them_only_together() -> None:
    need = Need(("ws_sessions", "sessions.last_heartbeat_at"))
    assert need.lacks(["ws_sessions"], {}) is None
    assert need.lacks(["sessions.last_heartbeat_at", "ws_sessions"], {}) == "ws_sessions"
    assert Need(("workers",), "component", ("gpu",)).lacks(["workers"], {"component": "tokens"}) is None
    assert Need(("workers",), "model", but="other").lacks(["workers"], {"model": "other"}) is None
    assert Need(("workers",), "model", but="other").lacks(["workers"], {"model": "gpt"}) == "workers"


def test_a_column_that_is_not_provided_is_a_null_of_its_type() -> None:
    assert optional("sessions.kind", []) == "sessions.kind"
    assert optional("subscriptions.trial_ends_at", [], "s") == "s.trial_ends_at"
    assert optional("subscriptions.trial_ends_at", ["subscriptions.trial_ends_at"], "s") == "NULL::timestamptz"


def test_names_are_compared_without_case_and_kept_once() -> None:
    assert check_names(("Workers", "sessions.KIND", "workers")) == ("workers", "sessions.kind")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("session.device_type", "sessions.device_type"), ("worker", "workers"), ("prompt_tokens", None)],
)
def test_an_unknown_name_ends_the_start_with_status_2(name: str, nearest: str | None, tmp_path: Path) -> None:
    variables = {
        "HIVESYNC_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "HIVESYNC_REDIS_URL": "redis://127.0.0.1:1",
        "HIVESYNC_NOT_PROVIDED": f"workers, {name}",
    }
    ended = run_exporter(
        {**RunningExporter(tmp_path, database_url="", redis_url="").environment, **variables}, tmp_path
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()[1:]
    known = nearest or "ai_usage_events.prompt_tokens"
    assert line.startswith(f"HIVESYNC_NOT_PROVIDED: there is no input '{name}'; the nearest is '{known}'")


def test_the_exporter_starts_without_them_and_verify_says_which(
    database: str, connection: psycopg.Connection, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    seed_database(connection)
    seed_valkey(valkey_server.url)
    connection.execute("ALTER TABLE sessions DROP COLUMN device_type")
    lacking = "sessions.device_type,ai_events_log,preview_log"
    exporter = RunningExporter(
        tmp_path, database_url=database, redis_url=valkey_server.url, not_provided=lacking, refresh_seconds=3
    )
    with exporter:
        samples = exporter.wait_for(lambda samples: "hivesync_online_users" in samples)
        assert not any(
            name.startswith(("hivesync_online_devices", "hivesync_log_l", "hivesync_log_u")) for name in samples
        )
        assert not any(name.startswith("hivesync_source_") and "_log" in name for name in samples)
        assert samples['hivesync_input_provided{input="ai_events_log"}'] == 0
        verified = exporter.command_line("verify")
        assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
        assert "difference: nil" in verified.stdout
        assert f"Not provided, and without values to compare: {lacking.replace(',', ', ')}." in verified.stdout
        assert [event for event in exporter.events() if event["event"].endswith("degraded")] == []
