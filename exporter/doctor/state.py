"""The state directory: writable, with room, its files whole, and of one exporter alone."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from exporter.control import ask_for_health
from exporter.doctor.exposed import read_samples
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, wrong
from exporter.doctor.installation import Installation
from exporter.errors import StateError
from exporter.state_lock import LOCK, holder

LEAST_BYTES = 16 * 2**20

SOCKET_SECONDS = 2.0


@check("state.directory")
def directory(installation: Installation) -> Findings:
    """The state directory can be written as this user, and the disk has room."""
    path = installation.settings.state_dir
    quoted = shlex.quote(str(path))
    install = f'sudo install -d -o "$(id -un)" {quoted}'
    existing = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    if path.exists() and not path.is_dir():
        return [wrong(f"{path} is no directory", f"rm {quoted} && {install}")]
    if not os.access(existing, os.W_OK | os.X_OK):
        what = f"{path} cannot be written" if existing == path else f"{path} is not there, and cannot be made"
        return [wrong(f"{what} as user {os.geteuid()}", install)]
    free = shutil.disk_usage(existing).free
    if free < LEAST_BYTES:
        return [
            wrong(
                f"{path}: {free / 2**20:.1f} MiB free",
                f"make room on its file system: df -h {shlex.quote(str(existing))}",
            )
        ]
    return [ok(f"{path}, {free / 2**30:.1f} GiB free" + ("" if path.exists() else "; made at the first start"))]


@check("state.files")
def files(installation: Installation) -> Findings:
    """No state file was found to be corrupt."""
    path = installation.settings.state_dir
    corrupt = sorted(path.glob("*.corrupt")) if path.is_dir() and os.access(path, os.R_OK) else []
    if corrupt:
        mend = "rm " + " ".join(shlex.quote(str(file)) for file in corrupt)
        return [
            look(f"set aside as corrupt, and counted from the start: {listed(file.name for file in corrupt)}", mend)
        ]
    return [ok("no file was set aside")]


@check("state.exporter", seconds=4)
async def exporter(installation: Installation) -> Findings:
    """The exporter that holds the directory answers on its port, and its collectors work."""
    running = holder(installation.settings.state_dir)
    samples = await read_samples(installation)
    listen = installation.settings.metrics_listen
    if samples is None:
        if running and installation.metrics_are_guarded:
            return [await _behind_its_guard(installation, running.process)]
        if running:
            mend = f"kill {running.process}, or correct HIVESYNC_METRICS_LISTEN or HIVESYNC_STATE_DIR"
            return [
                wrong(f"process {running.process} holds the directory, and does not answer on port {listen.port}", mend)
            ]
        if (installation.settings.state_dir / LOCK).exists():
            return [look("no exporter is running, and one has been", "python -m exporter")]
        return [ok("no exporter has been started yet")]
    findings: list[Finding] = []
    if not running:
        mend = "HIVESYNC_STATE_DIR and HIVESYNC_METRICS_LISTEN of the exporter that runs, for the doctor too"
        findings.append(look(f"an exporter answers on port {listen.port}, and does not hold this directory", mend))
    failing = [each.labels["collector"] for each in samples if each.name == "hivesync_collector_up" and not each.value]
    down = [each.labels["source"] for each in samples if each.name == "hivesync_source_up" and not each.value]
    if failing or down:
        mend = "see the findings of these subjects; journalctl -u hivesync-analytics | grep system.analytics.degraded"
        findings.append(
            wrong(f"the running exporter: down: {listed(down) or '-'}; failing: {listed(failing) or '-'}", mend)
        )
    return findings or [ok(f"process {running.process if running else 'unknown'} answers, and every collector works")]


async def _behind_its_guard(installation: Installation, holder: str) -> Finding:
    """The exporter whose port needs TLS or a password: its control socket answers in the port's place."""
    path = installation.settings.state_dir
    try:
        is_ready = await ask_for_health(path, SOCKET_SECONDS)
    except StateError as error:
        return look(f"process {holder} holds the directory: {error}", "python -m exporter doctor  # as its own user")
    if is_ready is None:
        mend = f"kill {holder}, and start the exporter again"
        return wrong(f"process {holder} holds the directory, and does not answer on its control socket", mend)
    state = "ready" if is_ready else "not ready"
    return ok(f"process {holder} is {state}, by its control socket: its port is guarded by the web configuration")


CHECKS = (directory, files, exporter)
