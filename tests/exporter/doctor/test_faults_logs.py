"""Faults of logs, of the state directory and of settings: the doctor names each, with its mend."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from exporter.doctor.findings import Finding
from exporter.doctor.installation import Installation
from exporter.doctor.logs import _readable
from exporter.settings import Settings
from exporter.state import StateDirectory
from tests.accounts import IS_ROOT, NOBODY
from tests.exporter.doctor.faults import LOOK, WRONG, Fault, check, env, parametrised
from tests.exporter.doctor.house import House, event

DAY = 86_400


def lines(*written: object, mode: str = "a") -> Callable[[House], object]:
    """Harm by lines in the AI events log; texts as they are."""
    return lambda house: house.write_log(*written, mode=mode)


def rotated_by(options: str) -> Callable[[House], object]:
    """Harm by logrotate's configuration."""

    def harm(house: House) -> None:
        house.logrotate = house.directory / "logrotate.conf"
        house.logrotate.write_text(f"weekly\n\n# HiveSync\n{house.ai_log.parent}/*.log {{\n    {options}\n}}\n")

    return harm


def silent(house: House) -> None:
    os.utime(house.ai_log, (time.time() - 3 * DAY,) * 2)


def nul(house: House) -> None:
    house.ai_log.write_bytes(b"\0" * 100 + house.ai_log.read_bytes())


def beside(name: str) -> Callable[[House], object]:
    return lambda house: house.ai_log.with_name(name).write_text("{}\n")


def in_the_way(house: House) -> None:
    Path(house.env["HIVESYNC_STATE_DIR"]).rmdir()
    Path(house.env["HIVESYNC_STATE_DIR"]).touch()


def corrupt(house: House) -> None:
    (Path(house.env["HIVESYNC_STATE_DIR"]) / "gpu.corrupt").touch()


LOGS = [
    Fault(
        "no log",
        lambda house: house.ai_log.unlink(),
        "logs.readable",
        WRONG,
        "HIVESYNC_NOT_PROVIDED=ai_events_log",
        False,
    ),
    Fault(
        "a folder in place of a log",
        lambda house: house.env.update(HIVESYNC_PREVIEW_LOG=str(house.ai_log.parent)),
        "logs.readable",
        WRONG,
        "HIVESYNC_PREVIEW_LOG=...",
        False,
    ),
    Fault("a silent log", silent, "logs.growing", LOOK, "does HiveSync write to this file", False),
    Fault(
        "a log that is no JSON", lines("INFO started", mode="w"), "logs.lines", WRONG, '"event": "ai.requested"', False
    ),
    Fault("malformed lines", lines("INFO started"), "logs.lines", LOOK, "tail -n 1 ", False),
    Fault(
        "unknown events", lines(event("ai.begun"), mode="w"), "logs.lines", WRONG, "write one of: ai.requested", False
    ),
    Fault("times as numbers", lines({**event("ai.error"), "ts": 1}), "logs.lines", LOOK, "ISO 8601", False),
    Fault(
        "times in the future",
        lines({**event("ai.error"), "ts": "2999-01-01T00:00:00Z"}),
        "logs.lines",
        LOOK,
        "ISO",
        False,
    ),
    Fault("copytruncate", rotated_by("copytruncate"), "logs.rotation", LOOK, "in place of copytruncate: create", False),
    Fault("rotated files elsewhere", rotated_by("olddir old"), "logs.rotation", WRONG, "HIVESYNC_LOG_ARCHIVE_DIRS=old"),
    Fault("a log not opened for appending", nul, "logs.rotation", LOOK, "open(path, 'a')", False),
    Fault("a doubtful name", beside("ai-events.log-backup-7"), "logs.rotation", LOOK, "dateformat -%Y%m%d", False),
]

STATE = [
    Fault("a file in place of the state", in_the_way, "state.directory", WRONG, "sudo install -d -o", False),
    Fault("a corrupt state", corrupt, "state.files", LOOK, "rm "),
]

