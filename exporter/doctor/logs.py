"""The two logs: there, readable as this user, growing, with lines that are understood, and rotated without a loss."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path

from exporter import vocabulary
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, added
from exporter.doctor.tables import not_provided
from exporter.incident import unix_time
from exporter.log_lines import count
from exporter.sources.jsonl.folders import Folders
from exporter.sources.jsonl.names import Names

TAIL_BYTES = 256 * 1024
SILENT = timedelta(days=1)
LARGE_BYTES = 2**30
"""Size from which a log without rotated files deserves a look."""

AHEAD = 300.0

LOGS = {
    "ai_events_log": (vocabulary.AI_EVENTS, "ai.error"),
    "preview_log": (vocabulary.PREVIEW_EVENTS, "preview.failed"),
}
"""The logs by the name of their source and setting: their events, and that of failures."""


def _each(installation: Installation, examine: Callable[[Installation, str, Path], Iterable[Finding]]) -> list[Finding]:
    """Return the findings for each log that is read."""
    findings: list[Finding] = []
    for name in LOGS:
        if name in not_provided(installation) or not installation.reads(name):
            continue
        findings += examine(installation, name, getattr(installation.settings, name))
    return findings


def _there(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:
        return False


@check("logs.readable")
def readable(installation: Installation) -> Findings:
    """Each log is there, a file, and readable as this user, as is its folder, in which rotated files are looked for."""
    return _each(installation, _readable)


def _readable(installation: Installation, name: str, path: Path) -> Iterator[Finding]:
    user = _user()
    for folder in reversed(path.parents):
        if folder.is_dir() and not os.access(folder, os.X_OK):
            yield wrong(f"{name}: {user} may not enter {folder}", f"setfacl -m u:{user}:rx {shlex.quote(str(folder))}")
            return
    try:
        mode = path.stat().st_mode
    except OSError:
        declare = added("not_provided", sorted(not_provided(installation)), name)
        yield wrong(
            f"{name}: {path} is not there", f"{_setting(name)}=...  # its path; or, without such a log: {declare}"
        )
        return
    if not stat.S_ISREG(mode):
        yield wrong(f"{name}: {path} is no file", f"{_setting(name)}=...  # the path of the file itself")
    elif not os.access(path, os.R_OK):
        yield wrong(f"{name}: {user} may not read {path}", f"setfacl -m u:{user}:r {shlex.quote(str(path))}")
    elif not os.access(path.parent, os.R_OK):
        mend = f"setfacl -m u:{user}:rx {shlex.quote(str(path.parent))}"
        yield wrong(f"{name}: {user} may not list {path.parent}, and rotated files are not found", mend)
    else:
        yield ok(f"{name}: {path}, {path.stat().st_size:,} bytes")


def _setting(name: str) -> str:
    return f"HIVESYNC_{name.upper()}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


@check("logs.growing")
def growing(installation: Installation) -> Findings:
    """Each log was written to recently."""
    return _each(installation, _growing)


def _growing(_: Installation, name: str, path: Path) -> Iterator[Finding]:
    if not _there(path):
        return
    age = time.time() - path.stat().st_mtime
    if age > SILENT.total_seconds():
        mend = f"lsof {shlex.quote(str(path))}  # does HiveSync write to this file, or to another: {_setting(name)}=..."
        yield look(f"{name}: not written to for {age / 86_400:.1f} days", mend)
    elif path.stat().st_size == 0:
        yield look(f"{name}: empty", f"lsof {shlex.quote(str(path))}  # does HiveSync write to this file")
    else:
        yield ok(f"{name}: written to {max(age, 0):.0f} s ago")


@check("logs.lines")
def lines(installation: Installation) -> Findings:
    """The last lines of each log are JSON objects with known events and a time that can be true."""
    return _each(installation, _lines)


def _lines(_: Installation, name: str, path: Path) -> Iterator[Finding]:
    if not _there(path):
        return
    tail = _tail(path)
    if not tail.strip():
        return
    events, failure = LOGS[name]
    counts: Counter[str] = Counter()
    malformed = 0
    for counted in count(tail, failure):
        counts += counted.events
        malformed += counted.malformed
    last = [line for line in tail.split(b"\n") if line.strip()][-1]
    if malformed and not counts:
        mend = 'write one JSON object a line: {"ts": "2026-01-31T12:00:00Z", "event": "' + events[0] + '", ...}'
        yield wrong(f"{name}: none of its last {malformed:,} lines is a JSON object with an event", mend)
        return
    if malformed:
        mend = f"tail -n {min(malformed, 20)} {shlex.quote(str(path))}  # which program writes other lines to it"
        yield look(f"{name}: {malformed:,} of its last {malformed + counts.total():,} lines are malformed", mend)
    strange = {event: number for event, number in counts.items() if event not in events}
    if strange:
        shown = listed(f"{word(event)} {number:,}" for event, number in strange.items())
        verdict = look if len(strange) < len(counts) else wrong
        yield verdict(
            f"{name}: events that are not known, and not counted: {shown}", f"write one of: {', '.join(events)}"
        )
    yield from _time(name, last)
    if not malformed and not strange:
        yield ok(f"{name}: {listed(f'{event} {number:,}' for event, number in counts.items())}")


def _time(name: str, line: bytes) -> Iterator[Finding]:
    mend = 'write "ts" in ISO 8601 with a zone: datetime.now(UTC).isoformat()'
    try:
        ts = json.loads(line).get("ts")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(ts, int | float):
        yield look(f"{name}: ts is a number, and its line counts as late after a restart", mend)
        return
    try:
        ahead = unix_time(ts) - time.time()
    except (ValueError, TypeError, OverflowError):
        yield look(f"{name}: ts is missing or no time, and its line counts as late after a restart", mend)
        return
    if ahead > AHEAD:
        yield look(f"{name}: its last ts is {ahead / 60:.0f} min in the future", mend)


def _tail(path: Path) -> bytes:
    """Return the last whole lines."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        content = file.read(TAIL_BYTES)
    if size > TAIL_BYTES:
        content = content.partition(b"\n")[2]
    return content[: content.rfind(b"\n") + 1]


