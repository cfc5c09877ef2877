"""The cost of a refresh: database time, start-up, CPU time and memory, beside exporters that count everything each
time.

Up to four databases live in one server, each with its own exporter and with live traffic at its own rate: the base, the
same with ten times the history, a database with many users active in a day, and a database with very many users. They
are measured over the same windows of time; between those windows each peer refreshes once.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event

from bench import data
from bench.environments import environment_with
from bench.figures import Figure, at_least, at_most, ratio
from bench.measure import DatabaseTime, NotMeasured, StatementClock, cpu_seconds, memory_mb
from bench.peers.check import differences
from bench.peers.queries import QUERIES
from bench.peers.sql import PostgresExporter, QueryExporter, SqlExporter, SqlPeer, create_role, missing
from bench.peers.tuning import parallel_workers
from bench.product import (
    FIRST_PASS_SECONDS,
    POLL_SECONDS,
    REFRESH_SECONDS,
    Product,
    all_immediate,
    all_metrics,
    all_up,
)
from bench.run import Run, room_for
from bench.traffic import Traffic
from demo.database import EXPORTER_ROLE
from servers.child import ChildError

PART = "refresh"

WINDOW_SECONDS = 60.0
"""Approximate length of the windows of steady running: the period of the product's slowest clock."""

REQUESTS_OF_ACTIVE = 10 / 3
"""AI requests per day and active user, as in ten million requests per month of 200,000 users."""

QUERY_EXPORTER = ("query-exporter", "psycopg[binary]")

SQL_PEERS = (PostgresExporter, SqlExporter, QueryExporter)


@dataclass(frozen=True, slots=True)
class Window:
    """Consumption of one exporter over one window of time."""

    seconds: float
    database: DatabaseTime
    cpu_seconds: float

    @property
    def database_ms(self) -> float:
        """Database time per refresh period."""
        return self.database.milliseconds * REFRESH_SECONDS / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time of the process per refresh period."""
        return self.cpu_seconds * 1000 * REFRESH_SECONDS / self.seconds


@dataclass
class Subject:
    """A database with the product running on it."""

    name: str
    database: data.Database
    product: Product
    windows: list[Window] = field(default_factory=list)

    def per_refresh(self) -> float:
        """Return the database time (ms) per refresh period, over all windows."""
        seconds = sum(window.seconds for window in self.windows)
        return sum(window.database.milliseconds for window in self.windows) * REFRESH_SECONDS / seconds


@dataclass(frozen=True, slots=True)
class Start:
    """Duration of a start (seconds), and its database time."""

    immediate: float
    full: float
    page: float
    """Seconds until the Analytics page's tables and charts are loaded too."""
    database: DatabaseTime


@dataclass
class Refreshes:
    """Measurements of a peer: database time (ms) and wall-clock seconds of each refresh."""

    peer: SqlPeer | None
    why_not: str = ""
    database_ms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def measure(run: Run) -> Sequence[Figure]:
    """Measure all figures of this part."""
    options = run.options
    with ExitStack() as stack:
        clock = StatementClock(run.postgres.url)
        stack.callback(clock.close)
        databases, history_note = _databases(run)
        base = databases["base"]
        unequal = differences(base.url)
        peers = _peers(run, stack, base)
        with run.progress.stage(PART, "what happened meanwhile, and live traffic from now on"):
            stack.enter_context(Traffic(list(databases.values()), options.seed))
        starts, base_product = _starts(run, stack, clock, base)
        subjects = {"base": Subject("base", base, base_product)}
        for name, database in databases.items():
            if name != "base":
                product = _product(run, database)
                with run.progress.stage(PART, f"start on the database {name}"):
                    stack.enter_context(product)
                    product.wait_for(all_up, "all collectors up", FIRST_PASS_SECONDS)
                subjects[name] = Subject(name, database, product)
        products = {name: subject.product for name, subject in subjects.items()}
        # Counting two million users from scratch takes long: their database is verified once only.
        run.verify(PART, "before", *(product for name, product in products.items() if name != "users"))
        _steady(run, clock, list(subjects.values()), peers)
        memory = {name: memory_mb(subject.product.pid) for name, subject in subjects.items()}
        run.verify(PART, "after", *products.values())
        run.versions |= {each.peer.name: each.peer.version for each in peers.values() if each.peer}
    return [
        *_database_figures(run, subjects["base"], starts, peers, unequal),
        *_history_figures(subjects["base"], subjects.get("history"), memory, history_note),
        *_start_figures(starts, peers),
        *_process_figures(run, subjects, memory),
    ]


