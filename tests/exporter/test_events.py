"""Events: one JSON object per line; a failed write does not stop the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from demo.exporting import PROJECT
from tests.certificates import Authority
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter
from tests.waiting import patience, until

SAY_SOMETHING = """
import structlog
from exporter import events
events.configure()
structlog.get_logger().warning("system.analytics.degraded", source="postgres", kind="refused")
print("still here")
"""


def say(stderr: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", SAY_SOMETHING], stdout=subprocess.PIPE, stderr=stderr, timeout=patience(), check=False
    )


def test_an_event_is_a_json_object_on_a_line_of_its_own() -> None:
    (line,) = say(subprocess.PIPE).stderr.splitlines()
    event = orjson.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "system.analytics.degraded",
        "level": "warning",
        "source": "postgres",
        "kind": "refused",
    }


def test_that_events_cannot_be_written_stops_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        said = say(full.fileno())
    assert (said.stdout, said.returncode) == (b"still here\n", 0)


# ---- output of Python and libraries ----

BEGIN = """
import asyncio, gc, logging, ssl, sys, threading, warnings
import uvloop
from exporter import events
events.configure()

def fail():
    raise ValueError("hunter2")

async def until_said():
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)

def run(main):
    async def watched():
        events.watch_loop()
        await main()
        await until_said()
    runner(watched())
"""

RAISED = {"event": "runtime.exception", "kind": "ValueError", "where": "<string>:8"}
TASK = """
async def work(): fail()
async def main():
    asyncio.ensure_future(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
run(main)
"""
PENDING = """
async def work(): pass
async def main():
    task = asyncio.ensure_future(work())
    asyncio.get_running_loop().call_exception_handler({"message": "hunter2", "task": task})
run(main)
"""
GROUP = """
async def work(): fail()
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
run(main)
"""
CALLBACK = """
async def main(): asyncio.get_running_loop().call_soon(fail)
run(main)
"""
CAUGHT = """
try:
    fail()
except ValueError:
    logging.exception("hunter2")
"""

PRINTED: dict[str, tuple[str, dict[str, str]]] = {
    "a thread": (
        "thread = threading.Thread(target=fail); thread.start(); thread.join()",
        RAISED | {"origin": "thread"},
    ),
    "a destructor": (
        "class Thing:\n    def __del__(self): fail()\nThing(); gc.collect()",
        RAISED | {"origin": "unraisable"},
    ),
    "the main thread": ("fail()", RAISED | {"origin": "main"}),
    "a group of errors": (GROUP, RAISED | {"origin": "main"}),
    "a callback": (CALLBACK, RAISED | {"origin": "event_loop"}),
    "a task that nothing waits for": (TASK, RAISED | {"origin": "event_loop"}),
    "a fault without an exception": (
        PENDING,
        {"event": "runtime.exception", "origin": "event_loop", "where": "<string>:23"},
    ),
    "a warning": (
        "warnings.warn('hunter2', UserWarning)",
        {"event": "runtime.warning", "kind": "UserWarning", "where": "<string>:22"},
    ),
    "a coroutine that is not awaited": (
        "async def work(): pass\nwork(); gc.collect()",
        {"event": "runtime.warning", "kind": "RuntimeWarning", "where": "<string>:23"},
    ),
    "a message": (
        "logging.getLogger('pygtail').error('hunter2')",
        {"event": "runtime.message", "logger": "pygtail", "where": "<string>:22"},
    ),
    "a message with an exception": (
        CAUGHT,
        RAISED | {"event": "runtime.message", "logger": "root"},
    ),
    "a message that cannot be formatted": (
        "logging.getLogger('redis').warning('%d hunter2', 'hunter2')",
        {"event": "runtime.message", "logger": "redis", "where": "<string>:22"},
    ),
    "a logger that is cut off from the root": (
        "logging.getLogger('uvicorn').propagate = False\nlogging.getLogger('uvicorn').error('hunter2')",
        {"event": "runtime.message", "logger": "uvicorn", "where": "<string>:23"},
    ),
}

LOOPS = ("asyncio.run", "uvloop.run")


@pytest.mark.parametrize(
    ("what", "runner"),
    [(what, loop) for what, (code, _) in PRINTED.items() for loop in LOOPS[: 2 if "run(main)" in code else 1]],
)
def test_what_would_be_printed_is_one_event_without_its_text(what: str, runner: str) -> None:
    code, expected = PRINTED[what]
    said = script(f"{BEGIN}runner = {runner}\n{code}\n")
    assert b"hunter2" not in said.stderr
    (line,) = said.stderr.splitlines()
    event = orjson.loads(line)
    assert expected.items() <= event.items()
    assert event.keys() <= {"event", "level", "timestamp", "origin", "kind", "where", "logger"}
    assert said.returncode == (1 if expected.get("origin") == "main" else 0)


CLOSED_TLS = """
client_side, server_side = ssl.create_default_context(cafile=sys.argv[1]), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_side.load_cert_chain(sys.argv[1])

async def main():
    async def answer(reader, writer):
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=client_side)
    try:
        await reader.read()
    except OSError:
        pass
    for _ in range(10):
        writer.write(b"hunter2")
    server.close()

runner = uvloop.run
run(main)
"""


def test_a_tls_connection_that_was_closed_leaves_events_only(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    authority = Authority.create()
    server = authority.issue(tmp_path, "server")
    files = (server.key, server.certificate, authority.write(tmp_path / "authority.crt"))
    pem.write_bytes(b"".join(file.read_bytes() for file in files))
    said = script(BEGIN + CLOSED_TLS, str(pem))
    events = [orjson.loads(line) for line in said.stderr.splitlines()]
    assert events
    assert {(event["event"], event["logger"]) for event in events} == {("runtime.message", "asyncio")}
    assert (said.returncode, b"hunter2" in said.stderr) == (0, False)


FAULTY = """
import asyncio, threading
import {module} as module

work = module.{name}

async def work_after_faults(*arguments):
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    return await work(*arguments)

module.{name} = work_after_faults
"""
"""A `sitecustomize` for a process: faults in its event loop and in a thread, before a coroutine of ours."""


def faults(events: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(event["origin"], event["kind"]) for event in events if event["event"] == "runtime.exception"}


def test_the_exporter_says_faults_of_its_loop_and_threads_as_events(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTY.format(module="exporter.control", name="serve"))
    exporter = RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE)
    exporter.environment = {**exporter.environment, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    with exporter:
        until(lambda: len(faults(exporter.events())) == 2, "both faults")
    assert faults(exporter.events()) == {("event_loop", "ZeroDivisionError"), ("thread", "ZeroDivisionError")}


def test_the_rollup_says_faults_of_its_loop_and_threads_as_events(database: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTY.format(module="rollup.run", name="choose"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
    environment |= {"HIVESYNC_DATABASE_URL": database, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    ran = subprocess.run(
        [sys.executable, "-m", "rollup"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        timeout=patience(60),
        check=True,
    )
    events = [orjson.loads(line) for line in ran.stderr.splitlines()]
    assert faults(events) == {("event_loop", "ZeroDivisionError"), ("thread", "ZeroDivisionError")}


def script(code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, timeout=patience(60), check=False
    )
