"""State files: a file gives exactly its content, or is set aside by name and its subject starts from nothing.

An input's first line is the name of a file in the state directory, the rest its content. After the file is loaded, its
subject works on: a log is read on from the position, a heartbeat is counted, a session is looked up.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson
from hypothesis import strategies as st
from structlog.testing import capture_logs

from admin.access.sessions import SESSIONS_FILE, Sessions
from exporter.collector import Sources
from exporter.collectors import logs, workers
from exporter.errors import SourceUnavailable
from exporter.gpu_usage import Beat
from exporter.sources.jsonl import JsonlLog
from exporter.state import StateFile
from fuzz.inputs import nested
from fuzz.samples import check_samples
from fuzz.target import ByteTarget, Check

INSTANCE = ("g5.xlarge", "spot")
NOW = 1_773_748_800.0
KEY = b"k" * 32
LINES = b'{"ts":"2026-03-17T12:00:00Z","event":"ai.requested"}\n' * 9


@contextmanager
def opened(directory: Path) -> Iterator[Check]:
    """The check, with a directory and a log."""
    log_path = directory / "ai-events.log"
    log_path.write_bytes(LINES)
    subjects: Mapping[str, Callable[[Path], Any]] = {
        "ai-events": lambda folder: _check_log(folder, log_path, loop),
        "gpu": _check_gpu,
        SESSIONS_FILE: _check_sessions,
    }

    def check(content: bytes) -> None:
        name, _, rest = content.partition(b"\n")
        subject = name.decode("latin-1")
        if subject not in subjects:
            return
        folder = directory / "state"
        folder.mkdir()
        try:
            (folder / subject).write_bytes(rest)
            with capture_logs() as events:
                kept = subjects[subject](folder)
            aside = (folder / f"{subject}.corrupt").exists()
            named = [each for each in events if each["event"] in ("state.corrupt", "admin.sessions.corrupt")]
            if kept is None:
                assert aside or named or subject == SESSIONS_FILE, "refused without a word"
            else:
                assert not aside
                assert not named
                _check_exact(kept, orjson.loads(rest))
        finally:
            shutil.rmtree(folder)

    loop = asyncio.new_event_loop()
    try:
        yield check
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _check_exact(kept: Mapping[str, Any], stored: Any) -> None:
    """The loaded state is in the file, unless the file is of an older version that did not have it."""
    assert isinstance(stored, dict)
    for name, value in kept.items():
        if name in stored:
            _check_same(value, stored[name], name)


def _check_same(value: Any, stored: Any, where: str) -> None:
    if isinstance(value, Mapping):
        assert isinstance(stored, dict), where
        for name, inner in value.items():
            if name in stored:
                _check_same(inner, stored[name], f"{where}.{name}")
    elif isinstance(value, list | tuple):
        assert len(value) == len(stored), where
        for number, (inner, other) in enumerate(zip(value, stored, strict=True)):
            _check_same(inner, other, f"{where}[{number}]")
    else:
        assert value == stored, where
        assert isinstance(value, bool) == isinstance(stored, bool), where
        assert isinstance(value, str) == isinstance(stored, str), where


def _check_log(folder: Path, path: Path, loop: asyncio.AbstractEventLoop) -> Mapping[str, Any] | None:
    collector = logs.ai_log(StateFile(folder, "ai-events"))
    loaded = collector._tally.to_state() if (folder / "ai-events").exists() else None
    before = {(sample.spec.name, sample.labels): sample.value for sample in collector.counters()}
    source = JsonlLog("ai_events_log", path, [])
    try:
        loop.run_until_complete(_refresh(collector, source))
    finally:
        source.close()
    after = {(sample.spec.name, sample.labels): sample.value for sample in collector.counters()}
    check_samples(collector.counters(), collector.specs)
    assert all(after[name] >= value for name, value in before.items()), "a counter fell"  # type: ignore[operator]
    return loaded


async def _refresh(collector: logs.LogCollector, source: JsonlLog) -> None:
    try:
        check_samples(await collector.refresh(cast("Sources", _Sources(source))), collector.specs)
    except SourceUnavailable as error:
        assert error.kind.isidentifier()


class _Sources:
    def __init__(self, log: JsonlLog) -> None:
        self.ai_events_log = log


def _check_gpu(folder: Path) -> Mapping[str, Any] | None:
    collector = workers.Workers(
        cast("workers.HeartbeatSource", _Nowhere()),
        StateFile(folder, "gpu"),
        None,
        healthy_seconds=120,
        forgotten_seconds=86_400,
    )
    usage = collector._usage
    loaded = usage.to_state() if (folder / "gpu").exists() else None
    check_samples(collector.counters(), collector.specs)
    beats = [Beat(worker, NOW, *INSTANCE) for worker in ("gpu-1", *usage.last_beats)]
    later = usage.after(beats, NOW, 120, 86_400)
    assert all(later.total[instance] >= seconds for instance, seconds in usage.total.items())
    assert all(math.isfinite(seconds) for seconds in (*later.total.values(), *later.in_month.values()))
    orjson.dumps(later.to_state())
    again = later.after(
        [Beat(beat.worker, NOW + 30, beat.instance_type, beat.lifecycle) for beat in beats], NOW + 30, 120, 86_400
    )
    assert again.total[INSTANCE] >= later.total[INSTANCE] + 30 * len({beat.worker for beat in beats}) - 1, "not counted"
    return loaded


class _Nowhere:
    source = "redis"


def _check_sessions(folder: Path) -> Mapping[str, Any] | None:
    file = StateFile(folder, SESSIONS_FILE)
    sessions = Sessions(KEY, 3_600, lambda: NOW, file)
    found = sessions.all()
    for session in found:
        assert session.opened_at - 60 <= NOW < session.ends_at <= session.opened_at + 3_600
        assert session.via in ("token", "api_key", "code", "session")
    value = sessions.open()
    assert sessions.check(value)
    sessions.save()
    assert Sessions(KEY, 3_600, lambda: NOW, file).check(value), "a new session is lost at a restart"
    return None


def _states() -> dict[str, Any]:
    """A valid content of each file."""
    mark = {"length": 0, "digest": "x"}
    track = {"device": 1, "inode": 2, "offset": 0, "head": mark, "anchor": mark, "skipping": False, "state": "open"}
    position = {"tracks": [{**track, "start": 0, "name": "", "modified": 0, "seen": 0}]}
    counts = {"ai.requested": 1, "ai.completed": 2, "ai.error": 3}
    results = {"ok": 6, "malformed": 1, "unknown_event": 2}
    session = {"id": "0" * 32, "opened_at": NOW - 9, "ends_at": NOW + 9, "via": "token", "address": "127.0.0.1"}
    signed_by = Sessions(KEY, 3_600, lambda: NOW)._signed_by()
    return {
        "ai-events": {
            "position": position,
            "events": counts,
            "kinds": {"timeout": 1},
            "results": results,
            "late": 0,
            "is_shown": True,
        },
        "gpu": {
            "total": [["g5.xlarge", "spot", 12.5]],
            "month": "2026-03",
            "in_month": [["g5.xlarge", "spot", 2.5]],
            "last_beats": {"gpu-1": NOW - 30},
        },
        SESSIONS_FILE: {"signed_by": signed_by, "open": [session]},
    }


_odd: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        2**63,
        2**64 - 1,
        1e308,
        -1e308,
        0.5,
        "",
        "nan",
        "inf",
        "-inf",
        "1",
        "x" * 300,
        "a/b",
        "\0",
        [],
        {},
        [[]],
    ]
)


@st.composite
def _changed(draw: st.DrawFn) -> bytes:
    """A valid file with one value, at any depth, replaced or left out; or cut off."""
    name = draw(st.sampled_from(sorted(_states())))
    state: Any = orjson.loads(orjson.dumps(_states()[name]))
    place: Any = state
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and draw(st.integers(0, 4)):
            place = place[key]
            continue
        if draw(st.integers(0, 5)):
            place[key] = draw(_odd)
        else:
            del place[key]
        break
    content = orjson.dumps(state)
    if draw(st.integers(0, 9)) == 0:
        content = content[: draw(st.integers(0, len(content)))]
    return name.encode() + b"\n" + content


TARGET = ByteTarget(
    name="state-files",
    promise="A file of the state directory gives exactly its content, or is set aside with an event and its subject"
    " starts from nothing; counters stay finite and never fall.",
    opened=opened,
    inputs=st.one_of(
        _changed(),
        _changed(),
        st.builds(
            lambda name, content: name.encode() + b"\n" + content,
            st.sampled_from(sorted(_states())),
            st.one_of(st.binary(max_size=20), nested(b"[", b"]"), nested(b'{"a":', b"}")),
        ),
    ),
    seeds=tuple(name.encode() + b"\n" + orjson.dumps(state) for name, state in _states().items()),
    words=(
        b"null",
        b"true",
        b"-1",
        b"18446744073709551615",
        b"1e999",
        b'"nan"',
        b"[]",
        b"{}",
        b'"position":',
        b'"offset":',
    ),
    examples=250,
)
