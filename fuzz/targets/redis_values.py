"""Redis: any value of a key is in its domain or a counted skip, and the counts equal a plain reading.

An input is a command per line, its words separated by tabs; it is sent to an empty Valkey, and refused commands have no
effect. Then the product's collectors of Redis read it. The model is a plain reading of the same keys, a type at a time,
with Python's own numbers.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import redis
from hypothesis import strategies as st

from exporter.collector import Collector, Sources
from exporter.collectors.dead_letters import DeadLetters
from exporter.collectors.queues import DEPTH, PROCESSING, Queues
from exporter.collectors.unacked import Unacked
from exporter.collectors.workers import HEALTHY, LAST_HEARTBEAT, Workers
from exporter.heartbeats import RedisHeartbeats
from exporter.labels import clean, clean_worker
from exporter.presence import Presence
from exporter.queue_keys import CeleryKeys
from exporter.sources.redis import Redis
from exporter.spec import Sample, Summary
from exporter.state import StateFile
from exporter.vocabulary import DEVICE_TYPES
from exporter.worker_keys import Kinds
from fuzz.inputs import damaged, joined
from fuzz.samples import check_samples
from fuzz.target import ByteTarget, Check
from servers.valkey import ValkeyServer

ALLOWED = {b"HSET", b"SET", b"RPUSH", b"LPUSH", b"SADD", b"ZADD", b"XADD", b"SETBIT", b"PFADD", b"DEL", b"RENAME"}
NOW_WORD = b"{now}"
FORGOTTEN, LEAD = 86_400.0, 300.0
CELERY = CeleryKeys()
QUEUES = {"ai": ("ai_queue:*", "celery:ai_tasks"), "preview": ("preview_queue:*",)}
DEAD = ("dlq*",)
HEARTBEATS = "worker:heartbeat:*"


@contextmanager
def opened(directory: Path) -> Iterator[Check]:
    """The check, with a Valkey of its own."""
    with (
        ValkeyServer(directory / "valkey") as server,
        redis.Redis.from_url(server.url) as client,
        asyncio.Runner() as runner,
    ):
        source = Redis(server.url)
        state = StateFile(directory, "gpu")

        def check(content: bytes) -> None:
            client.flushall()
            seconds, _ = cast("tuple[int, int]", client.time())
            for line in content.replace(NOW_WORD, b"%d" % seconds).split(b"\n"):
                words = line.split(b"\t")
                if words[0].upper() in ALLOWED and len(words) > 1:
                    with suppress(redis.ResponseError):
                        client.execute_command(*words)
            runner.run(_check_all(source, state, client))
            state.path.unlink(missing_ok=True)

        try:
            yield check
        finally:
            runner.run(source.close())


async def _check_all(source: Redis, state: StateFile, client: redis.Redis) -> None:
    sources = cast("Sources", _Sources(source))
    workers = Workers(
        RedisHeartbeats([HEARTBEATS], [], Kinds(("cpu", "gpu"), "cpu")),
        state,
        None,
        healthy_seconds=120,
        forgotten_seconds=FORGOTTEN,
    )
    before = await source.time()
    _check_workers(await _samples(workers, sources), client, before, await source.time())
    queues = Queues(QUEUES, CELERY)
    _check_queues(await _samples(queues, sources), queues.counters(), client)
    await _samples(DeadLetters(DEAD, CELERY), sources)
    await _samples(Unacked(CELERY), sources)
    await _check_presence(source, client)


class _Sources:
    def __init__(self, source: Redis) -> None:
        self.redis = source


async def _samples(collector: Collector, sources: Sources) -> Sequence[Sample]:
    samples = [*await collector.refresh(sources), *getattr(collector, "counters", tuple)()]
    check_samples(samples, collector.specs)
    return samples


def _of(samples: Sequence[Sample], name: str) -> dict[tuple[str, ...], Any]:
    return {sample.labels: sample.value for sample in samples if sample.spec.name == name}


def _skipped(samples: Sequence[Sample]) -> dict[str, Any]:
    return {labels[-1]: value for labels, value in _of(samples, "hivesync_skipped_values").items()}


def _keys(client: redis.Redis, pattern: str) -> dict[bytes, str]:
    keys = sorted(cast("list[bytes]", client.keys(pattern)))
    return {key: cast("bytes", client.type(key)).decode() for key in keys}


def _check_workers(samples: Sequence[Sample], client: redis.Redis, before: float, after: float) -> None:
    """Each key is a worker that is shown or forgotten, or is counted as skipped."""
    shown, skips = 0, Counter[str]()
    labels: set[str] = set()
    for key, kind in _keys(client, HEARTBEATS).items():
        if kind == "hash":
            fields = ["last_heartbeat", "kind", "state", "instance_type", "lifecycle"]
            values = cast("list[bytes | None]", client.hmget(key, fields))
            if not any(values):
                skips["gone"] += 1
                continue
            value = values[0]
        elif kind == "string":
            value = cast("bytes", client.get(key))
            if not value:
                skips["gone"] += 1
                continue
        else:
            skips["wrong_type"] += 1
            continue
        at = _number(value)
        if at is None:
            return  # dates and long values: the product's own tests have them
        if not math.isfinite(at) or at < 0:
            skips["malformed"] += 1
        elif before + LEAD < at <= after + LEAD or before - FORGOTTEN <= at < after - FORGOTTEN:
            return  # at the edge of the clock
        elif at > before + LEAD:
            skips["future_heartbeat"] += 1
        elif at >= before - FORGOTTEN:
            name = key.decode("utf-8", "replace")
            labels.add(clean_worker(name[len(HEARTBEATS) - 1 :] or name))
            shown += 1
    found = _skipped(samples)
    for reason in ("gone", "wrong_type", "malformed", "future_heartbeat"):
        assert found[reason] == skips[reason], f"{reason}: {found[reason]} for {skips[reason]}"
    healthy = _of(samples, HEALTHY.name)
    assert {worker for worker, _ in healthy} == labels
    assert len(labels) <= len(healthy) <= shown
    assert healthy.keys() == _of(samples, LAST_HEARTBEAT.name).keys()
    for worker, beat in _of(samples, LAST_HEARTBEAT.name).items():
        if abs(after - beat - 120) > 1:
            assert healthy[worker] == int(after - beat <= 120)


def _number(value: bytes | None) -> float | None:
    """The number that a value is; NaN for none, and None where the value may be a date, or is long."""
    text = (value or b"").decode("utf-8", "replace").strip()
    if len(text) > 60:
        return None
    try:
        return float(text)
    except ValueError:
        return None if text[:4].isdigit() else math.nan


def _check_queues(samples: Sequence[Sample], counters: Sequence[Sample], client: redis.Redis) -> None:
    """The depths are the lengths of the lists, and keys of other types are counted."""
    strange = 0
    for queue, pattern in (("ai", "ai_queue:*"), ("preview", "preview_queue:*")):
        depths = Counter[str]()
        for key, kind in _keys(client, pattern).items():
            if key == b"ai_queue:stats":
                continue
            if kind == "list":
                depths[clean(key.decode("utf-8", "replace").partition(":")[2])] += client.llen(key)
            else:
                strange += 1
        if queue == "ai":
            lists = [key for key in CELERY.lists("ai_tasks") if client.type(key) in (b"list", b"none")]
            strange += len(CELERY.lists("ai_tasks")) - len(lists)
            if lists:
                depths["ai_tasks"] += sum(map(client.llen, lists))
        found = {name: depth for (of, name), depth in _of(samples, DEPTH.name).items() if of == queue}
        if len(depths) < 200:
            assert found == depths, f"{found} for {dict(depths)}"
    assert _skipped(samples)["wrong_type"] == strange
    for summary in _of(counters, PROCESSING.name).values():
        assert isinstance(summary, Summary)
        stored = cast("list[bytes | None]", client.hmget("ai_queue:stats", ["processed", "processing_ms"]))
        processed, milliseconds = (float((value or b"0").decode("utf-8", "replace")) for value in stored)
        assert summary.count == round(processed)
        assert math.isclose(summary.total, milliseconds / 1000)


async def _check_presence(source: Redis, client: redis.Redis) -> None:
    """Users and devices online are the distinct ids in the hashes."""
    presence, fields = Presence(), ("user_id", "session_id", "device_type")
    async with aclosing(source.all_hashes(["ws_sessions:*"], fields)) as batches:
        async for batch in batches:
            presence.fold_web_sockets(batch.keys, batch.rows)
    online = presence.count()
    users, devices = set[str](), set[str]()
    for key, kind in _keys(client, "ws_sessions:*").items():
        if kind == "hash":
            user, session, _ = (
                (value or b"").decode("utf-8", "replace").replace("\0", "\u2400")
                for value in cast("list[bytes | None]", client.hmget(key, list(fields)))
            )
            users |= {user} - {""}
            devices.add(f"session {session}" if session else f"connection {key!r}")
    assert online.users == len(users)
    assert sum(online.devices.values()) == len(devices)
    assert set(online.devices) == {*DEVICE_TYPES, "unknown"}


_keys_ = st.sampled_from(
    b"worker:heartbeat:a worker:heartbeat:b@h worker:heartbeat: worker:heartbeat:\xff ai_queue:default ai_queue:"
    b" ai_queue:a\xc3\xa9 ai_queue:stats preview_queue:x ai_tasks ai_tasks\x06\x163 _kombu.binding.ai_tasks"
    b" unacked unacked_index dlq_tasks ws_sessions:1 ws_sessions:2 ws_sessions:".split(b" ")
)
_fields = st.sampled_from(
    b"kind last_heartbeat state instance_type lifecycle user_id session_id device_type processed"
    b" processing_ms x".split()
)
_values = st.sampled_from(
    [
        NOW_WORD,
        NOW_WORD + b".5",
        NOW_WORD + b"000",
        b"0",
        b"-0.0",
        b"-1",
        b"1e400",
        b"nan",
        b"inf",
        b"-inf",
        b"1e308",
        b"1_0",
        b"gpu",
        b"GPU ",
        b"cpu",
        b"active",
        b"spot",
        b"phone",
        b"",
        b" ",
        b"\xff",
        b"u1",
        b"U1",
        b"x" * 2000,
        b"\xd9\xa1\xd9\xa2",
        b"9" * 400,
        b"\x00",
        b"a\x00b",
        b"2026-03-17T12:00:00Z",
        b"0x10",
        b"+1",
        b"1e-400",
    ]
)


def _command(name: bytes, *words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(st.just(name), *words).map(b"\t".join)


TARGET = ByteTarget(
    name="redis-values",
    promise="Of the keys of Redis, whatever their types and values, each is shown with a value in its domain or counted"
    " as skipped; heartbeats, lengths, users and devices equal a plain reading.",
    opened=opened,
    inputs=damaged(
        joined(
            b"\n",
            _command(b"HSET", _keys_, _fields, _values, _fields, _values),
            _command(b"HSET", _keys_, st.just(b"last_heartbeat"), _values, _fields, _values),
            _command(b"SET", _keys_, _values),
            _command(b"RPUSH", _keys_, _values, _values),
            _command(b"SADD", _keys_, _values),
            _command(b"ZADD", _keys_, _values, _values),
            most=6,
        ),
        (b"\t", b"\0", b"\xff", b":", b"*", b"\r", b"{now}", b"9" * 20),
    ),
    seeds=(
        b"HSET\tworker:heartbeat:gpu-1\tkind\tgpu\tlast_heartbeat\t{now}\tstate\tidle\tinstance_type\tg5.xlarge\tlifecycle\tspot",
        b"SET\tworker:heartbeat:cpu-1\t{now}.5\nRPUSH\tai_queue:default\ta\tb\nHSET\tai_queue:stats\tprocessed\t3\tprocessing_ms\t9",
        b"HSET\tws_sessions:1\tuser_id\tu1\tsession_id\ts1\tdevice_type\tphone\nHSET\tws_sessions:2\tuser_id\tu1",
        b"RPUSH\tai_tasks\x06\x163\ta\nHSET\tunacked\tx\ty\nZADD\tunacked_index\t1767139200.5\tx\nRPUSH\tdlq_tasks\ta",
    ),
    words=(
        b"HSET\t",
        b"SET\t",
        b"RPUSH\t",
        b"ZADD\t",
        b"worker:heartbeat:",
        b"last_heartbeat\t",
        b"{now}",
        b"ai_queue:",
        b"nan",
    ),
    examples=150,
    size=1_000,
)
