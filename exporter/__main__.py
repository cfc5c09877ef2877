"""python -m exporter: the composition root.

The only module that reads the environment, starts servers, installs signal handlers, or exits. Exit status: 0 after a
clean stop, a nil difference or an examination without anything wrong, 1 after a difference found by `verify`, a wrong
finding of `doctor` or without an answering exporter, 2 for settings that are missing or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from starlette.types import ASGIApp

from exporter import control, disk, events, health, memory, process, verify, web
from exporter.addresses import Address
from exporter.collector import Collector, Priced, Sources
from exporter.collectors import build_collectors
from exporter.definitions import Terms
from exporter.errors import AnalyticsError, SettingsError
from exporter.exposition import Renderer
from exporter.httpd import server
from exporter.reload import Part, reload_at
from exporter.running import open_sources
from exporter.section import LoadedSection, Section
from exporter.settings import Settings, read_settings, unknown_variables
from exporter.snapshot import Snapshot
from exporter.sources.postgres import Postgres
from exporter.state import StateDirectory, StateFile
from exporter.verify import Comparison
from exporter.version import REVISION, VERSION
from exporter.view import View

if TYPE_CHECKING:
    from admin.app import AnalyticsSection
    from exporter.web_config.port import PortConfig

STATUS_DIFFERS = 1
STATUS_SETTINGS = 2

ADMIN_CREDENTIALS = ("admin_jwt_secret", "admin_jwt_public_key_file", "admin_api_key")
"""Settings that are read again on SIGHUP, as they may come from files."""

BACKLOG = 4096
"""Connections that wait to be accepted, where the kernel allows so many. One beyond is not refused: its client tries
again after a second, and a scrape would take that long in a burst of connections."""

SWITCH_SECONDS = 0.0005
"""The longest time for which a thread that reads a log or merges a window may keep the interpreter from the event loop,
which answers scrapes. Python's default of five milliseconds equals the longest acceptable time of a scrape."""

READY_LOOK_SECONDS = 0.2

