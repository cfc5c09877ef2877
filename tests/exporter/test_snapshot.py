"""Scheduling and isolation of collectors, with made-up collectors: the failures and delays of one do not affect
another.

Time is virtual where it matters: the clock of the event loop jumps to the next due time, so that hours take no time and
every time is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from exporter.collector import Collector, Sources
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.snapshot import (
    COLLECTOR_UP,
    DEADLINE_SECONDS,
    ORDER_SECONDS,
    REFRESH_DURATION,
    REFRESH_FAILURES,
    SOURCE_LAST_SUCCESS,
    SOURCE_UP,
    STAGGER_SECONDS,
    Served,
    Snapshot,
)
from exporter.sources import Reachability
from exporter.sources.jsonl import JsonlLog
from exporter.sources.postgres import Postgres
from exporter.sources.redis import Redis
from exporter.spec import Histogram, Label, MetricSpec, Sample

GAUGE = MetricSpec("hivesync_test_value", "gauge", "A value.", "the test", (Label("collector"),))
COUNTER = MetricSpec("hivesync_test_total", "counter", "A count.", "the test", (Label("collector"),))
REFRESH_SECONDS = 15.0
SECRET = "ada@example.org asked for: def secret(): pass"

T = TypeVar("T")
Step = Callable[["Fake"], Awaitable[None]]


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop without waiting: its clock jumps when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._poll = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._virtual

    def _jump(self, timeout: float | None) -> Any:
        assert timeout is not None, "nothing would ever happen again"
        ready = self._poll(0)
        if not ready:
            self._virtual += timeout
        return ready


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(work)


class Fake:
    """Runs one step per refresh, the last one repeatedly; records the start of each, and the most refreshes at once."""

    specs = (GAUGE, COUNTER)

    def __init__(self, name: str, *steps: Step, periods: int = 1, sources: tuple[str, ...] = ("postgres",)) -> None:
        self.name = name
        self.periods = periods
        self.sources = sources
        self.starts: list[float] = []
        self.running = self.most_running = 0
        self._steps: Iterator[Step] = chain(steps, repeat(steps[-1] if steps else works))

    @property
    def refreshes(self) -> int:
        return len(self.starts)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        self.starts.append(round(asyncio.get_running_loop().time(), 6))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            self.asked = sources
            await next(self._steps)(self)
        finally:
            self.running -= 1
        return [GAUGE.sample(self.refreshes, collector=self.name)]

    def counters(self) -> Sequence[Sample]:
        return [COUNTER.sample(self.refreshes, collector=self.name)]


async def works(fake: Fake) -> None:
    del fake


async def hangs(fake: Fake) -> None:
    del fake
    await asyncio.Event().wait()


async def swallows_its_cancellation(fake: Fake) -> None:
    """Lose a cancellation, as asyncio.wait_for does up to Python 3.11 for a result at that very moment."""
    del fake
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(10)


def takes(seconds: float) -> Step:
    async def step(fake: Fake) -> None:
        del fake
        await asyncio.sleep(seconds)

    return step


def fails(error: Exception) -> Step:
    async def step(fake: Fake) -> None:
        del fake
        raise error

    return step


async def finds_postgres_down(fake: Fake) -> None:
    fake.asked.postgres.reachability.failed("refused")
    raise SourceUnavailable("postgres", "refused")


async def finds_postgres_up(fake: Fake) -> None:
    fake.asked.postgres.reachability.worked()


def build(*fakes: Collector, seconds: float = REFRESH_SECONDS, **options: Any) -> Snapshot:
    """A snapshot of these collectors, with sources that only record their reachability."""
    sources = Sources(
        postgres=Postgres("postgresql://nobody@127.0.0.1:1/none"),
        redis=Redis("redis://127.0.0.1:1/0"),
        ai_events_log=JsonlLog("ai_events_log", Path("/nonexistent")),
        preview_log=JsonlLog("preview_log", Path("/nonexistent")),
    )
    return Snapshot(fakes, sources, seconds, **options)


def values(snapshot: Snapshot, spec: MetricSpec) -> dict[str, Any]:
    """The values of a metric by its only label."""
    view = snapshot.view()
    samples = [*view.own, *(sample for collector in view.collectors for sample in collector.samples)]
    return {sample.labels[0]: sample.value for sample in samples if sample.spec == spec}


def refresh(snapshot: Snapshot, times: int = 1) -> None:
    async def passes() -> None:
        for _ in range(times):
            await snapshot.refresh_all()

    run(passes())


def keep_time(snapshot: Snapshot, seconds: float, *others: Callable[[], Awaitable[None]]) -> None:
    """Run the snapshot for that long, while `others` are called repeatedly."""

    async def over_and_over(work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()
            await asyncio.sleep(0.001)

    async def main() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                group.create_task(snapshot.run())
                for work in others:
                    group.create_task(over_and_over(work))

    run(main())


def degraded_and_recovered(logged: Sequence[Any]) -> list[tuple[str, str]]:
    """(`degraded` or `recovered`, collector or else source) of the events about failures, in order."""
    return [
        (event["event"].removeprefix("system.analytics."), event.get("collector", event["source"]))
        for event in logged
        if event["event"].startswith("system.analytics.")
    ]


# Isolation -------------------------------------------------------------------------------------------------------


def test_a_collector_that_raises_does_not_disturb_the_others() -> None:
    snapshot = build(Fake("before"), Fake("broken", fails(RuntimeError("no"))), Fake("after"))
    refresh(snapshot, times=3)
    assert values(snapshot, GAUGE) == {"before": 3, "after": 3}
    assert values(snapshot, COLLECTOR_UP) == {"before": 1, "broken": 0, "after": 1}
    assert values(snapshot, REFRESH_FAILURES) == {"before": 0, "broken": 3, "after": 0}


def test_what_fails_loses_its_gauges_and_keeps_its_counters() -> None:
    snapshot = build(Fake("fickle", works, fails(CollectionFailed("postgres", "undefined_table")), works))
    for gauges, counters in (({"fickle": 1}, 1), ({}, 2), ({"fickle": 3}, 3)):
        refresh(snapshot)
        assert values(snapshot, GAUGE) == gauges
        assert values(snapshot, COUNTER) == {"fickle": counters}


def test_what_a_source_feeds_is_gone_as_soon_as_anybody_finds_it_down() -> None:
    """Values of the source's other collectors are stale before their next refresh."""
    finder = Fake("finder", finds_postgres_up, finds_postgres_down, finds_postgres_up)
    waiting = Fake("waiting", periods=100, sources=("redis", "postgres"))
    unconcerned = Fake("unconcerned", periods=100, sources=("redis",))
    seen: list[dict[str, Any]] = []
    snapshot: Snapshot = build(waiting, unconcerned, finder, changed=lambda: seen.append(values(snapshot, GAUGE)))
    keep_time(snapshot, 40)
    assert seen[2:] == [
        {"waiting": 1, "unconcerned": 1, "finder": 1},
        {"unconcerned": 1},
        {"waiting": 1, "unconcerned": 1, "finder": 3},
    ]
    assert values(snapshot, COUNTER) == {"waiting": 1, "unconcerned": 1, "finder": 3}