SETTINGS = [
    Fault("a misspelt variable", env(ai_events_logs="x"), "settings.names", WRONG, "HIVESYNC_AI_EVENTS_LOG=...", False),
    Fault("another variable", env(colour="blue"), "settings.names", LOOK, "unset HIVESYNC_COLOUR", False),
    Fault(
        "milliseconds",
        env(worker_healthy_seconds="120000", worker_forgotten_seconds="86400000"),
        "settings.times",
        LOOK,
        "HIVESYNC_WORKER_HEALTHY_SECONDS=120",
    ),
    Fault(
        "a worker that is never unhealthy",
        env(worker_forgotten_seconds="60"),
        "settings.times",
        WRONG,
        "HIVESYNC_WORKER_FORGOTTEN_SECONDS=86400",
    ),
    Fault(
        "health below a refresh",
        env(worker_healthy_seconds="10"),
        "settings.times",
        LOOK,
        "HIVESYNC_WORKER_HEALTHY_SECONDS=120",
    ),
    Fault("no prices", env(prices_file=""), "settings.prices", LOOK, "HIVESYNC_PRICES_FILE=/etc/", False),
    Fault(
        "one port for both",
        lambda house: house.env.update(HIVESYNC_ADMIN_LISTEN=house.env["HIVESYNC_METRICS_LISTEN"]),
        "settings.ports",
        WRONG,
        "HIVESYNC_ADMIN_LISTEN=127.0.0.1:",
    ),
    Fault(
        "an open port",
        lambda house: house.env.update(HIVESYNC_ADMIN_LISTEN="0.0.0.0:23456"),
        "admin.ports",
        LOOK,
        "HIVESYNC_ADMIN_LISTEN=127.0.0.1:23456",
    ),
]


@parametrised([*LOGS, *STATE, *SETTINGS])
def test_a_fault_of_files_and_settings_is_found_and_made_good(house: House, fault: Fault) -> None:
    check(house, fault, "settings", "logs", "state", "admin")


def test_an_exporter_that_holds_the_state_and_does_not_answer_is_found(house: House) -> None:
    with StateDirectory(Path(house.env["HIVESYNC_STATE_DIR"])):
        found = [each for each in house.examine("state") if each.check == "state.exporter"]
    assert [(each.verdict.value, each.mend.partition(",")[0]) for each in found] == [("wrong", f"kill {os.getpid()}")]


def as_another_user(work: Callable[[], list[Finding]]) -> list[str]:
    """The mends found by a process of another user, if this one is root."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if IS_ROOT:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(send, "\n".join(each.mend for each in work()).encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        mends = pipe.read().split("\n")
    os.waitpid(child, 0)
    return mends


@pytest.mark.parametrize(("mode", "of_folder", "named"), [(0o600, 0o755, "log"), (0o644, 0o700, "folder")])
def test_a_log_that_this_user_may_not_read_is_found(mode: int, of_folder: int, named: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="test-doctor-"))
    log = folder / "ai-events.log"
    try:
        log.touch()
        log.chmod(mode if os.geteuid() == 0 or named != "log" else 0)
        folder.chmod(of_folder if os.geteuid() == 0 or named != "folder" else 0)
        settings = Settings.model_construct(ai_events_log=log)
        installation = cast("Installation", SimpleNamespace(settings=settings))
        (mend,) = as_another_user(lambda: list(_readable(installation, "ai_events_log", log)))
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    right = "r" if named == "log" else "rx"
    assert re.fullmatch(rf"setfacl -m u:\w+:{right} {log if named == 'log' else folder}", mend)


def test_rotated_files_are_counted(house: House) -> None:
    for number in (1, 2):
        house.ai_log.with_name(f"ai-events.log.{number}").touch()
    assert "ai_events_log: 2 rotated files" in [each.found for each in house.examine("logs")]


def test_a_file_of_secrets_that_all_can_read_is_found(house: House) -> None:
    found = house.examine("settings")
    assert [each.found for each in found if each.check == "settings.secrets"] == [
        "readable by their owner and group alone"
    ]


def test_a_file_of_a_secret_that_the_settings_file_names_is_examined(house: House) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        file = folder / "api_key"
        file.write_text(house.env.pop("HIVESYNC_ADMIN_API_KEY"))
        house.env["HIVESYNC_ADMIN_API_KEY_FILE"] = str(file)
        file.chmod(0o644)
        (found,) = house.new_findings("settings")
        assert found.found == f"every user of this machine can read {file}, which holds secrets"
        file.chmod(0o600)
        assert house.new_findings("settings") == []
    finally:
        shutil.rmtree(folder)