_log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit status."""
    process.prepare()
    parser = argparse.ArgumentParser(prog="python -m exporter", description="HiveSync's usage as Prometheus metrics.")
    parser.add_argument("--env-file", type=Path, help="read settings from this file in place of .env")
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=Path,
        metavar="FILE",
        help="TLS, passwords and headers of the metrics port (in place of HIVESYNC_WEB_CONFIG_FILE)",
    )
    parser.add_argument("--version", action="version", version=f"{VERSION} ({REVISION})")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("serve", help="serve /metrics (what happens without a command)")
    commands.add_parser(
        "verify", help="compare every PostgreSQL metric, as served and fresh, with a count from scratch"
    )
    commands.add_parser("login-link", help="print a link that lets whoever opens it into the Analytics page, once")
    sessions_command = commands.add_parser("sessions", help="list the logins in browsers, or end one or all")
    which = sessions_command.add_mutually_exclusive_group()
    which.add_argument("--end", metavar="SESSION", help="end this session of the list")
    which.add_argument("--end-all", action="store_true", help="end all sessions")
    health_command = commands.add_parser(
        "health", help="ask the exporter that runs here how it is (exit status 0 or 1)"
    )
    health_command.add_argument("--ready", action="store_true", help="0 only once its first pass is done")
    _add_doctor(commands)
    chosen = parser.parse_args(arguments)
    if chosen.command == "health":
        is_well, line = health.check(chosen.env_file, ready=chosen.ready, web_config_file=chosen.web_config_file)
        print(line)
        return 0 if is_well else STATUS_DIFFERS
    events.configure()
    try:
        settings = read_settings(chosen.env_file)
        if chosen.command == "doctor":
            return asyncio.run(_doctor(settings, chosen))
        for variable in unknown_variables(chosen.env_file):
            _log.warning("settings.unknown_variable", variable=variable)
        if chosen.command == "verify":
            return uvloop.run(_verify(settings))
        if chosen.command == "login-link":
            return asyncio.run(_print_answer(settings, control.ask_for_login_link(settings.state_dir)))
        if chosen.command == "sessions":
            asked = control.ask_about_sessions(settings.state_dir, end=chosen.end, end_all=chosen.end_all)
            return asyncio.run(_print_answer(settings, asked))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the service can reload
        configs = _read_web_configs(settings, chosen.web_config_file)
        with (
            _listening(settings.metrics_listen, "HIVESYNC_METRICS_LISTEN") as metrics,
            _listening(settings.admin_listen, "HIVESYNC_ADMIN_LISTEN") as admin,
        ):
            doors = _Door(metrics, configs["metrics"]), _Door(admin, configs["admin"])
            uvloop.run(_serve(settings, *doors, chosen.env_file))
    except SettingsError as error:
        events.say(f"hivesync-analytics cannot start:\n{error}")
        return STATUS_SETTINGS
    except AnalyticsError as error:
        events.say(f"hivesync-analytics: {error}")
        return STATUS_DIFFERS
    return 0


def _read_web_configs(settings: Settings, flag: Path | None) -> Mapping[str, PortConfig | None]:
    """Return the web configuration of each port. Few installations have one, and its import would delay the others."""
    if not (flag or settings.web_config_file or settings.admin_web_config_file):
        return {"metrics": None, "admin": None}
    from exporter.web_config.port import read_configs

    return read_configs(settings, flag)


@dataclass(frozen=True)
class _Door:
    """A port: its listening socket, and its web configuration."""

    listener: socket.socket
    config: PortConfig | None

    def protect(self, app: ASGIApp) -> ASGIApp:
        """The port's application behind the port's own passwords."""
        return app if self.config is None else self.config.protect(app)


async def _serve(settings: Settings, metrics: _Door, admin: _Door, env_file: Path | None = None) -> None:
    """Run everything until SIGTERM or SIGINT."""
    events.watch_loop()
    _log.info("service.starting", version=VERSION, revision=REVISION, settings=settings.shown())
    sys.setswitchinterval(SWITCH_SECONDS)
    terms, admin_settings = Terms.of(settings), settings
    with StateDirectory(settings.state_dir, commands=True) as state:
        collectors = build_collectors(settings, state.file)
        async with open_sources(settings) as sources:

            def changed() -> None:
                renderer.changed()
                section.changed()

            snapshot = Snapshot(
                collectors,
                sources,
                settings.refresh_seconds,
                not_provided=settings.not_provided,
                changed=changed,
            )
            renderer = Renderer(snapshot.view)
            section = Section(lambda: _load_section(admin_settings, state, snapshot.view))
            site = web.build_site(lambda: renderer.current, lambda: snapshot.view().ready)

            async def verify_windows() -> Sequence[Comparison]:
                served = snapshot.served(Postgres.name)  # before anything is refreshed
                return await verify.compare(partial(snapshot.at_rest, Postgres.name), sources, terms, served)

            async def login_link() -> str:
                scheme = "http" if admin.config is None else admin.config.scheme
                return (await section.get()).login_link(settings, scheme)

            async def reload_prices() -> None:
                nonlocal terms
                fresh = await disk.run(Terms.of, settings)
                for collector in collectors:
                    if isinstance(collector, Priced) and fresh.prices is not None:
                        collector.use_prices(fresh.prices)
                terms = fresh

            async def reload_credentials() -> None:
                nonlocal admin_settings
                before, fresh = admin_settings, await disk.run(read_settings, env_file)
                keys = {name: getattr(fresh, name) for name in ADMIN_CREDENTIALS}
                admin_settings = settings.model_copy(update=keys)
                try:
                    await section.reload()
                except BaseException:
                    admin_settings = before
                    raise

            parts: Mapping[str, Part] = {"prices": reload_prices, "credentials": reload_credentials}

            async def is_ready() -> bool:
                return snapshot.view().ready

            async def list_sessions() -> str:
                return (await section.get()).commands.list()

            async def end_session(name: str) -> str:
                return await (await section.get()).commands.end(name)

            async def end_sessions() -> str:
                return await (await section.get()).commands.end_all()

            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            hang_up = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up.set)
            answers: Mapping[str, control.Answer] = {
                control.VERIFY: verify_windows,
                control.LOGIN_LINK: login_link,
                control.HEALTH: is_ready,
                control.SESSIONS: list_sessions,
                control.END_SESSIONS: end_sessions,
            }
            tasks: list[asyncio.Task[object]] = [
                asyncio.create_task(work)
                for work in (
                    server.serve(metrics.protect(site), metrics.listener, "metrics", security=metrics.config),
                    snapshot.run(),
                    control.serve(settings.state_dir, answers, {control.END_SESSION: end_session}, state.is_held),
                    stop.wait(),
                    reload_at(hang_up, parts),
                    *(door.config.run() for door in (metrics, admin) if door.config is not None),
                )
            ]
            tasks += [
                asyncio.create_task(section.run()),
                asyncio.create_task(_serve_section(section, settings, admin)),
                asyncio.create_task(memory.keep_small(lambda: section.is_loaded and snapshot.view().ready)),
                asyncio.create_task(_report_findings(settings, sources, collectors, env_file, snapshot.view)),
            ]
            await _first_to_end(tasks, stop)
    _log.info("service.stopped")


def _load_section(
    settings: Settings, state: StateDirectory, view: Callable[[], View]
) -> LoadedSection[AnalyticsSection]:
    """Import and build the Analytics section. The import takes as long as everything else; in a thread of its own it
    does not delay the collectors."""
    from admin.access.hosts import host_names
    from admin.app import AnalyticsSection
    from admin.site import body_limit, build_site

    section = AnalyticsSection(settings, settings.state_dir, view, check_state=state.check)
    return LoadedSection(section, build_site(section.app, host_names(settings)), body_limit)


async def _report_findings(
    settings: Settings,
    sources: Sources,
    collectors: Sequence[Collector],
    env_file: Path | None,
    view: Callable[[], View],
) -> None:
    """Log what the doctor's cheap checks find, once the first pass is done: only then they are imported, too."""
    while not view().ready:  # noqa: ASYNC110 - readiness is a property of the snapshot
        await asyncio.sleep(READY_LOOK_SECONDS)
    start = await asyncio.to_thread(import_module, "exporter.doctor.start")
    await start.report(settings, sources, lambda: collectors, env_file)


