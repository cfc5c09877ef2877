"""The whole of /metrics, from real collectors on real sources with fixed clocks, against two golden files.

After an intended change, rewrite the golden files and read the difference:

    UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/exporter/test_exposition.py
"""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import exposition, snapshot
from exporter.collector import Collector
from exporter.collectors import build_collectors
from exporter.exposition import Exposition, render
from exporter.inputs import INPUTS
from exporter.settings import Settings
from exporter.snapshot import Snapshot
from exporter.state import StateFile
from servers.valkey import ValkeyServer
from tests.rows import NOON
from tests.running import parse
from tests.scenario import beat, seed_postgres, seed_valkey, settings_for, sources_at_noon
from tests.waiting import patience

GOLDEN = Path(__file__).with_name("golden")
TEXT, OPENMETRICS = GOLDEN / "exposition.txt", GOLDEN / "exposition.openmetrics"

# The public interface --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promised:
    """A metric of the public interface: the values of each closed label, None for an open label."""

    type: str
    labels: Mapping[str, frozenset[str] | None]

    def combinations(self) -> set[tuple[str, ...]] | None:
        """Every combination of label values, when all labels are closed."""
        if any(values is None for values in self.labels.values()):
            return None
        return set(product(*(values for values in self.labels.values() if values is not None)))


def gauge(**labels: str | None) -> Promised:
    return _promised("gauge", labels)


def counter(**labels: str | None) -> Promised:
    return _promised("counter", labels)


def _promised(kind: str, labels: Mapping[str, str | None]) -> Promised:
    """`labels`: the values of each closed label, separated by blanks; None for an open one."""
    return Promised(kind, {name: None if v is None else frozenset(v.split()) for name, v in labels.items()})


PLANS = "paid trial trial_expired free"
LOGS = "ai-events preview"
COLLECTORS = (
    "users online activity growth ai previews latency queues unacked dead_letters jobs workers cost ai_log preview_log"
    " rollup charts incidents top_users"  # not in the public interface
)

PUBLIC = {
    "hivesync_online_users": gauge(),
    "hivesync_online_devices": gauge(device_type="desktop ipad phone unknown"),
    "hivesync_live_view_sessions": gauge(),
    "hivesync_active_users": gauge(window="24h 30d", plan=PLANS),
    "hivesync_previously_active_users": gauge(window="30d", state="returning lost"),
    "hivesync_active_users_month_to_date": gauge(),
    "hivesync_users": gauge(plan=PLANS),
    "hivesync_new_users_in_window": gauge(window="24h 7d 30d"),
    "hivesync_trials_ended_in_window": gauge(window="30d", plan=PLANS),
    "hivesync_paid_plans_ended_in_window": gauge(window="30d", plan=PLANS),
    "hivesync_projects": gauge(),
    "hivesync_ai_requests_in_window": gauge(window="1m 1h 24h"),
    "hivesync_preview_requests_in_window": gauge(window="1m 1h 24h"),
    "hivesync_ai_requests_per_user": gauge(window="24h", statistic="median p90 max"),
    "hivesync_ai_errors_in_window": gauge(window="24h", kind="provider_error timeout safety_rejection other"),
    "hivesync_job_latency_average_seconds": gauge(queue="ai preview", window="1m 15m 1h"),
    "hivesync_ai_tokens_month_to_date": gauge(model="gpt-4.1 other", direction="prompt completion"),
    "hivesync_ai_requests_ended_month_to_date": gauge(),
    "hivesync_ai_cost_month_to_date_dollars": gauge(component="tokens gpu"),
    "hivesync_ai_cost_month_projected_dollars": gauge(component="tokens gpu"),
    "hivesync_queue_depth": gauge(queue="ai preview", name=None),
    "hivesync_queue_processing_seconds": _promised("summary", {"queue": "ai"}),
    "hivesync_unacked_messages": gauge(),
    "hivesync_oldest_unacked_timestamp_seconds": gauge(),
    "hivesync_dead_letters": gauge(name=None),
    "hivesync_jobs": gauge(queue="ai preview", state="waiting running"),
    "hivesync_oldest_waiting_job_timestamp_seconds": gauge(queue="ai preview"),
    "hivesync_worker_healthy": gauge(worker=None, kind="cpu gpu"),
    "hivesync_worker_last_heartbeat_timestamp_seconds": gauge(worker=None, kind="cpu gpu"),
    "hivesync_gpu_worker_state": gauge(worker=None, state="active idle offline"),
    "hivesync_gpu_worker_info": _promised("info", {"worker": None, "instance_type": None, "lifecycle": None}),
    "hivesync_gpu_instance_seconds_total": counter(instance_type=None, lifecycle=None),
    "hivesync_ai_log_events_total": counter(event="ai.requested ai.completed ai.error"),
    "hivesync_ai_log_errors_total": counter(kind="provider_error timeout safety_rejection other"),
    "hivesync_preview_log_events_total": counter(
        event="preview.requested preview.completed preview.failed live_view.joined live_view.left"
    ),
    "hivesync_preview_log_failures_total": counter(kind="build_error timeout worker_lost other"),
    "hivesync_log_lines_total": counter(log=LOGS, result="ok malformed unknown_event"),
    "hivesync_log_unread_bytes": gauge(log=LOGS),
    "hivesync_source_up": gauge(source="postgres redis ai_events_log preview_log"),
    "hivesync_source_last_success_timestamp_seconds": gauge(source="postgres redis ai_events_log preview_log"),
    "hivesync_collector_up": gauge(collector=COLLECTORS),
    "hivesync_refresh_duration_seconds": _promised("histogram", {"collector": COLLECTORS}),
    "hivesync_refresh_failures_total": counter(collector=COLLECTORS),
    "hivesync_rollup_latest_day_timestamp_seconds": gauge(),
    "hivesync_input_provided": gauge(input=" ".join(each.name for each in INPUTS)),
    "hivesync_exporter_build_info": _promised("info", {"version": None, "revision": None}),
}
"""The metrics of the public interface, with their types and labels."""


