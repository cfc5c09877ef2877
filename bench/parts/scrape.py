"""The rate and the latency of requests for /metrics, at rest and under full load."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

from bench.command import debian_version, installed, run
from bench.figures import Figure, at_least, at_most, ratio
from bench.measure import Load, NotMeasured, read_wrk
from bench.peers.http import Nginx, PageServer, PrometheusClient
from bench.product import FIRST_PASS_SECONDS, Product, all_up
from bench.run import Run
from demo.database import EXPORTER_ROLE
from servers.child import ChildError
from servers.fetch import fetch

PART = "scrape"
CLIENTS = 16
TIMES_PROMETHEUS_CLIENT = 50.0
P99_MS = 5.0

BUSY_REFRESH_SECONDS = 1.0
APPEND_SECONDS = 0.25
APPEND_BYTES = 16 * 1024 * 1024
"""Bytes appended to a log per APPEND_SECONDS: too many for a reader with a long backlog to reach the end during the
test."""

UNREAD = 'hivesync_log_unread_bytes{log="ai-events"}'


def measure(bench: Run) -> Sequence[Figure]:
    """Measure with wrk the product and its peers, in turn; then a product under full load."""
    wrk = installed("wrk", "wrk")
    bench.versions["wrk"] = debian_version("wrk")
    database_url = bench.small_database.url_as(EXPORTER_ROLE)
    loads: dict[str, list[Load]] = {name: [] for name in ("product", "product, gzip", "prometheus_client", "nginx")}
    notes: dict[str, str] = {}
    with ExitStack() as stack:
        product = stack.enter_context(
            Product(bench.directory / "product-scrape", database_url=database_url, redis_url=bench.quiet_valkey.url)
        )
        with bench.progress.stage(PART, "start"):
            product.wait_for(all_up, "all collectors up", FIRST_PASS_SECONDS)
        page = product.metrics()
        notes["product"] = _content(page)
        servers: dict[str, PageServer] = {}
        for kind in (PrometheusClient, Nginx):
            try:
                server = kind(bench.directory / kind.name, page)
                servers[kind.name] = stack.enter_context(server)
                notes[kind.name] = "static bytes: the limit" if kind is Nginx else _content(_page_of(server))
                if isinstance(server, Nginx):
                    bench.versions[kind.name] = server.version
            except (NotMeasured, ChildError) as error:
                notes[kind.name] = str(error)
        for number in range(bench.options.rounds):
            with bench.progress.stage(PART, f"round {number + 1} of {bench.options.rounds}"):
                for name, url in {"product": product.url, **{name: each.url for name, each in servers.items()}}.items():
                    loads[name].append(_load(bench, wrk, url))
                loads["product, gzip"].append(_load(bench, wrk, product.url, "Accept-Encoding: gzip"))
        bench.verify(PART, "after the load", product)
    busy, busy_note = _busy(bench, wrk, database_url)
    return [*_figures(loads, notes), *_busy_figures(busy, busy_note), _failed({**loads, "product, busy": busy})]


def _load(bench: Run, wrk: str, url: str, *headers: str) -> Load:
    seconds = max(1, round(bench.options.load_seconds))
    options = ["-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--latency", *(word for h in headers for word in ("-H", h))]
    return read_wrk(run([wrk, *options, f"{url}/metrics"], within=seconds + 60).stdout)


def _busy(bench: Run, wrk: str, database_url: str) -> tuple[list[Load], str]:
    """Measure with wrk during continuous refreshes, a log backlog and a pass over a big Redis."""
    loads, unread = [], []
    for number in range(bench.options.rounds):
        logs = bench.directory / f"busy-logs-{number}"
        logs.mkdir()
        shutil.copyfile(bench.log.path, logs / bench.log.path.name)
        product = Product(
            bench.directory / f"product-busy-{number}",
            database_url=database_url,
            redis_url=bench.valkey.url,
            logs=logs,
            refresh_seconds=BUSY_REFRESH_SECONDS,
        )
        with (
            bench.progress.stage(PART, f"all at once, {number + 1} of {bench.options.rounds}"),
            product,
            _growing(bench.log.path, logs / bench.log.path.name),
        ):
            product.wait_for_page()
            loads.append(_load(bench, wrk, product.url))
            unread.append(product.samples().get(UNREAD, 0.0))
        shutil.rmtree(logs)
    note = (
        f"refreshing every {BUSY_REFRESH_SECONDS:g} s, nearly from its start on,"
        f" {bench.options.web_sockets:,} WebSockets in"
        f" Redis, at least {min(unread) / 1e6:,.0f} MB of log unread at the end"
    )
    return loads, note


@contextmanager
def _growing(source: Path, log: Path) -> Iterator[None]:
    """Append to a log during the body, a piece of another log at a time."""
    stop = Event()

    def append() -> None:
        with source.open("rb") as lines, log.open("ab") as file:
            piece = lines.read(APPEND_BYTES)
            piece = piece[: piece.rfind(b"\n") + 1]
            while not stop.wait(APPEND_SECONDS):
                file.write(piece)
                file.flush()

    writer = Thread(target=append, daemon=True)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def _figures(loads: dict[str, list[Load]], notes: dict[str, str]) -> Iterator[Figure]:
    speeds = {
        name: Figure.median(
            PART, name, [load.requests_per_second for load in each], "requests/s", note=notes.get(name, "")
        )
        for name, each in loads.items()
    }
    yield from speeds.values()
    yield ratio(
        PART,
        "product / prometheus_client",
        speeds["product"],
        speeds["prometheus_client"],
        at_least(TIMES_PROMETHEUS_CLIENT),
    )
    yield ratio(PART, "product / nginx", speeds["product"], speeds["nginx"])
    for name, each in loads.items():
        if each:
            target = at_most(P99_MS) if name == "product" else None
            yield Figure.median(PART, f"{name}: p50", [load.p50_ms for load in each], "ms")
            yield Figure.median(PART, f"{name}: p99", [load.p99_ms for load in each], "ms", target)


def _busy_figures(busy: Sequence[Load], note: str) -> Iterator[Figure]:
    yield Figure.median(PART, "product, busy", [load.requests_per_second for load in busy], "requests/s", note=note)
    yield Figure.median(PART, "product, busy: p50", [load.p50_ms for load in busy], "ms")
    yield Figure.median(PART, "product, busy: p99", [load.p99_ms for load in busy], "ms", at_most(P99_MS))


def _failed(loads: dict[str, list[Load]]) -> Figure:
    failed = {name: sum(load.errors for load in each) for name, each in loads.items()}
    others = ", ".join(f"{name} {failed[name]:,}" for name in failed if not name.startswith("product"))
    ours = sum(number for name, number in failed.items() if name.startswith("product"))
    return Figure(PART, "product: requests that failed", ours, "", at_most(0), f"beside it: {others}")


def _page_of(server: PageServer) -> str:
    return fetch(f"{server.url}/metrics")[1]


def _content(page: str) -> str:
    series = sum(1 for line in page.splitlines() if line and not line.startswith("#"))
    return f"{series} series, {len(page.encode()) / 1000:.1f} kB"
