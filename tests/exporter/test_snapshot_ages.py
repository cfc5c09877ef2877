"""Ages of served values: from the start of the refresh that read them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exporter.collector import Collector, Sources
from exporter.errors import CollectionFailed
from exporter.snapshot import ORDER_SECONDS
from exporter.spec import Sample
from exporter.view import Served
from tests.exporter.fakes import Fake, build, fails, finds_postgres_down, hangs, run, takes, works


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