def _collectors() -> Sequence[Collector]:
    return build_collectors(Settings.model_construct(), lambda name: StateFile(Path("/nonexistent"), name))


SPECS = {
    spec.name: spec
    for spec in (*(spec for collector in _collectors() for spec in collector.specs), *snapshot.SPECS, *exposition.SPECS)
}
"""Every declared metric. Those beyond the public interface are pinned by the golden files alone."""


def cadence(name: str) -> str:
    """The refresh interval in a HELP text, of one or several collectors."""
    seconds = sorted({15 * collector.periods for collector in _collectors() if SPECS[name] in collector.specs})
    return f"{' to '.join(map(str, dict.fromkeys((seconds[0], seconds[-1]))))} s."


ABOUT_ITSELF = {
    "hivesync_log_events_dropped_total",
    "hivesync_source_up",
    "hivesync_source_last_success_timestamp_seconds",
    "hivesync_source_changes_total",
    "hivesync_collector_up",
    "hivesync_refresh_duration_seconds",
    "hivesync_refresh_failures_total",
    "hivesync_input_provided",
    "hivesync_exporter_build_info",
}


# The exposition ----------------------------------------------------------------------------------------------------


async def expose(settings: Settings, valkey: redis.Redis, state: Path) -> Exposition:
    """The exposition after two passes of every collector, the second with new heartbeats, by a fixed clock."""
    collectors = build_collectors(settings, lambda name: StateFile(state, name))
    async with sources_at_noon(settings) as sources:
        shown = Snapshot(collectors, sources, settings.refresh_seconds, clock=NOON.timestamp)
        for seconds_ago in (45, 15):
            beat(valkey, seconds_ago)
            await shown.refresh_all()
        return render(shown.view())


