"""python -m rollup: fill `usage_analytics_daily`, once or at intervals.

Exit status: 0 when all due days are written; 1 after an error on the way, or when stopped before the end (the written
days are complete), or when another session holds the lock; 2 for an error that a repetition would not cure: settings,
arguments, rights, a table that is missing or not the roll-up's. No row was written then.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from psycopg import AsyncConnection

from exporter import events, memory, process
from exporter.errors import AnalyticsError, SettingsError
from exporter.inputs import not_in_postgres
from exporter.settings import RollupSettings, read_settings
from exporter.sources.postgres import Postgres
from exporter.sources.prometheus import Prometheus
from rollup import daily, installation, lock, migrate, rights, run, script, store, table
from rollup.adapter import read_adapter
from rollup.connection import connected, transaction
from rollup.days import DAY, parse_day, parse_duration, seconds_until_next, start_of
from rollup.errors import Busy, ReaderGone, Refused
from rollup.output import show
from rollup.progress import Progress
from rollup.queue_depth import QueueDepths
from rollup.run import Due, Range
from rollup.window import DayWindow

STATUS_FAILED = 1
STATUS_REFUSED = 2

GRANT_HELP = "with --migrate: run the GRANTs for these roles, as in exporter=hivesync_exporter rollup=hivesync_rollup"
ADAPTER_HELP = "with --migrate: also create the views of another backend's tables, their indexes, and the three roles"

STOP_SECONDS = 0.5
"""Time for PostgreSQL to receive the cancellation of a query, before the process ends without its answer."""

LASTING_RUNS = 2
"""Runs in a row that find the lock held before a warning: one run can be longer than the interval, as the first is."""

_log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    process.prepare()
    options = _parse(arguments)
    events.configure()
    try:
        settings = read_settings(options.env_file, RollupSettings)
        return asyncio.run(_until_stopped(_command(options, settings), stopped=0 if options.every else STATUS_FAILED))
    except (SettingsError, Refused) as error:
        events.say(f"hivesync-analytics: {error}")
        return STATUS_REFUSED
    except ReaderGone:
        return STATUS_FAILED
    except AnalyticsError as error:
        events.say(f"hivesync-analytics: {error}")
        return STATUS_FAILED
    finally:
        events.flush()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rollup",
        allow_abbrev=False,
        description="Fill usage_analytics_daily: all missing days since the first activity, and the last few again.",
    )
    add = parser.add_argument
    add("--env-file", type=Path, help="read the settings from this file instead of .env")
    add("--from", dest="first", type=_day, metavar="DAY", help="rewrite the days from this one on, as in 2026-01-31")
    add("--to", dest="last", type=_day, metavar="DAY", help="rewrite the days up to and including this one")
    add("--every", type=_duration, metavar="TIME", help="run now and at intervals, aligned to the clock, as in 5m")
    add("--dry-run", action="store_true", help="print the rows, or with --migrate the SQL, without writing")
    add("--migrate", action="store_true", help="create the table, and print the GRANTs of the three roles")
    add("--grant", nargs="+", action="extend", type=_role, metavar="KIND=ROLE", help=GRANT_HELP)
    add("--adapter", metavar="NAME", help=ADAPTER_HELP)
    add(
        "--history",
        type=_file,
        metavar="FILE",
        help="write the history of the metrics as OpenMetrics for promtool, and no days",
    )
    options = parser.parse_args(arguments)
    commands = [name for name in ("every", "dry_run", "migrate", "history") if getattr(options, name)]
    if len(commands) > 1 and commands != ["dry_run", "migrate"]:
        parser.error("--every, --dry-run, --migrate and --history exclude each other")
    if options.grant and not options.migrate:
        parser.error("--grant requires --migrate")
    if options.adapter is not None and not options.migrate:
        parser.error("--adapter requires --migrate")
    if (options.first or options.last) and commands and commands[-1] in ("every", "migrate"):
        parser.error(f"--from and --to cannot be used with --{commands[-1]}")
    if options.first and options.last and options.first > options.last:
        parser.error(f"--from {options.first} is after --to {options.last}")
    return options


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _parse_role(text: str) -> migrate.Role:
    kind, _, role = text.partition("=")
    if kind not in migrate.NEEDS or not role:
        raise ValueError(f"should be {', '.join(f'{name}=ROLE' for name in migrate.NEEDS)}, not {text!r}")
    return migrate.Role(kind, role)


def _parse_file(text: str) -> str:
    if not text:
        raise ValueError("should be a file, or - for standard output")
    return text


_day, _duration = _argument(parse_day), _argument(parse_duration)
_role, _file = _argument(_parse_role), _argument(_parse_file)


async def _until_stopped(command: Coroutine[Any, Any, int], stopped: int) -> int:
    """Return the command's status, or `stopped` when SIGTERM or SIGINT ends it; its query on PostgreSQL is canceled."""
    events.watch_loop()
    task, loop = asyncio.ensure_future(command), asyncio.get_running_loop()

    def stop() -> None:
        # The first cancellation makes psycopg cancel the query and wait for the answer; the second one ends that wait.
        if not task.done():
            task.cancel()
            loop.call_later(STOP_SECONDS, stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        _log.info("service.stopped")
        return stopped


async def _command(options: argparse.Namespace, settings: RollupSettings) -> int:
    url = settings.rollup_url.get_secret_value()
    asked = Range(options.first, options.last) if options.first or options.last else None
    lacking = not_in_postgres(settings.not_provided, settings.workers_from)
    if options.adapter is not None:
        return await _install(url, options.adapter, options.grant or migrate.DEFAULT_ROLES, lacking, options.dry_run)
    if options.migrate and options.dry_run:
        return await _show_migration(url, options.grant or [], lacking)
    if options.migrate:
        return await _migrate(url, options.grant or [], lacking)
    if options.history:
        return await _history(url, options.history, asked or Range(None, None), settings)
    async with _queue_depths(settings) as depths:
        if options.dry_run:
            return await _dry_run(url, asked, depths)
        if options.every:
            postgres = Postgres(url)
            try:
                return await _every(url, options.every, postgres, depths)
            finally:
                await postgres.close()
        return await _once(url, asked, depths)


async def _once(url: str, asked: Range | None, depths: QueueDepths) -> int:
    began = time.monotonic()
    async with _locked(url) as connection:
        chosen = await run.choose(connection, asked)
        await _write(connection, Due(others=chosen), depths, began)
    return 0


async def follow(url: str, window: DayWindow, postgres: Postgres, depths: QueueDepths) -> None:
    began = time.monotonic()
    async with _locked(url) as connection:
        await _write(connection, await run.read_due(connection, window, postgres), depths, began)


@asynccontextmanager
async def _locked(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Hold the table's lock, with a second connection to write over."""
    async with connected(url) as connection:
        await _check(connection, rights.TO_WRITE)
        async with lock.table_locked(url, connection):
            yield connection


async def _write(connection: AsyncConnection[Any], due: Due, depths: QueueDepths, began: float) -> None:
    days = sorted([*run.days_of(due.others), *(row.date for row in due.rows)])
    progress = Progress(len(days))
    try:
        await run.write(connection, due.others, depths, progress, due.rows)
    finally:
        progress.end()
    reach = {"first": str(days[0]), "last": str(days[-1])} if days else {}
    _log.info("rollup.finished", days=len(days), seconds=round(time.monotonic() - began, 3), **reach)


async def _every(url: str, every: int, postgres: Postgres, depths: QueueDepths) -> int:
    """Run now and at every full multiple of `every` seconds; a failed run is repeated then.

    A refusal before the first success is permanent and raised; a later one may come from maintenance of the database.
    """
    worked = failed = False
    in_vain = 0
    window = DayWindow()
    while True:
        try:
            await follow(url, window, postgres, depths)
        except Busy as error:
            in_vain += 1
            if in_vain == LASTING_RUNS:
                _log.warning("rollup.lock_lasts", runs=in_vain, detail=str(error))
        except AnalyticsError as error:
            if isinstance(error, Refused) and not worked:
                raise
            if not failed:
                _log.warning("system.analytics.degraded", source="postgres", detail=str(error))
            failed = True
        else:
            if failed:
                _log.info("system.analytics.recovered", source="postgres")
            worked, failed, in_vain = True, False, 0
        memory.give_back()
        await asyncio.sleep(seconds_until_next(time.time(), every))


async def _dry_run(url: str, asked: Range | None, depths: QueueDepths) -> int:
    async with connected(url) as connection:
        await _check(connection, rights.TO_READ)
        chosen = await run.choose(connection, asked)
        known = await depths.read(run.days_of(chosen))
        rows = [row for piece in chosen for row in await run.read(connection, piece, known)]
    show(table.render(rows))
    return 0


async def _check(connection: AsyncConnection[Any], needed: Sequence[rights.Right]) -> None:
    """Raise Refused unless the table exists in the roll-up's shape, and the role has the rights for the command."""
    columns = await store.read_columns(connection)
    if columns:
        await store.check_shape(connection, columns)
    await rights.check(connection, needed)


async def _migrate(url: str, roles: Sequence[migrate.Role], lacking: Collection[str]) -> int:
    async with connected(url) as connection:
        made = await migrate.migrate(connection, roles, lacking)
        lines = [f"{store.TABLE}: {'made' if made else 'was there already, and is as it should be'}"]
        for role in roles:
            lines += [
                f"{role.kind}: rights granted to {role.name}",
                *await migrate.too_much(connection, role, lacking),
            ]
        if not roles:
            lines.append(
                "\nThe rights that the roles need (--grant exporter=ROLE rollup=ROLE grafana=ROLE gives them):\n"
            )
            lines += [
                f"{statement};" for statement in await migrate.statements(connection, migrate.DEFAULT_ROLES, lacking)
            ]
    show("\n".join(lines))
    return 0


async def _show_migration(url: str, roles: Sequence[migrate.Role], lacking: Collection[str]) -> int:
    async with connected(url) as connection:
        created = [] if await store.read_columns(connection) else migrate.creation()
        statements = [*created, *await migrate.statements(connection, roles, lacking)]
    show(script.render(statements))
    return 0


async def _install(url: str, name: str, roles: Sequence[migrate.Role], lacking: Collection[str], dry_run: bool) -> int:
    adapter = read_adapter(name)
    if not dry_run:
        await installation.install(url, adapter, roles, show, lacking)
        return 0
    async with connected(url) as connection, transaction(connection, read_only=True):
        planned = await installation.plan(connection, adapter, roles, lacking)
        indexes = await installation.index_statements(connection, adapter)
    show(script.render([*planned.creation, *planned.rights], indexes))
    return 0


async def _history(url: str, path: str, asked: Range, settings: RollupSettings) -> int:
    # Loaded here, since the collectors that it needs would double the memory of `--every`.
    from rollup import openmetrics
    from rollup.history import read_history

    with openmetrics.whole_file(path) as write:
        async with connected(url) as connection:
            await rights.check(connection, rights.for_history(settings.not_provided))
            first, last = await _hours(connection, asked)
            series = await read_history(connection, first, last, settings.free_plans, settings.not_provided)
        write(openmetrics.render(series))
    samples = sum(len(one.points) for one in series)
    _log.info(
        "rollup.history_written", series=len(series), samples=samples, first=first.isoformat(), last=last.isoformat()
    )
    return 0


async def _hours(connection: AsyncConnection[Any], asked: Range) -> tuple[datetime, datetime]:
    """Return the first and the last full hour of the requested days; of all days when none were requested."""
    now = await store.read_now(connection)
    first_activity = await daily.read_first_activity(connection)
    if first_activity is None:
        raise Refused(
            "there is no activity at all, and so no history: repeat this once users have logged in or sent requests"
        )
    last = now.replace(minute=0, second=0, microsecond=0)
    if asked.last is not None:
        if asked.last > now.date():
            raise Refused(f"{asked.last} has not begun: today is {now.date()} (UTC, by the database's clock)")
        last = min(last, start_of(asked.last + DAY))
    first_day = max(asked.first or first_activity, first_activity)
    first = start_of(first_day) + timedelta(hours=1)
    if first > last:
        raise Refused(f"no full hour lies between {first_day} and {asked.last or 'now'}")
    return first, last


@asynccontextmanager
async def _queue_depths(settings: RollupSettings) -> AsyncIterator[QueueDepths]:
    prometheus = Prometheus(settings.prometheus_url) if settings.prometheus_url else None
    try:
        yield QueueDepths(prometheus, settings.refresh_seconds)
    finally:
        if prometheus is not None:
            await prometheus.close()


if __name__ == "__main__":
    sys.exit(main())
