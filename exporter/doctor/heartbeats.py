"""Heartbeats of workers in Redis: their shape, the unit of their time, and their age."""

from __future__ import annotations

import math
from collections import Counter

from exporter.collectors.workers import LONGEST_LEAD
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, added
from exporter.doctor.scanning import scan, shown
from exporter.doctor.tables import not_provided
from exporter.labels import folded
from exporter.sources.redis import Fields, WrongType
from exporter.vocabulary import WORKER_KINDS

FIELDS = ("kind", "last_heartbeat", "state", "instance_type", "lifecycle")
NAMED = 5


@check("heartbeats.workers", seconds=4)
async def workers(installation: Installation) -> Findings:
    """Each worker's heartbeat is a hash with a known kind and a time in seconds, not in the future, not forgotten."""
    if "workers" in not_provided(installation):
        return [ok("not provided")]
    redis, patterns = installation.sources.redis, installation.settings.worker_keys
    keys = sorted({key for pattern in patterns for key in (await scan(redis, pattern)).keys})[:1_000]
    if not keys:
        present = sorted(not_provided(installation))
        mend = f"HIVESYNC_WORKER_KEYS=...  # their pattern; or {added('not_provided', present, 'workers')}"
        return [look(f"no key matches {listed(map(word, patterns))}: no worker is known", mend)]
    rows = dict(zip(keys, await redis.hashes(keys, FIELDS), strict=True))
    now = await redis.time()
    return _judged(installation, rows, now)


def _judged(installation: Installation, rows: dict[bytes, Fields | WrongType], now: float) -> list[Finding]:
    settings = installation.settings
    findings: list[Finding] = []
    other = [key for key, row in rows.items() if isinstance(row, WrongType)]
    hashes = {key: row for key, row in rows.items() if not isinstance(row, WrongType) and any(row)}
    times = {key: _seconds(row[1]) for key, row in hashes.items()}
    bad = [key for key, time in times.items() if time is None]
    milliseconds = [key for key, time in times.items() if time is not None and time > now * 100]
    ahead = [
        key for key, time in times.items() if time is not None and time > now + LONGEST_LEAD and key not in milliseconds
    ]
    forgotten = [
        key for key, time in times.items() if time is not None and now - time > settings.worker_forgotten_seconds
    ]
    kinds = Counter(row[0] for row in hashes.values() if folded(row[0]) not in WORKER_KINDS)
    if other:
        mend = f"DEL {_first(other)}\nHSET {_first(other)} kind cpu last_heartbeat {now:.0f}  (as its worker should)"
        findings.append(wrong(f"{_named(other)}: no hash, and left out", mend))
    if bad:
        mend = f"HSET {_first(bad)} last_heartbeat {now:.0f}  (as its worker should, with time.time())"
        findings.append(wrong(f"{_named(bad)}: last_heartbeat is missing or no number", mend))
    if milliseconds:
        mend = (
            f"HSET {_first(milliseconds)} last_heartbeat {now:.0f}  (as its worker should: seconds, Date.now() / 1000)"
        )
        findings.append(wrong(f"{_named(milliseconds)}: last_heartbeat is in milliseconds, and left out", mend))
    if ahead:
        mend = "timedatectl set-ntp true, on the workers' machines"
        findings.append(wrong(f"{_named(ahead)}: last_heartbeat is in the future, and left out", mend))
    if kinds:
        strange = [key for key, row in hashes.items() if row[0] in kinds]
        mend = f"HSET {_first(strange)} kind cpu  (as its worker should; known are {', '.join(WORKER_KINDS)})"
        names = listed(f"{word(kind or '(none)')} {count}" for kind, count in kinds.items())
        findings.append(look(f"kinds that are not known, shown as unknown: {names}", mend))
    if forgotten:
        mend = f"DEL {' '.join(_first([key]) for key in forgotten[:NAMED])}"
        silent = f"silent for over {settings.worker_forgotten_seconds:g} s, and forgotten"
        findings.append(look(f"{_named(forgotten)}: {silent}", mend))
    if findings:
        return findings
    ages = [now - time for time in times.values() if time is not None]
    healthy = sum(age <= settings.worker_healthy_seconds for age in ages)
    return [ok(f"{len(hashes)} workers, {healthy} of them healthy, youngest heartbeat {max(0, min(ages)):.0f} s old")]


def _named(keys: list[bytes]) -> str:
    return listed((word(shown(key)) for key in keys), NAMED)


def _first(keys: list[bytes]) -> str:
    return word(shown(keys[0]))


def _seconds(value: str | None) -> float | None:
    try:
        time = float(value or "")
    except ValueError:
        return None
    return time if math.isfinite(time) and time >= 0 else None


CHECKS = (workers,)
