"""python -m demo: the real exporter on real servers with a made-up history and live made-up traffic.

All files are in one directory, temporary unless it is named. Ctrl-C ends the demo (exit status 0); a second Ctrl-C ends
it at once. Exit status 1 when a process did not start, or the exporter ended.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from types import FrameType

from demo.console import Console
from demo.database import DATABASE
from demo.exporting import Exporter, environment_file
from demo.overview import aligned, status
from demo.processes import Processes
from servers.child import ChildError
from servers.ports import LOOPBACK
from servers.postgres import PostgresServer
from servers.temporary import temporary_directory

STATUS_SECONDS = 10.0
WATCH_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = _parse(arguments)
    console = Console()
    processes = Processes(options.directory or temporary_directory("hivesync-demo-"), console)
    _stop_on_signals(processes)
    try:
        processes.start(users=options.users, days=options.days, seed=options.seed, speed=options.speed)
        console.say(_overview(processes))
        _watch(processes, console, options.exit_after)
    except ChildError as error:
        console.say(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        console.say("\nStopping ...")
    finally:
        processes.stop()
    console.say("Stopped.")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="The exporter on embedded servers, with a made-up history and live made-up traffic.",
    )
    add = parser.add_argument
    add("--users", type=_count, default=500, help="how many users there are (default: %(default)s)")
    add("--days", type=_count, default=60, help="days of history they have (default: %(default)s)")
    add("--seed", type=_count, default=1, help="all that is made up follows from it (default: %(default)s)")
    add("--speed", type=_positive, default=1.0, help="times as fast as life (default: %(default)s)")
    add("--directory", type=_new_directory, help="keep all files here (default: a temporary directory)")
    add("--exit-after", type=_positive, metavar="SECONDS", help="stop by itself (default: never)")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"should be a whole number from 1 up, not {text!r}")
    return int(text)


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"should be a number above 0, not {text!r}")


def _new_directory(text: str) -> Path:
    path = Path(text).absolute()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise argparse.ArgumentTypeError(f"{text} is there already, and not an empty directory")
    return path


def _stop_on_signals(processes: Processes) -> None:
    """Stop the demo in order on the first SIGINT or SIGTERM; end it at once on the second."""

    def kill(_number: int, _frame: FrameType | None) -> None:
        for child in processes.children:
            child.send(signal.SIGKILL)
        os._exit(130)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, kill)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _overview(processes: Processes) -> str:
    """Return the addresses of all processes and the next commands to try."""
    postgres = processes.postgres
    urls = {PostgresServer.name: processes.database, Exporter.name: f"{processes.exporter.url}/metrics"}
    rows = {
        child.name: f"{_without_password(urls.get(child.name, child.url))}  (process {child.pid})"
        for child in processes.children
    }
    rows["Logs"] = f"{processes.logs}, and the exporter's own: {processes.exporter.log}"
    command = f"{_from_here(sys.executable)} -m exporter --env-file {environment_file(processes.directory)}"
    return (
        f"\n{aligned(rows)}\n\n"
        f"The Analytics page: {processes.exporter.page}\n"
        f"Log in, once:       {processes.exporter.login_link()}\n"
        f"Another link:       {command} login-link\n\n"
        f"Every number against plain SQL: {command} verify\n"
        f"PostgreSQL with psql: PGPASSFILE={_from_here(str(postgres.passwords))} "
        f"psql -h {LOOPBACK} -p {postgres.port} -U postgres {DATABASE}\n"
        "A server that you end (kill -9 PROCESS) comes back after a while. Ctrl-C stops everything.\n"
    )


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//", url)


def _from_here(path: str) -> str:
    """Return the path in its shortest form for the current directory."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _watch(processes: Processes, console: Console, exit_after: float | None) -> None:
    """Show the exporter's numbers until the end of the demo."""
    began = time.monotonic()
    next_status = began
    while exit_after is None or time.monotonic() - began < exit_after:
        processes.watch()
        if time.monotonic() >= next_status:
            next_status += STATUS_SECONDS
            with suppress(OSError, HTTPException):  # an exporter that has ended is reported by the next watch()
                console.status(status(processes.exporter.metrics()))
        time.sleep(WATCH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
