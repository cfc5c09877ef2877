"""python -m exporter: the composition root.

The only module that reads the environment, starts servers, installs signal handlers, or exits. Exit status: 0 after a
clean stop or a nil difference, 1 after a difference found by `verify` or without an answering exporter, 2 for settings
that are missing or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from exporter import control, disk, events, health, memory, verify, web
from exporter.addresses import Address
from exporter.collectors import build_collectors
from exporter.definitions import Terms
from exporter.errors import AnalyticsError, SettingsError
from exporter.exposition import Renderer
from exporter.http1 import Server
from exporter.running import open_sources
from exporter.settings import Settings, read_settings, unknown_variables
from exporter.snapshot import Snapshot, View
from exporter.sources.postgres import Postgres
from exporter.state import StateDirectory, StateFile
from exporter.verify import Comparison
from exporter.version import REVISION, VERSION

if TYPE_CHECKING:
    from admin.app import AnalyticsSection

STATUS_DIFFERS = 1
STATUS_SETTINGS = 2

SWITCH_SECONDS = 0.0005
"""The longest time for which a thread that reads a log or merges a window may keep the interpreter from the event loop,
which answers scrapes. Python's default of five milliseconds equals the longest acceptable time of a scrape."""

_log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m exporter", description="HiveSync's usage as Prometheus metrics.")
    parser.add_argument("--env-file", type=Path, help="read settings from this file in place of .env")
    parser.add_argument("--version", action="version", version=f"{VERSION} ({REVISION})")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("serve", help="serve /metrics (what happens without a command)")
    commands.add_parser(
        "verify", help="compare every PostgreSQL metric, as served and fresh, with a count from scratch"
    )
    commands.add_parser("login-link", help="print a link that lets whoever opens it into the Analytics page, once")
    health_command = commands.add_parser(
        "health", help="ask the exporter that runs here how it is (exit status 0 or 1)"
    )
    health_command.add_argument("--ready", action="store_true", help="0 only once its first pass is done")
    chosen = parser.parse_args(arguments)
    if chosen.command == "health":
        is_well, line = health.check(chosen.env_file, ready=chosen.ready)
        print(line)
        return 0 if is_well else STATUS_DIFFERS
    events.configure()
    try:
        settings = read_settings(chosen.env_file)
        for variable in unknown_variables(chosen.env_file):
            _log.warning("settings.unknown_variable", variable=variable)
        if chosen.command == "verify":
            return uvloop.run(_verify(settings))
        if chosen.command == "login-link":
            return asyncio.run(_login_link(settings))
        with (
            _listening(settings.metrics_listen, "HIVESYNC_METRICS_LISTEN") as metrics,
            _listening(settings.admin_listen, "HIVESYNC_ADMIN_LISTEN") as admin,
        ):
            uvloop.run(_serve(settings, metrics, admin))
    except SettingsError as error:
        events.say(f"hivesync-analytics cannot start:\n{error}")
        return STATUS_SETTINGS
    except AnalyticsError as error:
        events.say(f"hivesync-analytics: {error}")
        return STATUS_DIFFERS
    return 0


