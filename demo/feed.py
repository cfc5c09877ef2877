"""python -m demo.feed: the made-up HiveSync on servers that exist already, as in docker-compose.yml.

    python -m demo.feed history --role hivesync_exporter=/run/secrets/exporter_db_password ...
    python -m demo.feed traffic

Takes the exporter's own settings (HIVESYNC_DATABASE_URL, HIVESYNC_REDIS_URL, HIVESYNC_AI_EVENTS_LOG; also as files),
with a database URL that may write. Starts no server, and so needs no more than the exporter's packages. Not for a real
HiveSync: `history` leaves a database with tables of these names unchanged, `traffic` a database whose users are not
made up.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from demo.database import EXPORTER_ROLE, fill_database, tables
from demo.traffic import Traffic
from exporter.errors import SettingsError
from exporter.settings import Settings, read_settings

WATCH_SECONDS = 1.0

MADE_UP = "SELECT count(*) > 0 AND bool_and(email LIKE '%@example.org') FROM users"
"""Query for whether all users are those of `history.py` and `people.py`: real users have no such addresses."""


class NotMadeUp(Exception):
    """The database is not a made-up HiveSync; nothing was written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two commands and return the exit status."""
    options = _parse(arguments)
    try:
        settings = read_settings()
        if options.command == "history":
            make_history(settings, options.role, users=options.users, days=options.days, seed=options.seed)
        else:
            make_traffic(settings, seed=options.seed, speed=options.speed)
    except (SettingsError, NotMadeUp, psycopg.Error, OSError) as error:
        print(f"demo.feed: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.feed", description="The made-up HiveSync, on given servers.")
    parser.add_argument("--seed", type=int, default=1, help="all that is made up follows from it")
    commands = parser.add_subparsers(dest="command", required=True)
    history = commands.add_parser("history", help="make the tables and their past, unless they are there, and end")
    history.add_argument("--users", type=int, default=500, help="how many users there are")
    history.add_argument("--days", type=int, default=60, help="days of history they have")
    history.add_argument(
        "--role", nargs="+", default=[], type=_role, metavar="NAME=FILE", help="make this role; FILE has its password"
    )
    traffic = commands.add_parser("traffic", help="go on from there, until stopped")
    traffic.add_argument("--speed", type=float, default=1.0, help="times as fast as life")
    return parser.parse_args(arguments)


def _role(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not name or not file:
        raise argparse.ArgumentTypeError(f"should be NAME=FILE, not {text!r}")
    return name, Path(file)


def make_history(settings: Settings, roles: Sequence[tuple[str, Path]], *, users: int, days: int, seed: int) -> None:
    """Create the roles, the tables and their past; existing tables are left unchanged."""
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url) as connection:
        for name, file in roles:
            _make_role(connection, name, file.read_text(encoding="utf-8").strip())
        if _one(connection, "SELECT to_regclass('users') IS NOT NULL"):
            _say("the tables are there already")
            return
        connection.execute(tables().encode())
        if any(name == EXPORTER_ROLE for name, _ in roles):
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {EXPORTER_ROLE}".encode())
    rows = fill_database(url, users=users, days=days, seed=seed)
    _say(f"{rows:,} rows of history")


def make_traffic(settings: Settings, *, seed: int, speed: float) -> None:
    """Run the made-up HiveSync's live traffic until SIGTERM or SIGINT. Raises NotMadeUp when the users are not
    made up."""
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url) as connection:
        if not _one(connection, MADE_UP):
            raise NotMadeUp("the users of this database are not made up: no traffic here")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    logs = settings.ai_events_log.parent
    traffic = Traffic(url, settings.redis_url.get_secret_value(), logs, seed=seed, speed=speed, note=_say)
    traffic.start()
    _say("traffic begins")
    while traffic.is_alive and not stopped.wait(WATCH_SECONDS):
        pass
    traffic.stop()
    _say("traffic ends")


def _make_role(connection: psycopg.Connection[tuple[Any, ...]], name: str, password: str) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    verb = "ALTER" if known else "CREATE"
    connection.execute(
        sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(sql.SQL(verb), sql.Identifier(name), sql.Literal(password))
    )


def _one(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
