"""Heartbeats of workers, read as the collector reads them: their shape, the unit of their time, and their age."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set

from exporter.doctor.configuration import PRICES, counts_tokens
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, added, setting
from exporter.doctor.remedies import EXPLAINED
from exporter.doctor.scanning import scan, shown
from exporter.doctor.tables import not_provided
from exporter.errors import CollectionFailed
from exporter.heartbeats import (
    LONGEST_LEAD,
    PostgresHeartbeats,
    RedisHeartbeats,
    StoredHeartbeat,
    build_heartbeats,
    timestamp,
)
from exporter.inputs import WORKERS
from exporter.labels import UNKNOWN, folded
from exporter.sources.redis import WrongType
from exporter.vocabulary import GPU
from exporter.worker_keys import Kinds

MOST = 1_000
"""Heartbeats that are looked at."""

NAMED = 5


@check("heartbeats.workers", seconds=4)
async def workers(installation: Installation) -> Findings:
    """Each worker's heartbeat is a hash or a string with a time in seconds, neither in the future nor forgotten, and of
    a known kind; instances of GPU workers have prices."""
    reader, redis = build_heartbeats(installation.settings), installation.sources.redis
    if WORKERS in not_provided(installation):
        return [ok("not provided")]
    if not isinstance(reader, RedisHeartbeats):
        return []
    found = {key for pattern in reader.scanned for key in (await scan(redis, pattern)).keys}
    beats = await reader.read_keys(redis, sorted(found), MOST)
    if not beats:
        present, patterns = sorted(not_provided(installation)), installation.settings.worker_keys
        mend = f"HIVESYNC_WORKER_KEYS=...  # their pattern; or {added('not_provided', present, WORKERS)}"
        return [look(f"no key matches {listed(map(word, patterns))}: no worker is known", mend)]
    now = await redis.time()
    return _judged(installation, reader, beats, now)


@check("heartbeats.table", seconds=4)
async def table(installation: Installation) -> Findings:
    """With WORKERS_FROM=postgres: the rows of the table `workers` have a time that can be true, and one is recent."""
    settings, reader = installation.settings, build_heartbeats(installation.settings)
    if WORKERS in not_provided(installation) or not isinstance(reader, PostgresHeartbeats):
        return []
    try:
        heartbeats = await reader.read(installation.sources, settings.worker_forgotten_seconds)
    except CollectionFailed as error:
        if error.kind in EXPLAINED:
            return []
        raise
    left_out = {reason: count for reason, count in heartbeats.left_out.items() if count}
    if left_out:
        reasons = listed(f"{reason} {count}" for reason, count in left_out.items())
        return [wrong(f"rows of workers left out: {reasons}", "let each worker write last_heartbeat_at = now()")]
    if not heartbeats.workers:
        return [look("the table workers has no recent heartbeat: no worker is known", "HIVESYNC_WORKERS_FROM=redis")]
    instances = {worker.instance_type for worker in heartbeats.workers if worker.kind == GPU}
    number = len(heartbeats.workers) + heartbeats.beyond
    return _unpriced(installation, instances) or [ok(f"{number} workers in the table workers")]


def _judged(
    installation: Installation, reader: RedisHeartbeats, beats: Sequence[StoredHeartbeat], now: float
) -> list[Finding]:
    settings = installation.settings
    findings: list[Finding] = []
    other = [each.key for each in beats if isinstance(each.value, WrongType)]
    strings = {each.key for each in beats if isinstance(each.value, str)}
    times = {each.key: _seconds(each.time) for each in beats if isinstance(each.value, str | tuple)}
    known = Kinds(settings.worker_kinds, settings.worker_default_kind)
    bad = [key for key, time in times.items() if time is None]
    milliseconds = [key for key, time in times.items() if time is not None and time > now * 100]
    ahead = [
        key for key, time in times.items() if time is not None and time > now + LONGEST_LEAD and key not in milliseconds
    ]
    forgotten = [
        key for key, time in times.items() if time is not None and now - time > settings.worker_forgotten_seconds
    ]
    strange = [each for each in beats if folded(each.words[0]) and folded(each.words[0]) not in known.known]
    kinds = Counter(each.words[0] for each in strange)

    def renewed(keys: list[bytes]) -> str:
        name = _first(keys)
        return f"SET {name} {now:.0f}" if keys[0] in strings else f"HSET {name} last_heartbeat {now:.0f}"

    if other:
        mend = f"DEL {_first(other)}\nHSET {_first(other)} kind cpu last_heartbeat {now:.0f}  (as its worker should)"
        findings.append(wrong(f"{_named(other)}: neither a hash nor a string, and left out", mend))
    if bad:
        mend = f"{renewed(bad)}  (as its worker should, with time.time())"
        findings.append(wrong(f"{_named(bad)}: the time is missing, or is none", mend))
    if milliseconds:
        mend = f"{renewed(milliseconds)}  (as its worker should: seconds, Date.now() / 1000)"
        findings.append(wrong(f"{_named(milliseconds)}: last_heartbeat is in milliseconds, and left out", mend))
    if ahead:
        mend = "timedatectl set-ntp true, on the workers' machines"
        findings.append(wrong(f"{_named(ahead)}: last_heartbeat is in the future, and left out", mend))
    if kinds:
        named = f"HIVESYNC_WORKER_KINDS names {', '.join(known.known)}"
        first = strange[0]
        beside = reader.sibling(first.worker) if first.key in strings else None
        write = f"HSET {_first([first.key])} kind cpu" if beside is None else f"SET {_first([beside])} cpu"
        mend = f"{write}  (as its worker should; {named})"
        names = listed(f"{word(kind or '(none)')} {count}" for kind, count in kinds.items())
        findings.append(look(f"kinds that are not known, shown as unknown: {names}", mend))
    if forgotten:
        mend = f"DEL {' '.join(_first([key]) for key in forgotten[:NAMED])}"
        silent = f"silent for over {settings.worker_forgotten_seconds:g} s, and forgotten"
        findings.append(look(f"{_named(forgotten)}: {silent}", mend))
    gpu = [each for each in beats if folded(each.words[0]) == GPU]
    findings += _unpriced(installation, {each.words[2] or UNKNOWN for each in gpu})
    if findings:
        return findings
    ages = [now - time for time in times.values() if time is not None]
    healthy = sum(age <= settings.worker_healthy_seconds for age in ages)
    return [ok(f"{len(times)} workers, {healthy} of them healthy, youngest heartbeat {max(0, min(ages)):.0f} s old")]


def _unpriced(installation: Installation, instances: Set[str]) -> list[Finding]:
    """Return a finding for instances without a price file. Where tokens have none either, `settings.prices` says so."""
    if not instances or installation.settings.prices_file or counts_tokens(installation):
        return []
    names = listed(map(word, sorted(instances)), NAMED)
    mend = f'{setting("prices_file", PRICES)}  # [instances."{word(min(instances))}"] spot = 0.45 ...'
    return [look(f"no price file: no cost of GPU workers ({names})", mend)]


def _named(keys: list[bytes]) -> str:
    return listed((word(shown(key)) for key in keys), NAMED)


def _first(keys: list[bytes]) -> str:
    return word(shown(keys[0]))


def _seconds(value: str | None) -> float | None:
    time = timestamp(value)
    return time if time is not None and math.isfinite(time) and time >= 0 else None


CHECKS = (workers,)
OF_POSTGRES = (table,)
"""The checks of heartbeats in PostgreSQL."""