async def _serve(settings: Settings, metrics: socket.socket, admin: socket.socket) -> None:
    """Run everything until SIGTERM or SIGINT."""
    events.watch_loop()
    _log.info("service.starting", version=VERSION, revision=REVISION, settings=settings.shown())
    sys.setswitchinterval(SWITCH_SECONDS)
    terms = Terms(settings.prices(), settings.free_plans)
    with StateDirectory(settings.state_dir) as state:
        collectors = build_collectors(settings, state.file)
        async with open_sources(settings) as sources:

            def changed() -> None:
                renderer.changed()
                if section.done() and not section.cancelled() and section.exception() is None:
                    section.result().changed()

            snapshot = Snapshot(collectors, sources, settings.refresh_seconds, changed=changed)
            renderer = Renderer(snapshot.view)
            site = web.build_site(lambda: renderer.current, lambda: snapshot.view().ready)

            async def verify_windows() -> Sequence[Comparison]:
                served = snapshot.served(Postgres.name)  # before anything is refreshed
                return await verify.compare(snapshot.at_rest(Postgres.name), sources, terms, served)

            async def login_link() -> str:
                return (await asyncio.shield(section)).login_link(settings)

            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            answers = {control.VERIFY: verify_windows, control.LOGIN_LINK: login_link}
            tasks: list[asyncio.Task[object]] = [
                asyncio.create_task(work)
                for work in (
                    Server(site).serve(metrics),
                    snapshot.run(),
                    control.serve(settings.state_dir, answers),
                    stop.wait(),
                )
            ]
            section = asyncio.create_task(disk.run(_load_section, settings, snapshot.view))
            tasks += [
                asyncio.create_task(_serve_section(section, settings, admin)),
                asyncio.create_task(memory.keep_small(lambda: section.done() and snapshot.view().ready)),
            ]
            await _first_to_end(tasks, stop)
    _log.info("service.stopped")


def _load_section(settings: Settings, view: Callable[[], View]) -> AnalyticsSection:
    """Import and build the Analytics section. The import takes as long as everything else; in a thread of its own it
    does not delay the collectors."""
    from admin.app import AnalyticsSection

    return AnalyticsSection(settings, settings.state_dir, view)


async def _serve_section(loading: asyncio.Task[AnalyticsSection], settings: Settings, listener: socket.socket) -> None:
    section = await loading
    from admin import server
    from admin.site import build_site

    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(build_site(section.app), listener, settings.admin_trusted_proxies))
        group.create_task(section.run())


async def _first_to_end(tasks: Sequence[asyncio.Task[object]], stop: asyncio.Event) -> None:
    """Wait for the stop, or for a failing task; then end all others."""
    while not stop.is_set():
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _verify(settings: Settings) -> int:
    """Compare the values served by the exporter that runs on this state directory, and its windows; without a running
    exporter, windows built for this purpose."""
    events.watch_loop()
    comparisons = await control.ask_to_verify(settings.state_dir)
    if comparisons is not None:
        print("The exporter that is running, served and refreshed:\n")
    else:
        print(
            f"No exporter is running on {settings.state_dir}, so nothing served is compared:"
            " windows filled now, and refreshed once:\n"
        )
        comparisons = await _verify_alone(settings)
    print(verify.render(comparisons))
    return 0 if comparisons and all(comparison.nil for comparison in comparisons) else STATUS_DIFFERS


async def _login_link(settings: Settings) -> int:
    events.watch_loop()
    link = await control.ask_for_login_link(settings.state_dir)
    if link is None:
        events.say(f"hivesync-analytics: no exporter is running on {settings.state_dir}")
        return STATUS_DIFFERS
    print(link)
    return 0


async def _verify_alone(settings: Settings) -> list[Comparison]:
    with tempfile.TemporaryDirectory() as scratch:
        async with open_sources(settings) as sources:
            collectors = build_collectors(settings, lambda name: StateFile(Path(scratch), name))
            snapshot = Snapshot(collectors, sources, settings.refresh_seconds)
            async with sources.postgres.transaction():
                pass  # reports a server that is down once, and at once
            await snapshot.refresh_all(Postgres.name)
            at_rest = snapshot.at_rest(Postgres.name)
            return await verify.compare(at_rest, sources, Terms(settings.prices(), settings.free_plans))


@contextmanager
def _listening(address: Address, variable: str) -> Iterator[socket.socket]:
    """Open a listening socket; before everything else, so that a port in use is reported at once."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]  # Python appends the address a second time
        raise SettingsError(f"{variable}: cannot listen on {address.host}:{address.port}: {reason}") from None
    with listener:
        yield listener


if __name__ == "__main__":
    sys.exit(main())
