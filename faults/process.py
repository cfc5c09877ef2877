"""Faults of the exporter's own process: stopped, killed, with another clock, with small limits, without streams."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_connection

from faults.clock import faketime, no_faketime
from faults.promises import CLIENTS, EXACTNESS, PROCESS
from faults.scene import Scene, plain_exporter
from faults.subject import POLL_SECONDS, StruckExporter, require
from faults.table import fault
from servers.bound import Bound, slowness
from servers.ports import LOOPBACK

STOPPED_SECONDS, QUICK_STOPPED_SECONDS = 90.0, 5.0
CLOCK_SECONDS = 3.0
STOP_SECONDS = 5.0
SPARE_BYTES = 48 << 20
HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCONT)
WRONG_KEYS = 300
PIPE_BYTES = 4096


@fault("process", PROCESS, silent=True, own=plain_exporter, quick=True)
def exporter_stopped(scene: Scene) -> Iterator[None]:
    """The exporter is stopped (SIGSTOP) for 90 s, and continued."""
    os.kill(scene.exporter.pid, signal.SIGSTOP)
    try:
        time.sleep(QUICK_STOPPED_SECONDS if scene.quick else STOPPED_SECONDS)
        yield
    finally:
        os.kill(scene.exporter.pid, signal.SIGCONT)


@fault("process", PROCESS, silent=True, own=plain_exporter, quick=True)
def exporter_killed(scene: Scene) -> Iterator[None]:
    """The exporter is killed while it reads a burst of lines, and started again, three times."""
    for _ in range(3):
        scene.exporter.writer.write("ai-events", 5_000)
        scene.exporter.kill()
        scene.exporter.start()
    yield


@fault("process", PROCESS, silent=True, own=plain_exporter)
def exporter_terminated(scene: Scene) -> Iterator[None]:
    """The exporter gets SIGTERM while PostgreSQL and Redis are stopped: it ends in time, and is started again."""
    exporter = scene.exporter
    process = exporter.process
    os.kill(scene.valkey.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        exporter.stop()
        seconds = time.monotonic() - started
    finally:
        os.kill(scene.valkey.pid, signal.SIGCONT)
    exporter.start()
    require(process.returncode == 0, f"exit status {process.returncode}")
    require(seconds < STOP_SECONDS * slowness(), f"it took {seconds:.1f} s to end")
    yield


@fault("process", PROCESS, own=plain_exporter)
def exporter_signals(scene: Scene) -> Iterator[None]:
    """The exporter gets every signal that is not meant to end it."""
    for number in HARMLESS:
        scene.exporter.send(number)
        time.sleep(POLL_SECONDS)
    yield


# Its clock ------------------------------------------------------------------------------------------------------


def _with_a_clock(scene: Scene) -> StruckExporter:
    file = scene.directory / f"clock-{time.monotonic_ns()}"
    _set(file, "+0")
    exporter = scene.new_exporter(prefix=faketime(file=file))
    exporter.clock = file
    return exporter


def _set(file: Path, offset: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(f"{offset}\n")
    new.rename(file)


@contextmanager
def _stepped(scene: Scene, offset: str) -> Iterator[None]:
    clock = scene.exporter.clock
    require(clock is not None, "no clock of its own")
    assert clock is not None  # noqa: S101 - for mypy
    _set(clock, offset)
    try:
        time.sleep(CLOCK_SECONDS)
        yield
    finally:
        _set(clock, "+0")


@fault("process", EXACTNESS, own=_with_a_clock, obstacle=no_faketime)
def exporter_clock_ahead(scene: Scene) -> Iterator[None]:
    """The exporter's own clock jumps a day ahead, and back."""
    with _stepped(scene, "+1d"):
        yield


@fault("process", EXACTNESS, own=_with_a_clock, obstacle=no_faketime)
def exporter_clock_behind(scene: Scene) -> Iterator[None]:
    """The exporter's own clock jumps a day back, and ahead."""
    with _stepped(scene, "-1d"):
        yield


