"""The speed of reading all WebSockets from Redis, its effect on another client, and the product's cadence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from threading import Event

from bench.command import Conversation
from bench.figures import Figure, at_least, at_most, ratio
from bench.measure import NotMeasured, percentile
from bench.peers.redis_exporter import RedisExporter
from bench.product import FIRST_PASS_SECONDS, Product, Samples, all_up
from bench.redis_readers import PATTERN, PRODUCT, PRODUCT_PASS, WAYS
from bench.run import Run
from bench.sockets import SMALL
from demo.database import EXPORTER_ROLE
from servers.child import ChildError

PART = "redis"
IDLE_SECONDS = 3.0
PASSES = 1
"""Number of measured intervals, each from the end of a pass to the end of the next one."""
QUARTER = 0.25
TIMES_REDIS_PY = 2.0
PING_MS = 2.0
PASS_SECONDS = 300.0

_DURATION = 'hivesync_refresh_duration_seconds_{}{{collector="online"}}'


def measure(bench: Run) -> Sequence[Figure]:
    """Measure the keys per second of each way, in turn, with PING alongside; then the product's cadence in
    production."""
    url, database_url = bench.valkey.url, bench.small_database.url_as(EXPORTER_ROLE)
    keys = bench.options.web_sockets + SMALL
    speeds: dict[str, list[float]] = {PRODUCT: [], PRODUCT_PASS: [], "redis_exporter": [], **{way: [] for way in WAYS}}
    pings: dict[str, list[float]] = {"idle": [], **{way: [] for way in speeds}}
    counted: dict[str, tuple[int, int]] = {}
    why_not = ""
    with ExitStack() as stack:
        pinger = stack.enter_context(Conversation("bench.pinger", url))
        readers = {
            way: stack.enter_context(Conversation("bench.redis_readers", way, url, database_url))
            for way in (PRODUCT, PRODUCT_PASS, *WAYS)
        }
        try:
            peer = stack.enter_context(RedisExporter(bench.directory / "redis-exporter", url, PATTERN))
            bench.versions[peer.name] = peer.version
        except (NotMeasured, ChildError) as error:
            peer, why_not = None, str(error)
        for number in range(bench.options.rounds):
            with bench.progress.stage(PART, f"round {number + 1} of {bench.options.rounds}"):
                pings["idle"].append(_pinged(pinger, lambda: Event().wait(IDLE_SECONDS)))
                for way, reader in readers.items():
                    answer: dict[str, float] = {}
                    pings[way].append(_pinged(pinger, lambda: answer.update(_ask(reader))))  # noqa: B023  # used at once
                    speeds[way].append(keys / answer["seconds"])
                    counted[way] = (int(answer["users"]), int(answer["devices"]))
                if peer is not None:
                    passed: list[float] = []
                    pings[peer.name].append(_pinged(pinger, lambda: passed.append(peer.count()[0])))  # noqa: B023
                    speeds[peer.name].append(keys / passed[0])
    return [
        *_speed_figures(speeds, counted, why_not),
        *_ping_figures(pings),
        *_cadence(bench),
    ]


def _ask(reader: Conversation) -> dict[str, float]:
    reader.say()
    answer: dict[str, float] = json.loads(reader.hear())
    return answer


def _pinged(pinger: Conversation, during: Callable[[], object]) -> float:
    """Return the 99th percentile of PING (ms) during a call."""
    pinger.say()
    during()
    pinger.say()
    return percentile(json.loads(pinger.hear()), 0.99)


def _speed_figures(
    speeds: dict[str, list[float]], counted: dict[str, tuple[int, int]], why_not: str
) -> Iterator[Figure]:
    users, devices = counted[PRODUCT]
    notes = {
        PRODUCT: f"a whole refresh, with its questions to PostgreSQL; {users:,} users, {devices:,} devices",
        "redis_exporter": why_not or "counts keys only: reads no values, knows neither users nor devices",
        "hiredis on a socket": "the limit of asking one thing after the other",
        "KEYS": "names only; never to be used",
    }
    figures = {way: Figure.median(PART, way, speeds[way], "keys/s", note=notes.get(way, "")) for way in speeds}
    yield from figures.values()
    baseline = "redis-py SCAN + HMGET"
    alike = all(counted[way] == counted[baseline] for way in (PRODUCT_PASS, "hiredis on a socket"))
    yield ratio(
        PART,
        f"{PRODUCT_PASS} / {baseline}",
        figures[PRODUCT_PASS],
        figures[baseline],
        at_least(TIMES_REDIS_PY),
        f"the same work: {counted[baseline][0]:,} users, {counted[baseline][1]:,} devices"
        + ("" if alike else f"; but not the same numbers: {counted[PRODUCT_PASS]}, {counted['hiredis on a socket']}"),
    )
    yield ratio(PART, f"{PRODUCT} / {baseline}", figures[PRODUCT], figures[baseline], note="with PostgreSQL's part")


def _ping_figures(pings: dict[str, list[float]]) -> Iterator[Figure]:
    for way, values in pings.items():
        if values:
            target = at_most(PING_MS) if way == PRODUCT else None
            yield Figure.median(PART, f"p99 of another client's PING: {way}", values, "ms", target)


def _cadence(bench: Run) -> Iterator[Figure]:
    """Measure the duration and the interval of passes in the running process."""
    share = "a pass' share of the time between two"
    product = Product(
        bench.directory / "product-redis",
        database_url=bench.small_database.url_as(EXPORTER_ROLE),
        redis_url=bench.valkey.url,
    )
    try:
        with product:
            with bench.progress.stage(PART, "passes of the product at its own pace"):
                first, begun = _next_pass(product, product.wait_for(all_up, "all collectors up", FIRST_PASS_SECONDS))
                last, ended = first, begun
                for _ in range(PASSES):
                    last, ended = _next_pass(product, last)
            bench.verify(PART, "after the passes", product)
    except (NotMeasured, ChildError) as error:
        yield Figure(PART, share, None, "", at_most(QUARTER), str(error).partition("\n")[0])
        return
    passes = _passes(last) - _passes(first)
    took = (last[_DURATION.format("sum")] - first[_DURATION.format("sum")]) / passes
    interval = (ended - begun) / passes
    yield Figure(PART, "product: seconds a pass, in the process that runs", took, "s")
    yield Figure(PART, "product: seconds from one pass to the next", interval, "s")
    yield Figure(PART, share, took / interval, "", at_most(QUARTER))


def _next_pass(product: Product, since: Samples) -> tuple[Samples, float]:
    """Return the first samples after another pass, and their time."""
    seen = product.wait_for(lambda samples: _passes(samples) > _passes(since), "another pass", PASS_SECONDS)
    return seen, time.perf_counter()


def _passes(samples: Samples) -> float:
    return samples.get(_DURATION.format("count"), 0.0)