@check("logs.rotation")
def rotation(installation: Installation) -> Findings:
    """Rotated files are found, and rotated by rename: copytruncate loses lines in the logger."""
    return _each(installation, _rotation)


def _rotation(installation: Installation, name: str, path: Path) -> Iterator[Finding]:
    if not _there(path):
        return
    archives = [Path(directory) for directory in installation.settings.log_archive_dirs]
    try:
        beside = {entry.name for entry in Folders(path, archives).entries()}
    except OSError:
        return  # logs.readable names it
    names = Names((path.name,))
    rotated = sorted(other for other in beside if names.is_rotated(other, beside))
    doubtful = sorted(other for other in beside if other not in rotated and names.may_be_rotated(other, beside))
    found = f"{name}: {len(rotated)} rotated files"
    findings = [*_configured(installation, name, path)]
    if _begins_with_nul(path):
        mend = "open the log for appending: open(path, 'a') in Python, O_APPEND elsewhere"
        findings.append(look(f"{name}: begins with NUL bytes: truncated, and not opened for appending", mend))
    if doubtful:
        mend = "dateformat -%Y%m%d  # in logrotate's block for it: digits and separators alone"
        findings.append(look(f"{name}: perhaps rotated, and not read: {listed(map(word, doubtful), 5)}", mend))
    if not rotated and path.stat().st_size > LARGE_BYTES:
        block = _BLOCK_FOR.format(path=path)
        findings.append(look(f"{name}: {path.stat().st_size / 2**30:.1f} GiB, and never rotated", block))
    yield from findings or [ok(found if rotated else f"{name}: not rotated yet")]


_BLOCK_FOR = """\
{path} {{
    daily
    rotate 14
    create
    postrotate
        systemctl reload hivesync
    endscript
}}"""
"""A block of logrotate's configuration."""


def _begins_with_nul(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\0"


def _configured(installation: Installation, name: str, path: Path) -> Iterator[Finding]:
    """Return the findings in logrotate's configuration for this log."""
    for file, options in _blocks(installation.logrotate, path):
        words = {option.split()[0] for option in options}
        if "copytruncate" in words:
            mend = f"in {file}, in place of copytruncate: create, and in postrotate a signal to HiveSync to reopen it"
            yield look(
                f"{name}: rotated by copytruncate, which loses the lines written between copy and truncation", mend
            )
        for option in options:
            if option.startswith("olddir"):
                directory = option.split(maxsplit=1)[1].strip().strip('"')
                folder = path.parent / directory
                known = [path.parent / each for each in installation.settings.log_archive_dirs]
                if folder not in known:
                    mend = added("log_archive_dirs", installation.settings.log_archive_dirs, directory)
                    yield wrong(
                        f"{name}: logrotate moves rotated files to {directory}, where they are not looked for", mend
                    )


_BLOCK = re.compile(r"^(?P<paths>[^{}]*?)\{(?P<options>.*?)^\s*\}", re.MULTILINE | re.DOTALL)


def _blocks(places: Sequence[Path], path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the file and the options of each block of logrotate's configuration for this log, the file's global options
    before them."""
    for file in _files(places):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
        for block in _BLOCK.finditer(text):
            patterns = shlex.split(block["paths"].strip().rpartition("\n\n")[2].replace("\n", " "), posix=True)
            if any(fnmatch(str(path), pattern) for pattern in patterns if pattern.startswith("/")):
                yield file, [line.strip() for line in block["options"].splitlines() if line.strip()]


def _files(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        try:
            yield from sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
        except OSError:
            continue


CHECKS = (readable, growing, lines, rotation)