def _databases(run: Run) -> tuple[dict[str, data.Database], str]:
    """Create the databases; return them by name, with the reason if there is none with a longer history."""
    options, server = run.options, run.postgres
    room_for(options.size + options.many_users)
    note = "" if options.history else "left out at this size unless --history is given"
    if options.history:
        try:
            room_for(options.size * (data.HISTORY + 1) + options.many_users)
        except NotMeasured as error:
            note = str(error)
    shapes = {
        "active": data.Shape(options.active_users, round(options.active_users * REQUESTS_OF_ACTIVE), days=1, even=True),
        "users": data.Shape(options.many_users, options.many_users, even=True),
    }
    databases = {"base": run.base}
    others = f"{options.active_users:,} users active in a day; {options.many_users:,} users"
    doing = others if note else f"the same with ten times the history; {others}"
    with run.progress.stage(PART, doing), ThreadPoolExecutor() as threads:
        made = {
            name: threads.submit(data.create, server, name, shapes[name], options.seed) for name in ("active", "users")
        }
        if not note:
            databases["history"] = data.with_history(databases["base"], "history")
        databases |= {name: each.result() for name, each in made.items()}
    return databases, note


def _product(run: Run, database: data.Database, round_: int = 0) -> Product:
    return Product(
        run.directory / f"product-{database.name}-{round_}",
        database_url=database.url_as(EXPORTER_ROLE),
        redis_url=run.quiet_valkey.url,
    )


def _peers(run: Run, stack: ExitStack, base: data.Database) -> dict[str, Refreshes]:
    """Start the SQL exporters; return each one running, or the reason of its failure."""
    peers = {}
    with run.progress.stage(PART, "how many parallel workers serve the peers best") as results:
        workers = parallel_workers(base.url)
        results.append(str(workers))
    for kind in SQL_PEERS:
        with run.progress.stage(PART, f"start {kind.name}") as results:
            create_role(base, kind.role, workers)
            try:
                if kind is QueryExporter:
                    place = environment_with("query-exporter", QUERY_EXPORTER, install=run.options.install)
                    peer: SqlPeer = QueryExporter(run.directory, base, place)
                else:
                    peer = kind(run.directory, base)  # type: ignore[call-arg]
                stack.enter_context(peer)
                peers[kind.name] = Refreshes(peer)
            except (NotMeasured, ChildError) as error:
                peers[kind.name] = Refreshes(None, str(error))
                results.append(f"not measured: {error}")
    return peers


def _starts(run: Run, stack: ExitStack, clock: StatementClock, base: data.Database) -> tuple[list[Start], Product]:
    """Measure several starts from nothing; the last product continues to run."""
    starts: list[Start] = []
    for round_ in range(run.options.rounds):
        product = _product(run, base, round_)
        is_last = round_ == run.options.rounds - 1
        with run.progress.stage(PART, f"start {round_ + 1} of {run.options.rounds}") as results:
            before, started = clock.of(EXPORTER_ROLE, base.name), time.perf_counter()
            product.start()
            try:
                immediate = full = page = None
                while full is None or page is None:
                    seen = product.samples()
                    seconds = time.perf_counter() - started
                    if immediate is None and all_immediate(seen):
                        immediate = seconds
                    if full is None and all_metrics(seen):
                        full = seconds
                    if all_up(seen):
                        page = seconds
                    elif seconds > FIRST_PASS_SECONDS:
                        raise NotMeasured(f"not all collectors up after {seconds:.0f} s: {product.log_tail(3)}")
                    time.sleep(POLL_SECONDS)
            finally:
                if is_last and page is not None:
                    stack.callback(product.stop)
                else:
                    product.stop()
            starts.append(Start(immediate or full, full, page, clock.of(EXPORTER_ROLE, base.name) - before))
            results.append(f"all metrics after {full:.1f} s")
    return starts, product


def _steady(run: Run, clock: StatementClock, subjects: Sequence[Subject], peers: dict[str, Refreshes]) -> None:
    """Measure windows of steady running, with a refresh of each peer between them."""
    count = max(1, round(run.options.steady / WINDOW_SECONDS))
    for number in range(count):
        with run.progress.stage(PART, f"steady running, window {number + 1} of {count}"):
            before = [_used(clock, subject) for subject in subjects]
            Event().wait(run.options.steady / count)
            for subject, then in zip(subjects, before, strict=True):
                now = _used(clock, subject)
                subject.windows.append(Window(now[0] - then[0], now[1] - then[1], now[2] - then[2]))
        _refresh_peers(run, clock, subjects[0].database, peers)
    for _ in range(run.options.rounds - count):
        _refresh_peers(run, clock, subjects[0].database, peers)


def _used(clock: StatementClock, subject: Subject) -> tuple[float, DatabaseTime, float]:
    return time.perf_counter(), clock.of(EXPORTER_ROLE, subject.database.name), cpu_seconds(subject.product.pid)


def _refresh_peers(run: Run, clock: StatementClock, base: data.Database, peers: dict[str, Refreshes]) -> None:
    for name, refreshes in peers.items():
        if refreshes.peer is None:
            continue
        with run.progress.stage(PART, f"a refresh of {name}") as results:
            before = clock.of(refreshes.peer.role, base.name)
            try:
                seconds, text = refreshes.peer.refresh()
            except (NotMeasured, ChildError) as error:
                refreshes.peer, refreshes.why_not = None, str(error)
                results.append(f"failed: {error}")
                continue
            took = clock.of(refreshes.peer.role, base.name) - before
            results.append(f"{took.milliseconds:,.0f} ms of database time")
        if absent := missing(text):
            # A query that did not run took no time, so the earlier measurements of the peer do not count either.
            refreshes.peer, refreshes.why_not = None, f"did not show {', '.join(absent)}"
            refreshes.database_ms.clear()
            refreshes.seconds.clear()
            continue
        refreshes.database_ms.append(took.milliseconds)
        refreshes.seconds.append(seconds)


