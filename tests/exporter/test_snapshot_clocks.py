"""Scheduling of collectors: each has its own clock, and the delays of one do not affect another."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from exporter.errors import SourceUnavailable
from exporter.snapshot import ORDER_SECONDS, SOURCE_CHANGES, STAGGER_SECONDS
from tests.exporter.fakes import Fake, build, fails, keep_time, run, swallows_its_cancellation, takes, values, works


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


def test_on_another_server_its_collectors_are_refreshed_at_once_and_keep_their_clocks() -> None:
    async def finds_another(fake: Fake) -> None:
        fake.asked.postgres.reachability.changed("recovery")

    fast, slow = Fake("fast", works, finds_another, works), Fake("slow", periods=4)
    other = Fake("other", sources=("redis",), periods=4)
    snapshot = build(fast, slow, other)
    with capture_logs() as logged:
        keep_time(snapshot, 46)
    assert fast.starts == [0, 15, 15, 30, 45]
    assert slow.starts == pytest.approx([ORDER_SECONDS, 15])
    assert other.refreshes == 1
    changes = [line for line in logged if line["event"] == "source.changed"]
    assert [(line["source"], line["reason"]) for line in changes] == [("postgres", "recovery")]
    assert values(snapshot, SOURCE_CHANGES) == {"postgres": 1, "redis": 0}


def test_several_servers_behind_one_address_are_refreshed_at_most_twice_in_a_period() -> None:
    """A load balancer, or names of several servers: every refresh may reach another one than the last."""

    async def finds_another(fake: Fake) -> None:
        fake.asked.postgres.reachability.changed("server_start")

    fake, other = Fake("fake", finds_another), Fake("other")
    snapshot = build(fake, other)
    with capture_logs() as logged:
        keep_time(snapshot, 61)
    assert 5 <= fake.refreshes <= 10
    assert other.refreshes <= 10
    changes = [line for line in logged if line["event"] == "source.changed"]
    assert len(changes) == fake.refreshes == values(snapshot, SOURCE_CHANGES)["postgres"]
