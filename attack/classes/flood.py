"""Thousands of idle connections and endless headers at both ports, and a scrape in the middle of it.

The scrape is compared with controls: the same scrape before the flood, on the same machine in the same state.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

from attack.classes.framing import OPEN_PATH, filled
from attack.classes.limits import START
from attack.findings import Attack, Finding, judged
from attack.target import Instance
from attack.wire import ANSWER_SECONDS, BoundReachedError, Budget, Connection, Port, Reply, ask, request

SUBJECT = "flood"
CONTROLS = 5
SCRAPES = 20
SECONDS = 1.0
TIMES = 5
"""A scrape may take SECONDS and so many times the slowest control, which is that of a busy machine."""

OWN_DESCRIPTORS = 200


def _raised(most: int) -> int:
    """The connections per port that this process may open, up to `most`."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    wanted = 2 * most + OWN_DESCRIPTORS
    if soft != RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == RLIM_INFINITY else min(wanted, hard)
        setrlimit(RLIMIT_NOFILE, (soft, hard))
    return most if soft == RLIM_INFINITY else min(most, (soft - OWN_DESCRIPTORS) // 2)


def scrapes(host: str, number: int, tls: bool, authority: str, count: int, patience: float) -> list[tuple[float, bool]]:
    """Seconds of each scrape, on a connection of its own, and whether it was answered; the first without an answer is
    the last."""
    port = Port("metrics", host, number, tls, Budget(), authority)
    found = []
    for _ in range(count):
        started = time.monotonic()
        answer = _asked(port, patience)
        found.append((time.monotonic() - started, answer is not None and answer.status in (200, 401)))
        if answer is None:
            break
    return found


def _asked(port: Port, patience: float) -> Reply | None:
    try:
        with Connection(port, seconds=patience) as connection:
            connection.send(request(port, "/metrics"))
            return connection.answer()
    except OSError:
        return None


class _Endless:
    """A thread that sends an endless header, and begins again when it is disconnected."""

    def __init__(self, target: Instance, port: Port) -> None:
        self._target, self._port = target, port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        begin, block = filled(self._port, START) + b"X: ", b"x" * 65_536
        while not self._stop.wait(0.01):
            try:
                with Connection(self._port, self._target.source(), seconds=1.0) as connection:
                    connection.send(begin)
                    while not self._stop.is_set() and connection.send(block):
                        pass
            except OSError:
                continue
            except BoundReachedError:
                return


def _flood(target: Instance) -> Finding:
    """The scrapes come from a process of their own, which the threads of the flood do not delay."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as scraper:
        return _measured(
            target, lambda count, patience: scraper.submit(scrapes, *_place(target.metrics), count, patience).result()
        )


def _place(port: Port) -> tuple[str, int, bool, str]:
    return port.host, port.number, port.tls, port.authority


def _measured(target: Instance, scrape: Callable[[int, float], list[tuple[float, bool]]]) -> Finding:
    controls = [seconds for seconds, _ in scrape(CONTROLS, ANSWER_SECONDS)]
    allowed = SECONDS + TIMES * max(controls)
    count = _raised(target.connections)
    idle: list[socket.socket] = []
    try:
        with ExitStack() as stack:
            for port in target.ports:
                stack.enter_context(_Endless(target, port))
            for number in range(count * 2):
                idle.append(_idle(target.ports[number % 2]))  # noqa: PERF401 - what is open is closed below
            scraped = scrape(SCRAPES, 2 * allowed)
            answers_all = all(is_answered for _, is_answered in scraped)
            others = [ask(port, OPEN_PATH[port.name]) for port in target.ports] if answers_all else [None]
    finally:
        for one in idle:
            one.close()
    worst = max(seconds for seconds, _ in scraped)
    answered = sum(is_answered for _, is_answered in scraped)
    before = max(controls) * 1000
    text = f"{answered} of {SCRAPES}, slowest {worst * 1000:.0f} ms (before {before:.0f} ms), {count:,} idle"
    is_open = all(answer is not None and answer.status in (200, 401) for answer in others)
    return judged(answered == SCRAPES and worst <= allowed and is_open, text)


def _idle(port: Port) -> socket.socket:
    """An open connection that sends nothing; one that the port does not take is one too."""
    port.budget.spend(connections=1)
    made = socket.socket(socket.AF_INET6 if ":" in port.host else socket.AF_INET)
    made.setblocking(False)
    made.connect_ex((port.host, port.number))
    return made


ATTACKS = [Attack(SUBJECT, "scrapes amid idle connections and endless headers", _flood)]