def _database_figures(
    run: Run, base: Subject, starts: Sequence[Start], peers: dict[str, Refreshes], unequal: Sequence[str]
) -> Iterator[Figure]:
    total = sum(window.seconds for window in base.windows)
    product = Figure(
        PART,
        "product: database time in 15 s",
        base.per_refresh(),
        "ms",
        note=f"everything its role ran in {total:.0f} s of steady running; samples are the windows",
        samples=tuple(window.database_ms for window in base.windows),
    )
    yield product
    fill_ms = statistics.median(start.database.milliseconds for start in starts)
    hourly = base.per_refresh() + fill_ms * REFRESH_SECONDS / 3600
    yield Figure(
        PART,
        "product: the same with a whole fill an hour",
        hourly,
        "ms",
        note=f"a first pass ({fill_ms:,.0f} ms of database time) spread over an hour: the most an hourly resync adds",
    )
    figures = [
        Figure.median(PART, f"{name}: database time of a refresh", each.database_ms, "ms", note=each.why_not)
        for name, each in peers.items()
    ]
    yield from figures
    measured = [figure for figure in figures if figure.value is not None]
    best = min(measured, key=lambda figure: figure.value or math.inf, default=None)
    note = f"against {best.name.partition(':')[0]}" if best else "no peer was measured"
    if unequal:
        note += f"; UNFAIR: the peers' SQL answers otherwise in {len(unequal)} samples, as {unequal[0]}"
    else:
        note += f"; the peers' {len(QUERIES)} queries answer as the definitions do, to the last digit"
    below = best or Figure(PART, "best peer", None, "ms", note="no peer was measured")
    yield ratio(PART, "best peer / product, database time", below, product, at_least(500), note)


def _history_figures(
    base: Subject, history: Subject | None, memory: dict[str, tuple[float, float]], note: str
) -> Iterator[Figure]:
    name = "ten times the history / base, database time"
    if history is None:
        yield Figure(PART, name, None, "times", at_most(1.05), note)
        return
    if not all(window.database.milliseconds for subject in (base, history) for window in subject.windows):
        yield Figure(PART, name, None, "times", at_most(1.05), "a window without a refresh: --steady is too short")
        return
    yield Figure(
        PART,
        "product: database time in 15 s, ten times the history",
        history.per_refresh(),
        "ms",
        samples=tuple(window.database_ms for window in history.windows),
    )
    yield Figure(
        PART,
        name,
        history.per_refresh() / base.per_refresh(),
        "times",
        at_most(1.05),
        "both at the same time; samples are the windows, their spread is the noise",
        tuple(long.database_ms / short.database_ms for long, short in zip(history.windows, base.windows, strict=True)),
    )
    yield Figure(PART, "product: resident memory, ten times the history", memory["history"][0], "MB")


def _start_figures(starts: Sequence[Start], peers: dict[str, Refreshes]) -> Iterator[Figure]:
    yield Figure.median(
        PART, "start to all that needs no history", [start.immediate for start in starts], "s", at_most(3)
    )
    full = Figure.median(PART, "start to the first full metrics", [start.full for start in starts], "s")
    yield full
    yield Figure.median(PART, "start to the page's tables and charts", [start.page for start in starts], "s")
    naive = min((statistics.median(each.seconds) for each in peers.values() if each.seconds), default=None)
    peer = Figure(
        PART, "one naive refresh by the clock", naive, "s", note="the quickest peer's" if naive else "no peer"
    )
    yield peer
    yield ratio(PART, "start / naive refresh", full, peer, at_most(1), "the start has Python's own in it")


def _process_figures(
    run: Run, subjects: dict[str, Subject], memory: dict[str, tuple[float, float]]
) -> Iterator[Figure]:
    options = run.options
    windows = subjects["active"].windows
    yield Figure(
        PART,
        f"CPU time of the process in 15 s, {options.active_users:,} users active in a day",
        sum(window.cpu_ms * window.seconds for window in windows) / sum(window.seconds for window in windows),
        "ms",
        at_most(50),
        "all it does, user and system: every collector's refresh, Redis, logs, rendering, the event loop",
        tuple(window.cpu_ms for window in windows),
    )
    now, peak = memory["base"]
    what = f"{options.users:,} users and {options.size:,} events"
    yield Figure(PART, f"resident memory at {what}", now, "MB", at_most(150))
    yield Figure(PART, f"the most resident memory since the start, {what}", peak, "MB", at_most(150))
    many, many_peak = memory["users"]
    a_user = (many - now) * 1e6 / max(1, options.many_users - options.users)
    yield Figure(
        PART, f"resident memory at {options.many_users:,} users", many, "MB", note=f"{a_user:.0f} bytes a user more"
    )
    yield Figure(PART, f"the most resident memory since the start, {options.many_users:,} users", many_peak, "MB")
