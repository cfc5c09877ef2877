"""The keys of HiveSync in Redis: those that each pattern matches, lists in no setting, and keys of the wrong type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, added
from exporter.doctor.scanning import Pass, scan, shown
from exporter.doctor.tables import not_provided
from exporter.queue_keys import CELERY, may_be_queues
from exporter.sources.redis import Redis, WrongType, is_wildcard
from exporter.vocabulary import QUEUES

SHOWN = 5


def _fits(queue: str, name: str) -> bool:
    """Return whether a list is one of that queue by its name."""
    return queue in re.split(r"[^a-z]+", name.lower())


def _setting(queue: str) -> str:
    return f"{queue}_queue_keys"


def _patterns(installation: Installation, queue: str) -> tuple[str, ...]:
    patterns: tuple[str, ...] = getattr(installation.settings, _setting(queue))
    return patterns


async def _matching(installation: Installation, pattern: str) -> Pass:
    """Return the keys of a pattern that may be queues; of a name without a wildcard the key itself; of a Celery queue
    those of its priority steps."""
    celery = installation.settings.celery_keys()
    if pattern.startswith(CELERY):
        return Pass([*celery.lists(pattern.removeprefix(CELERY))], True)
    found = await scan(installation.sources.redis, pattern) if is_wildcard(pattern) else Pass([pattern.encode()], True)
    return Pass(may_be_queues(found.keys, celery), found.whole)


async def _lists(redis: Redis, keys: Sequence[bytes]) -> tuple[dict[bytes, int], list[bytes]]:
    """Return the lists with their lengths, and the keys that are no list."""
    lengths = await redis.lengths(keys)
    found = {key: n for key, n in zip(keys, lengths, strict=True) if not isinstance(n, WrongType)}
    return found, [key for key in keys if key not in found]


def _by_name(installation: Installation, lists: Mapping[bytes, int]) -> Counter[str]:
    """Return the lengths by name: the lists of Celery's priority steps count under the name before the step."""
    mark = installation.settings.celery_keys().mark
    names: Counter[str] = Counter()
    for key, length in lists.items():
        names[shown(key).partition(mark)[0]] += length
    return names


@check("keys.queues", seconds=5)
async def queues(installation: Installation) -> Findings:
    """Each queue setting matches lists, or names its queues, so that an empty one is 0 and not absent."""
    findings: list[Finding] = []
    redis = installation.sources.redis
    others = await _unmatched(installation)
    for queue in QUEUES:
        patterns = _patterns(installation, queue)
        declared = [pattern for pattern in patterns if not is_wildcard(pattern)]
        matched: dict[bytes, int] = {}
        for pattern in patterns:
            found = await _matching(installation, pattern)
            lists, no_lists = await _lists(redis, found.keys)
            matched |= lists
            if no_lists:
                names = listed((word(shown(key)) for key in no_lists), SHOWN)
                mend = f"HIVESYNC_{_setting(queue).upper()}: name the lists alone, in place of {word(pattern)}"
                findings.append(wrong(f"{queue}: {names}: no list, and left out", mend))
        fitting = [name for name in others if _fits(queue, name)]
        if not declared and not any(matched.values()) and not matched:
            mend = (
                added(
                    _setting(queue),
                    (),
                    *(f"{CELERY}{name}" if others[name].steps else name for name in fitting),
                    *patterns,
                )
                if fitting
                else added(_setting(queue), patterns, patterns[0].partition("*")[0] + "default")
            )
            found_lists = f", while {listed(map(word, fitting))} exists" if fitting else ""
            verdict = wrong if fitting else look
            text = f"{queue}: no key matches {listed(map(word, patterns))}{found_lists}: its depth is not known"
            findings.append(verdict(text, mend))
        else:
            names = listed(f"{word(name)} {length:,}" for name, length in _by_name(installation, matched).items())
            findings.append(ok(f"{queue}: {listed(map(word, patterns))} -> {names or 'no list now'}"))
    return findings


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs in a list that is in no setting; whether they are, in part, in Celery's priority steps of it."""

    jobs: int
    steps: bool


async def _unmatched(installation: Installation) -> dict[str, Waiting]:
    """Return the lists that are in no setting by name; those of Celery's priority steps under the name before them."""
    redis = installation.sources.redis
    every = await scan(redis, "*", "list")
    known = {
        key
        for queue in QUEUES
        for pattern in (*_patterns(installation, queue), *installation.settings.dead_letter_keys)
        for key in (await _matching(installation, pattern)).keys
    }
    lists, _ = await _lists(redis, [key for key in every.keys if key not in known])
    found: dict[str, Waiting] = {}
    for key, length in lists.items():
        name, step, _ = shown(key).partition(installation.settings.celery_keys().mark)
        before = found.get(name, Waiting(0, False))
        found[name] = Waiting(before.jobs + length, before.steps or bool(step))
    return found


async def _has_lists(installation: Installation, queue: str) -> bool:
    """Return whether the setting of a queue names or matches any list."""
    patterns = _patterns(installation, queue)
    if not all(map(is_wildcard, patterns)):
        return True
    keys = [key for pattern in patterns for key in (await _matching(installation, pattern)).keys]
    return bool((await _lists(installation.sources.redis, keys))[0])


