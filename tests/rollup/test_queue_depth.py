"""The highest queue depth of a day, from a real Prometheus with made-up depths."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from exporter.collectors.jobs import JOBS
from exporter.collectors.queues import DEPTH
from exporter.sources.prometheus import Prometheus
from rollup.queue_depth import DAY_SECONDS, MOST, QueueDepths, step_of
from servers.prometheus import PrometheusServer
from tests.rollup.rolling import DAY, midnight

SECOND, MS = timedelta(seconds=1), timedelta(milliseconds=1)
D = date(2026, 3, 17)
"""The first of the days with one scenario each, and a quiet day in between."""

EVERY = 15.0

Depths = Sequence[tuple[datetime, int]]


def at(number: int, after: timedelta) -> datetime:
    return midnight(D + 2 * number * DAY) + after


def day(number: int) -> date:
    return D + 2 * number * DAY


HOUR = timedelta(hours=1)
AI, PREVIEW = '{queue="ai",name="default"', '{queue="preview",name="default"'
SERIES: Mapping[str, Depths] = {
    AI + ',instance="one"}': [
        (at(0, 5 * HOUR), 7),
        (at(0, 5 * HOUR + 15 * SECOND), 9),
        (at(0, 6 * HOUR), 4),
        # Both queues at their deepest, at different times.
        (at(1, 9 * HOUR), 20),
        (at(1, 9 * HOUR + 15 * SECOND), 1),
        # The last and the first sample of a day.
        (at(2, -2 * MS), 50),
        (at(2, timedelta(0)), 60),
        (at(2, 15 * SECOND), 3),
        (at(2, DAY - 2 * MS), 61),
        # Between two steps of the query, and gone at the next.
        (at(3, 7 * HOUR + 3 * SECOND), 80),
        (at(3, 7 * HOUR + 18 * SECOND), 2),
        # Two exporters at once: they see the same queue.
        (at(4, 3 * HOUR), 11),
        # All samples are zero: the depth is known, and 0.
        (at(5, 3 * HOUR), 0),
        (at(6, 3 * HOUR), 10**12),
        # The day before was busy to its end; this day is busiest within its first minutes.
        (at(7, -60 * SECOND), 90),
        (at(7, -2 * MS), 91),
        (at(7, 100 * SECOND), 45),
        (at(7, 240 * SECOND), 6),
    ],
    AI + ',instance="two"}': [(at(4, 3 * HOUR), 12)],
    PREVIEW + ',instance="one"}': [
        (at(1, 9 * HOUR), 1),
        (at(1, 9 * HOUR + 15 * SECOND), 30),
        (at(4, 3 * HOUR), 5),
        (at(8, 3 * HOUR), 6),
    ],
    AI + ',instance="three"}': [(at(8, 3 * HOUR), 7), (at(10, 3 * HOUR), 7), (at(10, 3 * HOUR + 15 * SECOND), 7)],
}
"""The depths of queues."""

WAITING: Mapping[str, Depths] = {
    # More than in the queue, as two exporters see it; fewer than in the queue of previews.
    '{queue="ai",state="waiting",instance="one"}': [
        (at(8, 3 * HOUR), 19),
        # No queue is known.
        (at(9, 3 * HOUR), 4),
        # In the first minutes of the day.
        (at(10, 60 * SECOND), 8),
    ],
    '{queue="ai",state="waiting",instance="two"}': [(at(8, 3 * HOUR), 18)],
    '{queue="ai",state="running",instance="one"}': [(at(8, 3 * HOUR), 900), (at(9, 3 * HOUR), 900)],
    '{queue="preview",state="waiting",instance="one"}': [(at(8, 3 * HOUR), 2)],
}
"""Jobs as PostgreSQL knows them."""


def openmetrics(**metrics: Mapping[str, Depths]) -> str:
    """The series in the format of promtool."""
    lines = []
    for name, series in metrics.items():
        lines.append(f"# TYPE {name} gauge")
        for labels, depths in series.items():
            lines += [f"{name}{labels} {depth} {moment.timestamp():.3f}" for moment, depth in depths]
    return "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("depths")
    server = PrometheusServer(folder / "prometheus", retention="100y")
    past = folder / "past.om"
    past.write_text(openmetrics(hivesync_queue_depth=SERIES, hivesync_jobs=WAITING))
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=2560h", "openmetrics"]
    subprocess.run([*command, str(past), str(server.data)], check=True, capture_output=True)
    with server:
        yield server


def read(url: str | None, days: Sequence[date], resolution: float = EVERY) -> dict[date, int]:
    async def ask() -> dict[date, int]:
        prometheus = Prometheus(url) if url else None
        try:
            return dict(await QueueDepths(prometheus, resolution).read(days))
        finally:
            if prometheus:
                await prometheus.close()

    return asyncio.run(ask())


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("number", "depth"),
    [
        pytest.param(0, 9, id="the highest of the day"),
        pytest.param(1, 31, id="both queues at one time, not each at its own"),
        pytest.param(2, 61, id="to the very end"),
        pytest.param(3, 80, id="between two steps"),
        pytest.param(4, 17, id="two exporters are not summed"),
        pytest.param(5, 0, id="nothing waited"),
        pytest.param(8, 19 + 6, id="the larger of each queue's depth and its waiting jobs"),
        pytest.param(9, 4, id="no queue is known"),
        pytest.param(10, 8, id="more in the first minutes"),
    ],
)
def test_a_days_depth_is_the_most_that_waited_at_once(prometheus: PrometheusServer, number: int, depth: int) -> None:
    assert read(prometheus.url, [day(number)]) == {day(number): depth}


@pytest.mark.prometheus
def test_a_sample_belongs_to_its_own_day_only(prometheus: PrometheusServer) -> None:
    """Prometheus looks back five minutes for a value, but the roll-up not over midnight."""
    around = [day(2) - DAY, day(2), day(2) + DAY]
    assert read(prometheus.url, around) == {around[0]: 50, around[1]: 61}
    assert read(prometheus.url, [day(7) - DAY, day(7)]) == {day(7) - DAY: 91, day(7): 45}


@pytest.mark.prometheus
def test_days_of_which_nothing_is_known_and_depths_that_are_none_are_left_out(prometheus: PrometheusServer) -> None:
    assert read(prometheus.url, [day(0) + DAY, day(6), day(7) + DAY]) == {}


@pytest.mark.prometheus
def test_days_far_apart_are_asked_for_together_and_others_are_not_told(prometheus: PrometheusServer) -> None:
    assert read(prometheus.url, [day(0), day(5), D - 400 * DAY, D + 400 * DAY]) == {day(0): 9, day(5): 0}
    assert read(prometheus.url, []) == {}


@pytest.mark.prometheus
@pytest.mark.parametrize("resolution", [7, 15, 60, 600])
def test_any_resolution_finds_what_it_can_see(prometheus: PrometheusServer, resolution: float) -> None:
    """A step coarser than the samples may miss some; the result is never too high."""
    found = read(prometheus.url, [day(number) for number in range(6)], resolution)
    exact = dict(zip([day(number) for number in range(6)], [9, 31, 61, 80, 17, 0], strict=True))
    assert found.items() <= exact.items() if resolution <= 15 else all(found[when] <= exact[when] for when in found)
    assert set(found) == set(exact) if resolution <= 60 else True


@pytest.mark.prometheus
def test_an_exporter_that_refreshes_faster_is_asked_about_every_second(
    prometheus: PrometheusServer,
) -> None:
    assert read(prometheus.url, [day(3)], 0.2) == {day(3): 80}


def test_steps_divide_a_day_and_its_first_five_minutes() -> None:
    assert [step_of(resolution) for resolution in (0.2, 1.9, 5, 7, 14, 15, 33.3, 600)] == [1, 1, 5, 6, 12, 15, 30, 300]
    assert all(DAY_SECONDS % step_of(resolution) == 0 for resolution in range(1, 601))


def test_that_prometheus_is_not_there_is_said_once() -> None:
    with capture_logs() as events:
        assert read("http://127.0.0.1:1", [D, D + 100 * DAY]) == {}
        assert read(None, [D]) == {}
    assert [(event["event"], event["source"], event["kind"]) for event in events] == [
        ("system.analytics.degraded", "prometheus", "refused"),
        ("system.analytics.degraded", "prometheus", "not_configured"),
    ]


@pytest.mark.prometheus
def test_going_and_coming_back_are_said_once_each(prometheus: PrometheusServer) -> None:
    async def ask() -> None:
        there, gone = Prometheus(prometheus.url), Prometheus("http://127.0.0.1:1")
        depths = QueueDepths(gone, EVERY)
        for asked in (gone, gone, there, there, gone, there):
            depths.prometheus = asked
            await depths.read([D])
        await there.close()
        await gone.close()

    with capture_logs() as events:
        asyncio.run(ask())
    assert [event["event"].rpartition(".")[2] for event in events] == ["degraded", "recovered"] * 2


def test_nothing_is_asked_and_nothing_said_when_no_day_is_wanted() -> None:
    with capture_logs() as events:
        assert read(None, []) == {}
    assert events == []


def test_the_metrics_of_the_queries_are_those_of_the_collectors() -> None:
    assert f"({DEPTH.name} offset" in MOST
    assert f'({JOBS.name}{{{{state="waiting"}}}} offset' in MOST