def test_every_refresh_is_timed_the_failed_ones_too() -> None:
    snapshot = build(Fake("good"), Fake("bad", fails(ValueError("no"))))
    refresh(snapshot, times=4)
    durations = values(snapshot, REFRESH_DURATION)
    assert set(durations) == {"good", "bad"}
    for histogram in durations.values():
        assert isinstance(histogram, Histogram)
        assert histogram.buckets[-1] == ("+Inf", 4)
        assert [number for _, number in histogram.buckets] == sorted(number for _, number in histogram.buckets)
        assert histogram.total > 0


def test_a_duration_is_counted_in_every_bucket_it_is_not_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.25 s is a bound: a bucket includes its upper bound."""
    readings = count(0, 0.25)
    monkeypatch.setattr("exporter.snapshot.time.perf_counter", lambda: next(readings))
    snapshot = build(Fake("quarter"))
    refresh(snapshot, times=2)
    histogram = values(snapshot, REFRESH_DURATION)["quarter"]
    assert {bound for bound, number in histogram.buckets if number == 0} == {"0.005", "0.01", "0.025", "0.05", "0.1"}
    assert {number for bound, number in histogram.buckets if bound in {"0.25", "60.0", "+Inf"}} == {2}
    assert histogram.total == 0.5


def test_nothing_is_said_of_a_collector_or_source_before_it_was_tried() -> None:
    snapshot = build(Fake("slow"))
    assert not snapshot.view().ready
    assert values(snapshot, COLLECTOR_UP) == values(snapshot, SOURCE_UP) == values(snapshot, SOURCE_LAST_SUCCESS) == {}


def test_it_is_ready_once_every_collector_has_tried_whatever_came_of_it() -> None:
    snapshot = build(Fake("good"), Fake("bad", fails(ValueError("no")), sources=("redis",)))
    run(snapshot.refresh_all("postgres"))
    assert not snapshot.view().ready
    refresh(snapshot)
    assert snapshot.view().ready


def test_a_source_says_when_it_was_last_reached_also_while_it_is_down() -> None:
    other = build()
    other.sources.postgres.reachability = Reachability("postgres", clock=lambda: 1_000.0)
    asks = Fake("asks", finds_postgres_up, finds_postgres_down)
    snapshot = Snapshot([asks], other.sources, REFRESH_SECONDS, clock=lambda: 2_000.0)
    for up in (1, 0):
        refresh(snapshot)
        assert values(snapshot, SOURCE_UP) == {"postgres": up}
        assert values(snapshot, SOURCE_LAST_SUCCESS) == {"postgres": 1_000.0}
        assert snapshot.view().collectors[0].last_success == 2_000.0


def test_a_collector_that_hangs_is_cancelled_at_the_deadline_and_the_others_go_on() -> None:
    hanging, other = Fake("hangs", hangs), Fake("other")
    snapshot = build(hanging, other)
    with capture_logs() as logged:
        keep_time(snapshot, DEADLINE_SECONDS - 1)
        assert values(snapshot, COLLECTOR_UP) == {"other": 1}
        before = other.refreshes
        keep_time(snapshot, 2 * DEADLINE_SECONDS + 2 * REFRESH_SECONDS)
    assert values(snapshot, COLLECTOR_UP) == {"hangs": 0, "other": 1}
    assert values(snapshot, REFRESH_FAILURES) == {"hangs": 2, "other": 0}
    assert other.refreshes - before == 2 * DEADLINE_SECONDS // REFRESH_SECONDS + 2
    assert [(event["collector"], event["kind"]) for event in logged] == [("hangs", "TimeoutError")]


def test_whoever_looks_is_told_of_every_refresh_once_it_can_be_seen() -> None:
    seen: list[dict[str, Any]] = []
    snapshot: Snapshot = build(Fake("one"), Fake("two"), changed=lambda: seen.append(values(snapshot, GAUGE)))
    refresh(snapshot, times=2)
    assert seen == [{"one": 1}, {"one": 1, "two": 1}, {"one": 2, "two": 1}, {"one": 2, "two": 2}]


# The log ---------------------------------------------------------------------------------------------------------


def test_each_change_of_a_collector_is_logged_exactly_once() -> None:
    missing = fails(CollectionFailed("postgres", "undefined_table", 'relation "projects" does not exist'))
    snapshot = build(Fake("users", works, missing, missing, missing, works, works, missing, works))
    with capture_logs() as logged:
        refresh(snapshot, times=8)
    assert degraded_and_recovered(logged) == [("degraded", "users"), ("recovered", "users")] * 2
    assert logged[0] == {
        "event": "system.analytics.degraded",
        "log_level": "warning",
        "collector": "users",
        "source": "postgres",
        "kind": "undefined_table",
        "detail": 'relation "projects" does not exist',
    }
    assert logged[1]["source"] == "postgres"


def test_another_kind_of_failure_is_no_other_line_it_was_degraded_already() -> None:
    first, second = (fails(CollectionFailed("postgres", kind)) for kind in ("undefined_table", "statement_timeout"))
    with capture_logs() as logged:
        refresh(build(Fake("users", first, first, second, first, works)), times=5)
    assert degraded_and_recovered(logged) == [("degraded", "users"), ("recovered", "users")]
    assert logged[0]["kind"] == "undefined_table"


def test_a_source_that_is_down_is_logged_once_and_not_once_a_collector() -> None:
    steps = (finds_postgres_up, finds_postgres_down, finds_postgres_down, finds_postgres_up, finds_postgres_up)
    snapshot = build(*(Fake(name, *steps) for name in ("users", "ai", "latency")))
    with capture_logs() as logged:
        refresh(snapshot, times=5)
    assert degraded_and_recovered(logged) == [("degraded", "postgres"), ("recovered", "postgres")]
    assert logged[0]["kind"] == "refused"
    assert values(snapshot, REFRESH_FAILURES) == {"users": 2, "ai": 2, "latency": 2}


def test_a_source_that_was_never_there_is_logged_once_too() -> None:
    snapshot = build(*(Fake(name, finds_postgres_down) for name in ("users", "ai")))
    with capture_logs() as logged:
        refresh(snapshot, times=3)
    assert degraded_and_recovered(logged) == [("degraded", "postgres")]


def test_an_outage_in_between_does_not_hide_that_a_collector_recovered() -> None:
    missing = fails(CollectionFailed("postgres", "undefined_table"))
    snapshot = build(Fake("users", finds_postgres_up, missing, finds_postgres_down, finds_postgres_up))
    with capture_logs() as logged:
        refresh(snapshot, times=4)
    changes = degraded_and_recovered(logged)
    assert changes[:2] == [("degraded", "users"), ("degraded", "postgres")]
    assert set(changes[2:]) == {("recovered", "users"), ("recovered", "postgres")}
    assert len(changes) == 4


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), UnicodeDecodeError("utf-8", b"x", 0, 1, SECRET)]
)
def test_the_message_of_an_unexpected_exception_never_reaches_the_log(error: Exception) -> None:
    snapshot = build(Fake("users", fails(error)))
    with capture_logs() as logged:
        refresh(snapshot)
    (event,) = logged
    assert (event["kind"], event["log_level"]) == (type(error).__name__, "warning")
    assert Path(__file__).name in event["where"]
    assert not [word for word in ("ada", "example.org", "secret") if word in f"{event}{snapshot.view()}"]


# Clocks ----------------------------------------------------------------------------------------------------------


def test_each_collector_keeps_its_own_clock_and_takes_turns_after_the_first() -> None:
    fast, slow = Fake("fast", takes(3)), Fake("slow", takes(7), periods=4)
    keep_time(build(fast, slow), 130)
    later = ORDER_SECONDS + STAGGER_SECONDS
    assert fast.starts == [0, 15, 30, 45, 60, 75, 90, 105, 120]
    assert slow.starts == pytest.approx([ORDER_SECONDS, later + 60, later + 120])


def test_a_slow_collector_that_failed_is_retried_after_one_period() -> None:
    no = fails(ValueError("no"))
    slow = Fake("slow", no, no, works, works, no, works, periods=4)
    keep_time(build(slow), 220)
    assert slow.starts == [0, 15, 30, 90, 150, 165]


def test_a_collector_that_took_too_long_misses_turns_and_does_not_make_up_for_them() -> None:
    fake = Fake("stalls", works, takes(40), works)
    keep_time(build(fake), 100)
    assert fake.starts == [0, 15, 60, 75, 90]


def test_one_that_takes_longer_than_its_interval_every_time_still_goes_on() -> None:
    fake = Fake("always late", takes(20))
    keep_time(build(fake), 100)
    assert fake.starts == [0, 30, 60, 90]


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (3, [0, 15, 30, 45, 60, 75, 90]),
        (4, [0, 20, 40, 60, 80, 100]),
        (10, [0, 50, 100]),
        (20, [0, 100]),
    ],
)
def test_a_pass_over_redis_takes_a_fifth_of_the_time_at_most(seconds: float, starts: list[float]) -> None:
    """From the first pass on, the collector refreshes less often."""
    fake, other = Fake("online", takes(seconds), sources=("postgres", "redis")), Fake("workers", sources=("redis",))
    keep_time(build(fake, other), 101)
    assert fake.starts == starts
    later = [ORDER_SECONDS + STAGGER_SECONDS + 15 * number for number in range(1, 7)]
    assert other.starts == pytest.approx([ORDER_SECONDS, *later]), "one of many keys slowed another"


def test_one_slow_pass_is_followed_by_a_long_rest_and_then_by_its_usual_ones() -> None:
    fake = Fake("online", works, takes(10), works, sources=("redis",))
    keep_time(build(fake), 105)
    assert fake.starts == [0, 15, 65, 80, 95]


def test_a_pass_a_third_longer_than_the_last_takes_at_most_a_quarter() -> None:
    fake = Fake("online", takes(6), takes(8), works, sources=("redis",))
    keep_time(build(fake), 75)
    assert fake.starts == [0, 30, 70]
    assert 8 / (30 + 8 - 6) <= 1 / 4  # from the end of one pass to the end of the next


def test_what_waits_for_verify_to_end_is_not_taken_for_slow() -> None:
    fake = Fake("online", takes(1), sources=("redis",))
    snapshot = build(fake)

    async def rest() -> None:
        await asyncio.sleep(10)
        async with snapshot.at_rest("redis"):
            await asyncio.sleep(24)
        await asyncio.Event().wait()

    keep_time(snapshot, 70, rest)
    assert fake.starts == [0, 34, 45, 60]


def test_one_that_took_long_and_failed_is_retried_as_ever() -> None:
    async def late(fake: Fake) -> None:
        await takes(10)(fake)
        raise SourceUnavailable("redis", "timeout")

    fake = Fake("online", works, late, late, works, sources=("redis",))
    keep_time(build(fake), 61)
    assert fake.starts == [0, 15, 30, 45, 60]


def test_told_to_stop_it_stops_even_where_a_driver_swallows_that() -> None:
    fake = Fake("swallows", swallows_its_cancellation, works)
    snapshot = build(fake)

    async def main() -> None:
        running = asyncio.create_task(snapshot.run())
        await asyncio.sleep(5)
        running.cancel()
        await asyncio.wait([running], timeout=100)
        assert running.cancelled()

    run(main())
    assert fake.starts == [0]


def test_refreshes_never_overlap_and_at_rest_means_at_rest() -> None:
    fakes = [Fake("one", takes(2)), Fake("two", takes(3)), Fake("other", takes(1), sources=("redis",))]
    snapshot = build(*fakes)
    others_meanwhile: list[int] = []

    async def rest() -> None:
        async with snapshot.at_rest("postgres") as collectors:
            assert [collector.name for collector in collectors] == ["one", "two"]
            before = [fake.refreshes for fake in fakes]
            for _ in range(20):
                assert [fake.running for fake in fakes[:2]] == [0, 0]
                await asyncio.sleep(1)
            assert [fake.refreshes for fake in fakes[:2]] == before[:2]
            others_meanwhile.append(fakes[2].refreshes - before[2])

    keep_time(snapshot, 1_000, snapshot.refresh_all, snapshot.refresh_all, rest)
    assert [fake.most_running for fake in fakes] == [1, 1, 1]
    assert min(fake.refreshes for fake in fakes) > 20
    assert len(others_meanwhile) > 20
    assert min(others_meanwhile) > 0, "a collector of another source had to wait"


def test_a_refresh_of_one_source_leaves_the_collectors_of_others_alone() -> None:
    both, redis = Fake("both", sources=("postgres", "redis")), Fake("redis", sources=("redis",))
    snapshot = build(both, redis)
    run(snapshot.refresh_all("postgres"))
    assert (both.refreshes, redis.refreshes) == (1, 0)


# Ages ------------------------------------------------------------------------------------------------------------


class Behind(Fake):
    """Shows the samples of its first refresh at all later ones too."""

    behind = 0.0

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        samples = await super().refresh(sources)
        self.behind = asyncio.get_running_loop().time() - self.starts[0]
        return samples

    def promised_age(self, interval: float) -> float:
        return 10 * interval


def served_after(seconds: float, *fakes: Collector) -> dict[str, Served]:
    async def main() -> list[Served]:
        snapshot = build(*fakes)
        keeping = asyncio.ensure_future(snapshot.run())
        await asyncio.sleep(seconds)
        served = snapshot.served("postgres")
        keeping.cancel()
        return served

    return {served.collector: served for served in run(main())}


def test_what_is_served_is_as_old_as_the_start_of_the_refresh_that_read_it() -> None:
    served = served_after(27.0, Fake("quick"), Fake("slow", takes(4), periods=4), Fake("other", sources=("redis",)))
    assert served.keys() == {"quick", "slow"}
    assert (served["quick"].age, served["quick"].promised_age) == (12.0, 30.0)
    assert (served["slow"].age, served["slow"].promised_age) == (27.0 - ORDER_SECONDS, 120.0)
    assert [sample.value for sample in served["quick"].samples] == [2], "counters are none of it"


def test_what_was_read_before_the_last_refresh_is_older_than_that() -> None:
    served = served_after(50.0, Behind("behind"))["behind"]
    assert (served.age, served.promised_age, served.fails) == (50.0, 150.0, False)


def test_a_pass_over_redis_that_rests_promises_less() -> None:
    served = served_after(10.0, Fake("online", takes(6), sources=("postgres", "redis")))["online"]
    assert (served.age, served.promised_age) == (10.0, 60.0)


def test_what_serves_nothing_counts_from_the_start_or_the_last_reading() -> None:
    broken = CollectionFailed("postgres", "undefined_table", "users")
    waiting, never, once = served_after(
        40.0, Fake("waiting", hangs), Fake("never", fails(broken)), Fake("once", works, fails(broken))
    ).values()
    assert (waiting.age, waiting.fails, waiting.samples) == (40.0, False, ())
    assert (never.age, never.fails, never.samples) == (40.0, True, ())
    assert (once.age, once.fails, once.samples) == (40.0 - 2 * ORDER_SECONDS, True, ())


def test_no_collector_promises_more_than_a_refresh_takes() -> None:
    async def promised() -> list[float]:
        return [served.promised_age for served in build(Fake("quick"), seconds=0.2).served("postgres")]

    assert run(promised()) == [5.0]


def test_what_a_source_that_is_down_feeds_is_not_served() -> None:
    assert served_after(1.0, Fake("fine"), Fake("asks", finds_postgres_down))["fine"].fails