@pytest.fixture
def exposed(
    database: str,
    connection: psycopg.Connection,
    valkey: redis.Redis,
    valkey_server: ValkeyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Exposition:
    """The exposition of the seeded sources; every refresh takes 1/64 s."""
    for name in [name for name in os.environ if name.startswith("HIVESYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(exposition, "VERSION", "1.2.3")
    monkeypatch.setattr(exposition, "REVISION", "0123456789ab")
    readings = count(0, 1 / 64)
    monkeypatch.setattr("exporter.snapshot.time.perf_counter", lambda: next(readings))
    seed_postgres(connection)
    seed_valkey(valkey)
    return asyncio.run(expose(settings_for(database, valkey_server.url, tmp_path), valkey, tmp_path))


# The golden files --------------------------------------------------------------------------------------------------


def test_the_whole_exposition_is_what_the_golden_files_say(exposed: Exposition) -> None:
    bodies = {TEXT: exposed.text, OPENMETRICS: exposed.openmetrics}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        for file, body in bodies.items():
            file.write_bytes(body.plain)
    for file, body in bodies.items():
        assert body.plain.decode().splitlines() == file.read_text().splitlines()
        assert body.plain == file.read_bytes()
        assert gzip.decompress(body.gzipped) == body.plain
    assert {file.name for file in GOLDEN.iterdir()} == {file.name for file in bodies}


@pytest.mark.prometheus
def test_promtool_finds_nothing_to_say_against_it() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=TEXT.read_bytes(),
        capture_output=True,
        timeout=patience(60),
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_both_formats_say_the_same() -> None:
    text = parse(TEXT.read_text())
    assert len(text) > 200
    assert text == parse(OPENMETRICS.read_text(), openmetrics=True)


def test_the_help_and_type_of_a_metric_stand_once_and_before_its_samples() -> None:
    for file in (TEXT, OPENMETRICS):
        comments = [line.split(" ", 3)[1:3] for line in file.read_text().splitlines() if line.startswith("# ")]
        comments = [words for words in comments if words != ["EOF"]]
        names = list(dict.fromkeys(name for _, name in comments))
        assert len(names) == len(SPECS)
        assert comments == [[word, name] for name in names for word in ("HELP", "TYPE")]


# The public interface --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A metric in the exposition."""

    type: str
    help: str
    labels: Sequence[Mapping[str, str]]


def shown(file: Path) -> dict[str, Shown]:
    """The metrics of a golden file by their public names."""
    parser: Any = parse_openmetrics if file == OPENMETRICS else parse_text
    metrics = {}
    for family in parser(file.read_text()):
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        own = {"histogram": {"le"}, "summary": {"quantile"}}.get(family.type, set())
        labels = [{k: v for k, v in sample.labels.items() if k not in own} for sample in family.samples]
        metrics[name] = Shown(family.type, family.documentation, labels)
    return metrics


@pytest.mark.parametrize("file", [TEXT, OPENMETRICS], ids=lambda file: file.suffix[1:])
@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_metric_is_there_with_its_type_and_labels(name: str, file: Path) -> None:
    promised, metric = PUBLIC[name], shown(file)[name]
    info_in_text = file == TEXT and promised.type == "info"
    assert metric.type == ("gauge" if info_in_text else promised.type)
    assert metric.labels
    for labels in metric.labels:
        assert labels.keys() == promised.labels.keys()
    for label, allowed in promised.labels.items():
        values = {labels[label] for labels in metric.labels}
        assert all(values), "an empty label value is no label"
        assert allowed is None or values == allowed
    combinations = promised.combinations()
    if combinations is not None:
        assert {tuple(labels[label] for label in promised.labels) for labels in metric.labels} == combinations


def test_every_state_of_a_gpu_worker_has_a_sample_and_exactly_one_is_1() -> None:
    states = {
        name: value for name, value in parse(TEXT.read_text()).items() if name.startswith("hivesync_gpu_worker_st")
    }
    assert len(states) == 6
    assert sorted(name for name, value in states.items() if value) == [
        'hivesync_gpu_worker_state{state="active",worker="gpu-1"}',
        'hivesync_gpu_worker_state{state="offline",worker="gpu-2"}',
    ]


@pytest.mark.parametrize("file", [TEXT, OPENMETRICS], ids=lambda file: file.suffix[1:])
def test_every_declared_metric_is_there_with_its_labels_and_no_other(file: Path) -> None:
    metrics = shown(file)
    assert metrics.keys() == SPECS.keys()
    for name, spec in SPECS.items():
        assert metrics[name].labels
        assert all(labels.keys() == set(spec.label_names) for labels in metrics[name].labels), name


def test_the_public_metrics_are_declared_with_their_types_and_labels() -> None:
    assert {name: (SPECS[name].type, set(SPECS[name].label_names)) for name in PUBLIC} == {
        name: (promised.type, set(promised.labels)) for name, promised in PUBLIC.items()
    }


def test_every_help_text_says_what_its_source_is_and_how_often_it_is_refreshed() -> None:
    metrics = shown(TEXT)
    for name in SPECS:
        what, source, rest = metrics[name].help.partition("Source: ")
        assert what.strip(), name
        assert source, name
        if name in ABOUT_ITSELF:
            assert rest == "the exporter itself.", name
        else:
            where, refreshed, every = rest.partition("; refreshed every ")
            assert (bool(where), refreshed, every) == (True, "; refreshed every ", cadence(name)), name


def test_what_is_an_estimate_is_labelled_one() -> None:
    costs = [metric for name, metric in shown(TEXT).items() if name.endswith("_dollars")]
    assert len(costs) == 2
    assert all(metric.help.startswith("Estimate: ") for metric in costs)


def test_no_value_is_anything_but_a_finite_number() -> None:
    values = parse(TEXT.read_text()).values()
    assert values
    assert all(abs(value) < 1e12 for value in values)
