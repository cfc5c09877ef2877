"""Both ports of the exporter on a thread of this process, without sources, and a stand-in for Grafana behind one.

targets/http_requests -> serving (this) -> exporter.httpd, exporter.web, admin
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvloop
from starlette.types import ASGIApp

from admin import site
from admin.app import AnalyticsSection
from exporter import web
from exporter.collectors import build_collectors
from exporter.exposition import render
from exporter.httpd.server import serve
from exporter.settings import read_environment
from exporter.state import StateFile
from exporter.view import CollectorView, SourceView, View
from servers.ports import LOOPBACK

API_KEY = "the key of an admin, long enough to be one"
START_SECONDS = 60

Address = tuple[str, int]


@dataclass
class Ports:
    """The running ports, the faults of their event loop and applications, and the requests that reached Grafana."""

    metrics: Address
    admin: Address
    faults: list[str] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)
    """Method and target of each."""


@contextmanager
def both_ports(directory: Path) -> Iterator[Ports]:
    """Serve both ports for the duration of the context."""
    listeners = [socket.create_server((LOOPBACK, 0)) for _ in range(2)]
    ports = Ports(*(listener.getsockname() for listener in listeners))
    with _grafana(ports) as grafana, _faults_of_applications(ports):
        settings = read_environment(
            database_url="postgresql://u@127.0.0.1/d",
            redis_url="redis://127.0.0.1",
            admin_api_key=API_KEY,
            grafana_url=grafana,
            state_dir=directory,
        )
        collectors = build_collectors(settings, lambda name: StateFile(directory, name))
        view = View(
            tuple(CollectorView(c.name, c.sources, c.specs, 15, True, None, None, ()) for c in collectors),
            (),
            tuple(SourceView(name, None, None, None) for name in ("postgres", "redis", "ai_events_log", "preview_log")),
        )
        section = AnalyticsSection(settings, directory, lambda: view)
        exposition = render(view)
        apps = [web.build_site(lambda: exposition, lambda: True), site.build_site(section.app)]
        with _served(apps, listeners, ports):
            yield ports


@contextmanager
def _served(apps: list[ASGIApp], listeners: list[socket.socket], ports: Ports) -> Iterator[None]:
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: ports.faults.append(repr(context)))
        metrics, admin = (
            asyncio.ensure_future(serve(app, listener, name, body_limit=limit, trusted_proxies=(LOOPBACK,)))
            for app, listener, name, limit in zip(
                apps, listeners, ("metrics", "admin"), (lambda _: 65_536, site.body_limit), strict=True
            )
        )
        work = asyncio.gather(metrics, admin)
        running.append((loop, work))
        started.set()
        with suppress(asyncio.CancelledError):
            await work

    thread = threading.Thread(target=lambda: uvloop.run(run()), daemon=True)
    thread.start()
    assert started.wait(START_SECONDS)
    try:
        yield
    finally:
        loop, work = running[0]
        loop.call_soon_threadsafe(work.cancel)
        thread.join(START_SECONDS)
        for listener in listeners:
            listener.close()


@contextmanager
def _grafana(ports: Ports) -> Iterator[str]:
    """A server that notes each request and answers with 200."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            ports.passed.append((self.command, self.path))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.flush()
            with suppress(OSError):  # the body, in any form, is read to its end: a close before that would reset
                self.connection.shutdown(socket.SHUT_WR)
                while self.connection.recv(65_536):
                    pass

        do_GET = do_POST = do_HEAD = answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - its name in http.server
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def _faults_of_applications(ports: Ports) -> Iterator[None]:
    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ports.faults.append(record.getMessage()[:500])

    handler = Noting(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