def _serve_section(section: Section[AnalyticsSection], settings: Settings, door: _Door) -> Coroutine[None, None, None]:
    return server.serve(
        door.protect(section),
        door.listener,
        "admin",
        body_limit=section.body_limit,
        trusted_proxies=settings.admin_trusted_proxies,
        security=door.config,
    )


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
    print(verify.render(comparisons, settings.not_provided))
    return 0 if comparisons and all(comparison.nil for comparison in comparisons) else STATUS_DIFFERS


def _add_doctor(commands: Any) -> None:
    command = commands.add_parser("doctor", help="examine the installation: every fault, with its exact mend")
    command.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    command.add_argument(
        "--token", help="say whether this admin token would be let in (- reads it from standard input)"
    )
    command.add_argument("--public-url", help="check the Analytics section through its public address, too")


async def _doctor(settings: Settings, chosen: argparse.Namespace) -> int:
    """Print the findings of every check."""
    from exporter.doctor import command

    events.silence()
    configs = _read_web_configs(settings, chosen.web_config_file)
    is_right = await command.examine_all(
        settings,
        chosen.env_file,
        configs,
        token=sys.stdin.readline() if chosen.token == "-" else chosen.token,  # noqa: S105 - the name of standard input
        public_url=chosen.public_url,
        as_json=chosen.json,
    )
    return 0 if is_right else STATUS_DIFFERS


async def _print_answer(settings: Settings, asking: Coroutine[None, None, str | None]) -> int:
    """Print the answer of the exporter that runs on this state directory."""
    events.watch_loop()
    answer = await asking
    if answer is None:
        events.say(f"hivesync-analytics: {control.not_running(settings.state_dir)}")
        return STATUS_DIFFERS
    print(answer)
    return 0


async def _verify_alone(settings: Settings) -> list[Comparison]:
    with tempfile.TemporaryDirectory() as scratch:
        async with open_sources(settings) as sources:
            collectors = build_collectors(settings, lambda name: StateFile(Path(scratch), name))
            snapshot = Snapshot(collectors, sources, settings.refresh_seconds, not_provided=settings.not_provided)
            async with sources.postgres.transaction():
                pass  # reports a server that is down once, and at once
            await snapshot.refresh_all(Postgres.name)
            at_rest = partial(snapshot.at_rest, Postgres.name)
            return await verify.compare(at_rest, sources, Terms.of(settings))


@contextmanager
def _listening(address: Address, variable: str) -> Iterator[socket.socket]:
    """Open a listening socket; before everything else, so that a port in use is reported at once."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]  # Python appends the address a second time
        raise SettingsError(f"{variable}: cannot listen on {address}: {reason}") from None
    try:
        yield listener
    finally:
        with suppress(OSError):  # the port is free all the same
            listener.close()


if __name__ == "__main__":
    sys.exit(main())
