"""Faults of the PostgreSQL server: killed, stopped, restarted, full, with other passwords and roles, another server in
its place, another clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread

import psycopg

from demo.database import EXPORTER_ROLE
from faults.clock import faketime, no_faketime
from faults.promises import EXACTNESS, IDENTITY, ISOLATION
from faults.scene import CONNECTIONS, Scene
from faults.subject import POLL_SECONDS, require
from faults.table import fault
from servers.bound import Bound
from servers.postgres import PostgresServer
from servers.processes import signal_all

CHANGES = 'hivesync_source_changes_total{source="postgres"}'
FLAPS = 5
TERMINATIONS_SECONDS = 2.0


@fault("postgres", ISOLATION, down=["postgres"], quick=True)
def postgres_killed(scene: Scene) -> Iterator[None]:
    """PostgreSQL is killed, and started after a while."""
    scene.postgres.kill()
    try:
        yield
    finally:
        scene.postgres.start()


@fault("postgres", ISOLATION, down=["postgres"])
def postgres_stopped(scene: Scene) -> Iterator[None]:
    """All processes of PostgreSQL are stopped (SIGSTOP), and continued."""
    signal_all(scene.postgres.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(scene.postgres.pid, signal.SIGCONT)


@fault("postgres", ISOLATION, may_degrade=True)
def postgres_restarted(scene: Scene) -> Iterator[None]:
    """PostgreSQL is restarted at once."""
    scene.postgres.stop()
    scene.postgres.start()
    yield


@fault("postgres", ISOLATION, may_degrade=True)
def postgres_flapping(scene: Scene) -> Iterator[None]:
    """PostgreSQL is killed and started several times in a row."""
    for _ in range(2 if scene.quick else FLAPS):
        scene.postgres.kill()
        scene.postgres.start()
    yield


@contextmanager
def _role(scene: Scene, changed: str, back: str) -> Iterator[None]:
    """Change the exporter's role within the block; its present connections end, as after a restart of a pooler."""
    scene.sql(f"ALTER ROLE {EXPORTER_ROLE} {changed}")
    try:
        scene.disconnect_exporter()
        yield
    finally:
        scene.sql(f"ALTER ROLE {EXPORTER_ROLE} {back}")


@fault("postgres", ISOLATION, down=["postgres"], quick=True)
def postgres_wrong_password(scene: Scene) -> Iterator[None]:
    """The password of the exporter's role is another."""
    with _role(scene, "PASSWORD 'another'", f"PASSWORD '{scene.postgres.password}'"):
        yield


@fault("postgres", ISOLATION, down=["postgres"])
def postgres_no_login(scene: Scene) -> Iterator[None]:
    """The exporter's role may not log in."""
    with _role(scene, "NOLOGIN", "LOGIN"):
        yield


@fault("postgres", ISOLATION, down=["postgres"])
def postgres_no_connection_left(scene: Scene) -> Iterator[None]:
    """Other clients hold every connection that PostgreSQL has."""
    with ExitStack() as held:

        def take() -> None:
            with suppress(psycopg.OperationalError):
                for _ in range(CONNECTIONS):
                    held.enter_context(psycopg.connect(scene.owner_url, connect_timeout=5))

        with psycopg.connect(scene.owner_url, autocommit=True) as own:
            take()
            own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (EXPORTER_ROLE,))
            take()
            yield


@fault("postgres", ISOLATION, may_degrade=True)
def postgres_terminating(scene: Scene) -> Iterator[None]:
    """An administrator ends the exporter's connections again and again."""
    over = Event()

    def terminate() -> None:
        with psycopg.connect(scene.owner_url, autocommit=True) as own:
            while not over.wait(0.05):
                own.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (EXPORTER_ROLE,)
                )

    thread = Thread(target=terminate, daemon=True)
    thread.start()
    try:
        time.sleep(TERMINATIONS_SECONDS)
        yield
    finally:
        over.set()
        thread.join()


@fault("postgres", EXACTNESS)
def postgres_read_only(scene: Scene) -> Iterator[None]:
    """Every transaction of PostgreSQL is read-only by default."""
    scene.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        scene.sql(
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )


