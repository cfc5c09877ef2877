"""Heartbeats of workers in Redis: their shape, the unit of their time, and their age."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set

from exporter.doctor.configuration import PRICES, counts_tokens
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, added, setting
from exporter.doctor.scanning import scan, shown
from exporter.doctor.tables import not_provided
from exporter.heartbeats import LONGEST_LEAD, PostgresHeartbeats, read_rows, timestamp
from exporter.labels import UNKNOWN, folded
from exporter.sources.redis import Fields, WrongType
from exporter.vocabulary import GPU
from exporter.worker_keys import Kinds, WorkerKey

FIELDS = ("kind", "last_heartbeat", "state", "instance_type", "lifecycle")
NAMED = 5


@check("heartbeats.workers", seconds=4)
async def workers(installation: Installation) -> Findings:
    """Each worker's heartbeat is a hash or a string with a time in seconds, neither in the future nor forgotten, and of
    a known kind; instances of GPU workers have prices."""
    settings = installation.settings
    if "workers" in not_provided(installation):
        return [ok("not provided")]
    if settings.workers_from == "postgres":
        return await _in_the_table(installation)
    redis, patterns = installation.sources.redis, settings.worker_keys
    of_siblings = [WorkerKey(pattern) for pattern in settings.worker_kind_keys]
    found = {key for pattern in patterns for key in (await scan(redis, WorkerKey(pattern).scanned)).keys}
    keys = sorted(key for key in found if not any(sibling.worker(shown(key)) for sibling in of_siblings))[:1_000]
    if not keys:
        present = sorted(not_provided(installation))
        mend = f"HIVESYNC_WORKER_KEYS=...  # their pattern; or {added('not_provided', present, 'workers')}"
        return [look(f"no key matches {listed(map(word, patterns))}: no worker is known", mend)]
    rows = dict(zip(keys, await read_rows(redis, keys, FIELDS), strict=True))
    now = await redis.time()
    return _judged(installation, rows, now)


async def _in_the_table(installation: Installation) -> list[Finding]:
    settings = installation.settings
    kinds = Kinds(settings.worker_kinds, settings.worker_default_kind)
    heartbeats = await PostgresHeartbeats(kinds).read(installation.sources, settings.worker_forgotten_seconds)
    left_out = {reason: count for reason, count in heartbeats.left_out.items() if count}
    if left_out:
        reasons = listed(f"{reason} {count}" for reason, count in left_out.items())
        return [wrong(f"rows of workers left out: {reasons}", "let each worker write last_heartbeat_at = now()")]
    if not heartbeats.workers:
        return [look("the table workers has no recent heartbeat: no worker is known", "HIVESYNC_WORKERS_FROM=redis")]
    instances = {worker.instance_type for worker in heartbeats.workers if worker.kind == GPU}
    return _unpriced(installation, instances) or [ok(f"{len(heartbeats.workers)} workers in the table workers")]


def _judged(
    installation: Installation, rows: dict[bytes, Fields | str | WrongType | None], now: float
) -> list[Finding]:
    settings = installation.settings
    findings: list[Finding] = []
    other = [key for key, row in rows.items() if isinstance(row, WrongType)]
    strings = {key for key, row in rows.items() if isinstance(row, str)}
    hashes = {key: row for key, row in rows.items() if isinstance(row, tuple)}
    times = {key: _seconds(row) for key, row in rows.items() if isinstance(row, str)}
    times |= {key: _seconds(row[1]) for key, row in hashes.items()}
    known = Kinds(settings.worker_kinds, settings.worker_default_kind)
    bad = [key for key, time in times.items() if time is None]
    milliseconds = [key for key, time in times.items() if time is not None and time > now * 100]
    ahead = [
        key for key, time in times.items() if time is not None and time > now + LONGEST_LEAD and key not in milliseconds
    ]
    forgotten = [
        key for key, time in times.items() if time is not None and now - time > settings.worker_forgotten_seconds
    ]
    kinds = Counter(row[0] for row in hashes.values() if folded(row[0]) and folded(row[0]) not in known.known)

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
        strange = [key for key, row in hashes.items() if row[0] in kinds]
        named = f"HIVESYNC_WORKER_KINDS names {', '.join(known.known)}"
        mend = f"HSET {_first(strange)} kind cpu  (as its worker should; {named})"
        names = listed(f"{word(kind or '(none)')} {count}" for kind, count in kinds.items())
        findings.append(look(f"kinds that are not known, shown as unknown: {names}", mend))
    if forgotten:
        mend = f"DEL {' '.join(_first([key]) for key in forgotten[:NAMED])}"
        silent = f"silent for over {settings.worker_forgotten_seconds:g} s, and forgotten"
        findings.append(look(f"{_named(forgotten)}: {silent}", mend))
    findings += _unpriced(installation, {row[3] or UNKNOWN for row in hashes.values() if folded(row[0]) == GPU})
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
