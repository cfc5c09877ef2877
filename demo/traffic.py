"""The live traffic: the events of the made-up HiveSync during the demo, tick by tick, in a thread of its own.

Faster traffic is the same traffic in less time: at speed 10 a minute's arrivals, and the end of a job that takes a
minute, come within six seconds. Times that other programs measure by the clock keep their speed: heartbeats, expiries
and silences.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event, Thread

from demo import world
from demo.backend import AWAY, Backend
from demo.jobs import JobLedger
from demo.people import People
from demo.workers import WorkerPool

TICK_SECONDS = 0.1
BEAT_SECONDS = 10.0
RETRY_SECONDS = 1.0
DAY_SECONDS = 86_400

USERS_A_SLOT = 500  # per slot of a worker: with more users, each worker has more jobs at a time
LONGEST_QUEUE = 20  # per slot
BETWEEN_BURSTS_SECONDS = 720.0
LONGEST_TICK_SECONDS = 1.0  # after a pause the traffic continues without catching up


class Traffic:
    """Live traffic from `start()` to `stop()`; `note` gets a line when a server becomes unreachable or reachable
    again."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        log_directory: Path,
        *,
        seed: int,
        speed: float,
        note: Callable[[str], None],
    ) -> None:
        self._rng = Random(seed)
        self._backend = Backend(database_url, redis_url, log_directory, self._rng)
        self._speed = speed
        self._note = note
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="traffic", daemon=True)
        self._now = 0.0  # the traffic's own time, in seconds
        self._next_beat = 0.0
        self._next_burst = self._rng.uniform(20, 120)
        self._burst_ends = 0.0

    def start(self) -> None:
        """Continue the open sessions and jobs of the database, and start the traffic."""
        self._people = People(self._backend)
        slots = max(1, round(self._people.count / USERS_A_SLOT))
        self._jobs = JobLedger(self._backend, LONGEST_QUEUE * slots)
        self._workers = WorkerPool(self._backend, self._jobs, slots)
        self._people.find_visits(self._now)
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Stop the traffic; a statement that hangs in a stopped server is not waited for."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)
        if not self.is_alive:
            self._backend.close()

    @property
    def is_alive(self) -> bool:
        """True while the traffic runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        is_away = False
        before = time.monotonic()
        while not self._stopping.wait(RETRY_SECONDS if is_away else TICK_SECONDS):
            elapsed, before = time.monotonic() - before, time.monotonic()
            try:
                if is_away:
                    self._beat()
                self._tick(min(elapsed, LONGEST_TICK_SECONDS) * self._speed)
            except AWAY as error:
                if not is_away:
                    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                    self._note(f"traffic waits: {reason}")
                is_away = True
            else:
                if is_away:
                    self._note("traffic goes on")
                is_away = False

    def _tick(self, seconds: float) -> None:
        self._now += seconds
        self._people.leave(self._now)
        self._happen(seconds)
        self._workers.advance(self._now)
        if time.monotonic() >= self._next_beat:
            self._beat()

    def _beat(self) -> None:
        self._people.beat()
        self._jobs.recover(self._workers.running())
        self._workers.beat()
        self._next_beat = time.monotonic() + BEAT_SECONDS

    def _happen(self, seconds: float) -> None:
        """Run the users' events of these seconds of the traffic's time."""
        people, jobs, now = self._people, self._jobs, self._now
        usual = people.count * seconds / DAY_SECONDS * world.rhythm(time.time())
        in_bursts = people.count * seconds / DAY_SECONDS if self._is_burst() else 0.0
        ai_requests = (
            world.AI_REQUESTS_A_DAY * (1 - world.AI_REQUESTS_IN_BURSTS) * usual
            + world.BURST_AI_REQUESTS_A_DAY * in_bursts
        )
        expected: tuple[tuple[float, Callable[[], None]], ...] = (
            (world.LOGINS_A_DAY * usual, lambda: people.arrive("app", now)),
            (world.LIVE_VIEW_JOINS_A_DAY * usual, lambda: people.arrive("live_view", now)),
            (ai_requests, lambda: jobs.request("ai", people.requester())),
            (world.PREVIEWS_A_DAY * usual, lambda: jobs.request("preview", people.requester())),
            (world.SIGN_UPS_A_DAY * usual, people.sign_up),
            (world.PLAN_CHANGES_A_DAY * usual, people.change_plan),
        )
        for count, happens in expected:
            for _ in range(_poisson(self._rng, count)):
                happens()

    def _is_burst(self) -> bool:
        if self._now >= self._next_burst:
            self._burst_ends = self._now + self._rng.expovariate(1 / world.BURST_SECONDS)
            self._next_burst = self._burst_ends + self._rng.expovariate(1 / BETWEEN_BURSTS_SECONDS)
        return self._now < self._burst_ends


def _poisson(rng: Random, expected: float) -> int:
    """Draw the number of events from a Poisson distribution (Knuth's method; for small numbers)."""
    count, product, limit = 0, rng.random(), math.exp(-expected)
    while product > limit:
        product *= rng.random()
        count += 1
    return count