# Another server in its place ------------------------------------------------------------------------------------


@contextmanager
def _older_standby(scene: Scene) -> Iterator[PostgresServer]:
    """Run a standby whose replay has been paused for a while."""
    number = len(list(scene.directory.glob("standby-*")))
    standby = PostgresServer(
        scene.directory / f"standby-{number}",
        {"max_connections": str(CONNECTIONS)},
        in_memory=scene.in_memory,
        primary=scene.postgres,
    )
    with ExitStack() as stack:
        stack.callback(standby.remove)  # a copy of the whole database
        stack.enter_context(standby)
        scene.sql("SELECT pg_wal_replay_pause()", url=standby.url)
        scene.sql(
            "INSERT INTO users (email, username) SELECT t, t FROM (SELECT 'late-' || gen_random_uuid() AS t"
            " FROM generate_series(1, 20)) AS new",
            "INSERT INTO ai_usage_events (user_id, model, created_at)"
            " SELECT id, 'gpt-4.1', now() - interval '3 hours' FROM users LIMIT 50",
        )
        yield standby


def _changes(scene: Scene) -> float:
    return (scene.exporter.answer() or {}).get(CHANGES, 0.0)


def _wait_for_change(scene: Scene, before: float) -> None:
    bound = Bound(30)
    while _changes(scene) <= before:
        require(not bound.is_reached(), "the other server was not found")
        time.sleep(POLL_SECONDS)


def _require_exact(scene: Scene) -> None:
    problem = scene.exporter.verify()
    require(not problem, f"on the other server: {problem}")


@fault("postgres", IDENTITY, may_degrade=True, quick=True)
def postgres_fail_over(scene: Scene) -> Iterator[None]:
    """The address of PostgreSQL moves to an older standby, and back."""
    with _older_standby(scene) as standby:
        before = _changes(scene)
        scene.database.switch(standby.port)
        try:
            _wait_for_change(scene, before)
            _require_exact(scene)
            yield
        finally:
            before = _changes(scene)
            scene.database.switch(scene.postgres.port)
        _wait_for_change(scene, before)


@fault("postgres", IDENTITY, may_degrade=True)
def postgres_promotion(scene: Scene) -> Iterator[None]:
    """An older standby in the place of PostgreSQL is promoted; then the first server is back."""
    with _older_standby(scene) as standby:
        before = _changes(scene)
        scene.database.switch(standby.port)
        try:
            _wait_for_change(scene, before)
            before = _changes(scene)
            standby.promote()
            _wait_for_change(scene, before)
            _require_exact(scene)
            yield
        finally:
            before = _changes(scene)
            scene.database.switch(scene.postgres.port)
        _wait_for_change(scene, before)


@contextmanager
def _clock(scene: Scene, offset: str) -> Iterator[None]:
    """Restart PostgreSQL with another clock within the block."""
    server = scene.postgres
    server.stop()
    server.prefix = faketime(offset)
    try:
        server.start()
        yield
    finally:
        server.stop()
        server.prefix = ()
        server.start()


@fault("postgres", EXACTNESS, may_degrade=True, obstacle=no_faketime)
def postgres_clock_ahead(scene: Scene) -> Iterator[None]:
    """PostgreSQL's clock is three hours ahead, and back at the end."""
    with _clock(scene, "+3h"):
        _wait_until_up(scene)
        _require_exact(scene)
        yield


@fault("postgres", EXACTNESS, may_degrade=True, obstacle=no_faketime)
def postgres_clock_behind(scene: Scene) -> Iterator[None]:
    """PostgreSQL's clock is three hours behind, and back at the end."""
    with _clock(scene, "-3h"):
        _wait_until_up(scene)
        _require_exact(scene)
        yield


def _wait_until_up(scene: Scene) -> None:
    bound = Bound(30)
    while not scene.is_well(scene.exporter.answer() or {}):
        require(not bound.is_reached(), "not up with the other clock")
        time.sleep(POLL_SECONDS)