@check("keys.others", seconds=4)
async def others(installation: Installation) -> Findings:
    """No list of AI or preview jobs is in no setting."""
    findings: list[Finding] = []
    lists = await _unmatched(installation)
    counted = {queue: await _has_lists(installation, queue) for queue in QUEUES}
    for name, waiting in lists.items():
        queue = next((queue for queue in QUEUES if _fits(queue, name)), None)
        if queue is not None and counted[queue]:  # otherwise, keys.queues names it
            patterns = [pattern for pattern in _patterns(installation, queue) if not waiting.steps or pattern != name]
            written = name if word(name) == name else "..."
            mend = added(_setting(queue), patterns, f"{CELERY}{written}" if waiting.steps else written)
            found = f"`{word(name)}`: {waiting.jobs:,} jobs, in no setting"
            findings.append(look(f"{found}{', in priority steps of Celery' if waiting.steps else ''}", mend))
    rest = {name: waiting for name, waiting in lists.items() if not any(_fits(queue, name) for queue in QUEUES)}
    names = listed(f"{word(name)} {waiting.jobs:,}" for name, waiting in rest.items())
    if rest and not all(counted.values()):
        missing = next(queue for queue in QUEUES if not counted[queue])
        mend = added(
            _setting(missing), _patterns(installation, missing), *filter(lambda name: word(name) == name, rest)
        )
        findings.append(look(f"lists in no setting, while no list of the {missing} queue is known: {names}", mend))
    elif rest:
        findings.append(ok(f"of another purpose, by their names: {names}"))
    return findings or [ok("every list is in a setting")]


@check("keys.unacked", seconds=2)
async def unacked(installation: Installation) -> Findings:
    """Celery's unacknowledged messages: their list's length leaves them out."""
    keys = installation.settings.celery_keys()
    name = word(shown(keys.key(keys.unacked)))
    found = await scan(installation.sources.redis, keys.key(keys.unacked).decode(), "hash")
    if not found.keys:
        return [ok(f"no hash `{name}`: no messages of Celery are fetched and unfinished")]
    if installation.settings.has_celery:
        return [ok(f"`{name}` is there, and counted")]
    return [
        look(
            f"`{name}` is there: Celery's workers have fetched messages that the length of a list leaves out",
            "count waiting jobs from PostgreSQL (hivesync_jobs), or write the queue as celery:NAME in AI_QUEUE_KEYS",
        )
    ]


@check("keys.sessions", seconds=3)
async def sessions(installation: Installation) -> Findings:
    """Open WebSockets: hashes with a user or a session, whose last sign of life is recent."""
    if "ws_sessions" in not_provided(installation):
        return [ok("not provided")]
    redis, patterns = installation.sources.redis, installation.settings.ws_session_keys
    found = [await scan(redis, pattern) for pattern in patterns]
    keys = [key for each in found for key in each.keys][:1_000]
    if not keys:
        return [ok(f"{listed(map(word, patterns))}: none open now")]
    now = await redis.time()
    rows = await redis.hashes(keys, ("user_id", "session_id", "connected_at", "last_seen_at"))
    no_hash = sum(isinstance(row, WrongType) for row in rows)
    fields = [row for row in rows if not isinstance(row, WrongType)]
    seen = [time for row in fields if (time := _unix(row[3]) or _unix(row[2])) is not None]
    findings: list[Finding] = []
    pattern = word(patterns[0])
    if no_hash:
        mend = "HIVESYNC_WS_SESSION_KEYS: a pattern of hashes; or HIVESYNC_NOT_PROVIDED=ws_sessions"
        findings.append(wrong(f"{no_hash:,} keys of {pattern} are no hash, and left out", mend))
    if fields and not any(row[0] or row[1] for row in fields):
        mend = "let HiveSync write user_id and session_id, or another pattern in HIVESYNC_WS_SESSION_KEYS"
        findings.append(wrong(f"no hash of {pattern} has a user_id or a session_id", mend))
    if milliseconds := [time for time in seen if time > now * 100]:
        mend = "write last_seen_at and connected_at in seconds: time.time(), not milliseconds"
        findings.append(wrong(f"last_seen_at of {len(milliseconds):,} sessions is in milliseconds", mend))
    elif old := [time for time in seen if now - time > 86_400]:
        mend = f"let HiveSync write each with an expiry: EXPIRE {pattern.replace('*', 'CONNECTION')} 120"
        findings.append(look(f"{len(old):,} sessions were last seen over a day ago, and count as online", mend))
    ages = f", last seen {min(now - t for t in seen):.0f} to {max(now - t for t in seen):.0f} s ago" if seen else ""
    number = f"{sum(len(each.keys) for each in found):,}" + ("" if all(each.whole for each in found) else " or more")
    return findings or [ok(f"{listed(map(word, patterns))}: {number} open{ages}")]


def _unix(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None


CHECKS = (queues, others, unacked, sessions)
