"""A run of faults: strike, wait until the exporter shows it, wait until it is over, and look for what was lost.

Times are judged against the machine: a wait ends at a bound that grows with its load, and the exporter's answers are
compared with those of the control in the same seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from subprocess import SubprocessError

import psycopg
import redis

from exporter.collectors.queues import DEPTH
from faults.scene import Scene
from faults.subject import StruckExporter, is_as_expected
from faults.table import Fault, NotHeld
from faults.traffic import QUEUES
from faults.watch import Samples, Watch, is_failing
from servers.bound import Bound
from servers.child import ChildError

NOTICED_SECONDS = 30.0
RECOVERED_SECONDS = 30.0
"""Bounds on a quiet machine that only a broken promise reaches."""

HOLD_SECONDS, QUICK_HOLD_SECONDS = 2.0, 0.5
"""Time for which a fault goes on once it is shown."""

FAILURES = (NotHeld, ChildError, psycopg.Error, redis.RedisError, OSError, SubprocessError)
"""The failures of a fault, or of a check, that are findings."""

POLL_SECONDS = 0.05
MOST_CONNECTIONS = 3

SLOWER_TYPICALLY, SLOWER_AT_WORST = 10.0, 50.0
"""Multiples of the control's median and slowest answers."""

TRANSIENT = {"timeout", "statement_timeout", "lock_not_available", "table_rewritten"}
"""Kinds of failure that a busy machine has without any fault, and those of moments of a migration."""


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one fault, or of several at once. Times are in seconds; None where there was nothing to measure."""

    name: str
    strikes: str
    answered: int = 0
    missing: int = 0
    typical: float = 0.0
    slowest: float = 0.0
    control_typical: float = 0.0
    control_slowest: float = 0.0
    degraded_after: float | None = None
    recovered_after: float | None = None
    wrong: tuple[str, ...] = ()
    connections: int | None = None
    obstacle: str = ""

    @property
    def verdict(self) -> str:
        """`held`, `NOT HELD`, or the reason why it was not tried."""
        if self.obstacle:
            return f"not tried: {self.obstacle}"
        return "NOT HELD" if self.wrong else "held"


def choose_pairs(faults: Sequence[Fault], scene: Scene, number: int) -> list[tuple[Fault, Fault]]:
    """Return that many random pairs of faults that strike different systems."""
    able = [each for each in faults if each.can_pair and not each.obstacle()]
    pairs = [pair for pair in combinations(able, 2) if pair[0].strikes != pair[1].strikes]
    return scene.random.sample(pairs, min(number, len(pairs)))


def strike(scene: Scene, *faults: Fault) -> Row:
    """Strike with all faults at once, and return the result."""
    name, strikes = " + ".join(each.name for each in faults), ", ".join(each.strikes for each in faults)
    if obstacle := "; ".join(filter(None, (each.obstacle() for each in faults))):
        return Row(name, strikes, obstacle=obstacle)
    strike = Strike(scene, faults)
    try:
        own = faults[0].own
        with scene.struck(None if own is None else own(scene)) as exporter:
            strike.run(exporter)
    except FAILURES as error:
        strike.wrong.append(one_line(error))
    if strike.wrong:
        scene.renew()
    watch = strike.watch
    if watch is None:
        return Row(name, strikes, wrong=tuple(strike.wrong))
    exporter_answers, control = watch.exporter, watch.control
    return Row(
        name,
        strikes,
        len(exporter_answers.seconds),
        exporter_answers.missing,
        exporter_answers.typical,
        exporter_answers.slowest,
        control.typical,
        control.slowest,
        strike.degraded_after,
        strike.recovered_after,
        tuple(strike.wrong),
        strike.connections,
    )


class Strike:
    """One run of one or more faults. `run` checks everything; `act` is its part between two states of rest."""

    def __init__(self, scene: Scene, faults: Sequence[Fault], hold_seconds: float | None = None) -> None:
        """`hold_seconds`: the time for which the faults go on once they are shown."""
        self._scene, self._faults = scene, faults
        usual = QUICK_HOLD_SECONDS if scene.quick else HOLD_SECONDS
        self._hold = usual if hold_seconds is None else hold_seconds
        self.down = frozenset[str]().union(*(each.down for each in faults))
        self.failing = frozenset[str]().union(*(each.failing for each in faults))
        self.said_of = frozenset[str]().union(*(each.said_of for each in faults))
        self.may_degrade = any(each.may_degrade for each in faults)
        self.silent = any(each.silent for each in faults)
        self.watch: Watch | None = None
        self.wrong: list[str] = []
        self.degraded_after: float | None = None
        self.recovered_after: float | None = None
        self.connections: int | None = None

    def run(self, exporter: StruckExporter) -> None:
        """Strike, and check everything."""
        scene = self._scene
        with Watch(exporter.url, scene.control.url, scene.gauges, restarts=self.silent) as watch:
            self._until(watch, scene.is_well, "everything up before the fault", RECOVERED_SECONDS)
            self.watch = watch
            logged = exporter.log.stat().st_size
            process = exporter.pid
            if self.act(watch):
                with self._noted():
                    wrong, self.connections = check_values(scene, exporter)
                    self.wrong += wrong
            if not self.silent and (not exporter.is_alive or exporter.pid != process):
                self.wrong.append("the exporter ended")
        self.wrong += watch.wrong
        self._check_answers(watch)
        self.check_events(exporter, logged)

    def act(self, watch: Watch) -> bool:
        """Strike, wait until the faults are shown, end them, and wait until everything is up. Return whether it is."""
        watch.degraded_at = None
        with self._noted(), ExitStack() as acts:
            struck = time.monotonic()
            for fault in self._faults:
                acts.enter_context(fault.act(self._scene))
            self._while_it_lasts(watch)
            if watch.degraded_at is not None:
                self.degraded_after = max(0.0, watch.degraded_at - struck)
        with self._noted():
            ended = time.monotonic()
            self._until(watch, self._scene.is_well, "everything up after the fault", RECOVERED_SECONDS, ended)
            self.recovered_after = time.monotonic() - ended
        return self.recovered_after is not None

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note a failure, and go on: the fault has to be ended, and the rest checked."""
        try:
            yield
        except FAILURES as error:
            self.wrong.append(one_line(error))

    def _while_it_lasts(self, watch: Watch) -> None:
        def is_shown(samples: Samples) -> bool:
            return is_as_expected(samples, self.down, self.failing, self._scene.readers)

        if not self.may_degrade and not self.silent:
            what = f"down {_names(self.down)}, failing {_names(self.failing)}, and nothing else"
            self._until(watch, is_shown, what, NOTICED_SECONDS, time.monotonic())
        time.sleep(self._hold)
        if not self.may_degrade and not self.silent:
            self._until(watch, is_shown, f"still {what}", NOTICED_SECONDS, time.monotonic())

    def _until(
        self, watch: Watch, condition: Callable[[Samples], bool], what: str, within: float, since: float = 0.0
    ) -> None:
        scene, bound = self._scene, Bound(within)
        while True:
            latest = watch.latest
            if latest is not None and latest[0] >= since and condition(latest[1]):
                return
            if not self.silent and not scene.exporter.is_alive:
                raise NotHeld("the exporter ended")
            if bound.is_reached():
                failing = ", ".join(is_failing(latest[1])) if latest is not None else "no answer"
                raise NotHeld(f"not within {bound.seconds:.0f} s: {what}; failing: {failing or 'nothing'}")
            time.sleep(POLL_SECONDS)

    def _check_answers(self, watch: Watch) -> None:
        exporter, control = watch.exporter, watch.control
        if self.silent:
            return
        if exporter.missing:
            self.wrong.append(f"{exporter.missing} requests without an answer")
        if exporter.typical > SLOWER_TYPICALLY * control.typical:
            self.wrong.append(f"answers {exporter.typical / control.typical:.0f} times as slow as the control's")
        if exporter.slowest > SLOWER_AT_WORST * control.slowest:
            self.wrong.append(f"slowest answer {exporter.slowest / control.slowest:.0f} times the control's")

    def check_events(self, exporter: StruckExporter, since: int) -> None:
        """Look for events of failures that this fault does not explain."""
        readers = self._scene.readers
        if self.may_degrade or self.silent:
            return
        for event in exporter.events(since):
            if event["event"] != "system.analytics.degraded" or event.get("kind") in TRANSIENT:
                continue
            collector = event.get("collector", "")
            concerned = self.down & ({event.get("source", "")} | set(readers.get(collector, ())))
            if not concerned and collector not in self.failing | self.said_of:
                self.wrong.append(f"{collector or event.get('source')} was degraded: {event.get('kind')}")