# Its limits and streams -----------------------------------------------------------------------------------------


def _shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", f'{script}; exec "$@"', "sh"]


def _with_few_descriptors(scene: Scene) -> StruckExporter:
    return scene.new_exporter(prefix=_shell("ulimit -n 64"))


@fault("process", CLIENTS, own=_with_few_descriptors)
def few_descriptors(scene: Scene) -> Iterator[None]:
    """The exporter may have 64 file descriptors, and 300 idle connections come to each port."""
    with idle_connections(scene.exporter, 300):
        yield


@contextmanager
def idle_connections(exporter: StruckExporter, number: int) -> Iterator[None]:
    """Open that many connections to both ports, which send nothing."""
    held = []
    try:
        for port in (exporter.metrics_port, exporter.admin_port):
            for _ in range(number):
                with suppress(OSError):
                    held.append(create_connection((LOOPBACK, port), timeout=2))
        yield
    finally:
        for connection in held:
            connection.close()


@fault("process", PROCESS, may_degrade=True, own=plain_exporter)
def little_memory(scene: Scene) -> Iterator[None]:
    """The exporter may have 48 MB of address space more than it has (RLIMIT_AS), and Redis has many keys."""
    exporter = scene.exporter
    pages = int(Path(f"/proc/{exporter.pid}/statm").read_text().split()[0])
    _, hard = resource.prlimit(exporter.pid, resource.RLIMIT_AS)
    resource.prlimit(exporter.pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES, hard))
    try:
        exporter.writer.write("ai-events", 20_000)
        time.sleep(CLOCK_SECONDS)
        yield
    finally:
        resource.prlimit(exporter.pid, resource.RLIMIT_AS, (hard, hard))


def _without_streams(scene: Scene) -> StruckExporter:
    return scene.new_exporter(prefix=_shell("exec 0<&- 1>&- 2>&-"))


@fault("process", PROCESS, own=_without_streams, quick=True)
def closed_streams(_: Scene) -> Iterator[None]:
    """The exporter is started without standard input, output and error."""
    yield


def _on_a_pipe(scene: Scene) -> StruckExporter:
    pipe = scene.directory / f"pipe-{time.monotonic_ns()}"
    os.mkfifo(pipe)
    exporter = scene.new_exporter(prefix=_shell(f"exec 2>'{pipe}'"))
    exporter.pipe = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(exporter.pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return exporter


def _send_wrong_keys(exporter: StruckExporter) -> None:
    request = (
        b"GET /admin/analytics/summary HTTP/1.1\r\nHost: localhost\r\nX-API-Key: wrong\r\nConnection: close\r\n\r\n"
    )
    for _ in range(WRONG_KEYS):
        with suppress(OSError), create_connection((LOOPBACK, exporter.admin_port), timeout=5 * slowness()) as client:
            client.sendall(request)
            client.recv(100)


@fault("process", PROCESS, own=_on_a_pipe, quick=True)
def log_pipe_not_read(scene: Scene) -> Iterator[None]:
    """Standard error is a pipe that is never read, and wrong keys come to the admin port: each one is an event."""
    _send_wrong_keys(scene.exporter)
    yield


@fault("process", PROCESS, silent=True, own=_on_a_pipe)
def stop_with_a_full_log_pipe(scene: Scene) -> Iterator[None]:
    """The exporter gets SIGTERM while standard error is a full pipe: it ends in time, and is started again."""
    exporter = scene.exporter
    _send_wrong_keys(exporter)
    process = exporter.process
    exporter.send(signal.SIGTERM)
    bound = Bound(STOP_SECONDS)
    while process.poll() is None:
        require(not bound.is_reached(), f"it did not end within {bound.seconds:.1f} s")
        time.sleep(POLL_SECONDS)
    exporter.stop()
    exporter.start()
    yield