def check_values(scene: Scene, exporter: StruckExporter) -> tuple[list[str], int]:
    """Compare PostgreSQL's values with plain SQL, those of Redis with Redis, those of logs with the lines. Return the
    differences, and the number of connections to PostgreSQL."""
    problems = [exporter.wait_until_counted(), exporter.verify(), _wait_for_queues(scene, exporter)]
    connections = scene.connections()
    if connections > MOST_CONNECTIONS:
        problems.append(f"{connections} connections in PostgreSQL")
    return [problem for problem in problems if problem], connections


def _wait_for_queues(scene: Scene, exporter: StruckExporter) -> str:
    differing, bound = {"": ""}, Bound(20)
    with scene.traffic.redis_paused(), scene.redis() as client:
        expected = {_depth(queue): client.llen(queue) for queue in QUEUES if client.exists(queue)}
        while differing and not bound.is_reached():
            time.sleep(POLL_SECONDS)
            samples = exporter.answer() or {}
            differing = {
                name: f"{name} is {samples.get(name)}, not {length}"
                for name, length in expected.items()
                if samples.get(name) != length
            }
    return "; ".join(differing.values())


def _depth(key: str) -> str:
    queue, _, name = key.partition("_queue:")
    return f'{DEPTH.name}{{name="{name}",queue="{queue}"}}'


def _names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def one_line(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).partition("\n")[0] or type(error).__name__
