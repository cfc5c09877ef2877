"""A soak: load and clients from the first second to the last, a fault in each interval, the checks at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from demo.rolling_up import Rollup
from faults.run import FAILURES, Strike, check_values, one_line
from faults.scene import Scene
from faults.subject import StruckExporter
from faults.table import Fault
from faults.watch import Watch, is_failing
from servers.bound import Bound
from soak.clients import ClientReport, Clients, Crowd
from soak.load import Load
from soak.plan import Stroke, make_plan
from soak.sampling import QUANTITIES, Quantity, Sampler
from soak.trends import Trend, fit, warm_up

REFRESH_SECONDS = 3.0
ROLLUP_EVERY = "5m"
POLL_SECONDS = 0.2
WELL_SECONDS = 120.0
"""Bound of the wait for a state of rest, on a quiet machine: a first pass, or the recovery at the end."""


@dataclass(frozen=True, slots=True)
class Options:
    """The size of a soak. Rates are per second; `every` is the interval of the faults (seconds); `quick` makes faults
    small and keeps PostgreSQL's files in memory."""

    hours: float
    seed: int
    rows: float
    lines: float
    scrapers: int
    pages: int
    every: float
    quick: bool

    @property
    def seconds(self) -> float:
        """The duration without the checks at the end."""
        return self.hours * 3600


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was struck; times in seconds, None where there was nothing to measure."""

    stroke: Stroke
    at: float
    degraded_after: float | None
    recovered_after: float | None
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a soak. `rows`, `lines`: the numbers that were reached. `wrong`: the broken promises beside those
    of single faults."""

    seconds: float
    rows: int
    lines: int
    rotations: int
    struck: tuple[Struck, ...]
    trends: Mapping[Quantity, Trend]
    answered: int
    tally: ClientReport
    wrong: tuple[str, ...]
    versions: str

    @property
    def broken(self) -> list[str]:
        """All broken promises."""
        of_faults = [f"{each.stroke.fault.name}: {problem}" for each in self.struck for problem in each.wrong]
        return [*of_faults, *self.wrong]


def open_scene(directory: Path, options: Options) -> Scene:
    """Return the scene of a soak, without new users: the exporter keeps more memory for more users."""
    return Scene(directory, seed=options.seed, quick=options.quick, in_memory=options.quick, new_users=False)


def run(
    scene: Scene, options: Options, table: Mapping[str, Fault], note: Callable[[Struck], None] = lambda _: None
) -> Result:
    """Run a soak; `note` gets each fault that was struck."""
    with scene.struck(scene.new_exporter(refresh_seconds=REFRESH_SECONDS)) as exporter:
        return _Soak(scene, exporter, options, table, note).run()


class _Soak:
    def __init__(
        self,
        scene: Scene,
        exporter: StruckExporter,
        options: Options,
        table: Mapping[str, Fault],
        note: Callable[[Struck], None],
    ) -> None:
        self._scene, self._exporter, self._options, self._note = scene, exporter, options, note
        self._plan = make_plan(table.values(), seconds=options.seconds, every=options.every, seed=options.seed)
        self._struck: list[Struck] = []
        self._wrong: list[str] = []
        self._watch = Watch(exporter.url, scene.control.url, scene.gauges)
        self._rollup = _rollup(scene, exporter)
        self._clients = Clients(
            exporter.directory / "clients",
            Crowd(
                exporter.url,
                exporter.page,
                exporter.environment["HIVESYNC_ADMIN_API_KEY"],
                options.scrapers,
                options.pages,
                options.seed,
            ),
        )
        self._load = Load(
            scene.owner_url, exporter.writer, rows_per_second=options.rows, lines_per_second=options.lines
        )

    def run(self) -> Result:
        scene, exporter, watch = self._scene, self._exporter, self._watch
        process = exporter.pid
        with watch:
            self._rest("at the start")
            exporter.wait_for_page()
            lines = _lines(exporter)
            with ExitStack() as stack:
                stack.enter_context(self._rollup)
                stack.enter_context(self._clients)
                stack.enter_context(self._load)
                sampler = stack.enter_context(Sampler(scene, watch, rollup=lambda: self._rollup.pid))
                self._strike(sampler)
                seconds, lines = sampler.seconds, _lines(exporter) - lines
                if not self._rollup.is_alive:
                    self._wrong.append("the roll-up ended")
                if not self._clients.is_alive:
                    self._wrong.append("the clients ended")
            self._check()
            if not exporter.is_alive or exporter.pid != process:
                self._wrong.append("the exporter ended")
        return Result(
            seconds,
            self._load.rows,
            lines,
            self._load.rotations,
            tuple(self._struck),
            fit_all(sampler, seconds),
            len(watch.exporter.seconds),
            self._clients.tally(),
            tuple(self._wrong + self._of_answers()),
            scene.versions(),
        )

    def _strike(self, sampler: Sampler) -> None:
        """Strike with every fault of the plan, and wait until the end."""
        for stroke in self._plan:
            self._wait_until(sampler, stroke.at)
            if sampler.seconds > self._options.seconds or not self._exporter.is_alive:
                break
            at, logged = sampler.seconds, self._exporter.log.stat().st_size
            strike = Strike(self._scene, (stroke.fault,), stroke.hold)
            strike.act(self._watch)
            strike.check_events(self._exporter, logged)
            struck = Struck(stroke, at, strike.degraded_after, strike.recovered_after, tuple(strike.wrong))
            self._struck.append(struck)
            self._note(struck)
        self._wait_until(sampler, self._options.seconds)

    def _wait_until(self, sampler: Sampler, second: float) -> None:
        while sampler.seconds < second and self._exporter.is_alive:
            time.sleep(POLL_SECONDS)

    def _check(self) -> None:
        """Wait for the recovery, and look for losses."""
        try:
            self._rest("at the end")
            wrong, _ = check_values(self._scene, self._exporter)
            self._wrong += wrong
        except FAILURES as error:
            self._wrong.append(one_line(error))

    def _rest(self, when: str) -> None:
        bound = Bound(WELL_SECONDS)
        while not self._scene.is_well(samples := self._exporter.answer() or {}):
            if bound.is_reached() or not self._exporter.is_alive:
                self._wrong.append(f"not everything up {when}: {', '.join(is_failing(samples)) or 'no answer'}")
                return
            time.sleep(POLL_SECONDS)

    def _of_answers(self) -> list[str]:
        tally, missing = self._clients.tally(), self._watch.exporter.missing
        wanted = {"scrape": self._options.scrapers, "page": self._options.pages}
        found = [*self._watch.wrong, *tally.wrong]
        found += [
            f"{kind}: no answer at all" for kind, number in wanted.items() if number and not tally.answered.get(kind)
        ]
        found += ["no row was inserted"] if not self._load.rows else []
        found += [f"{kind}: {number} requests without an answer" for kind, number in tally.missing.items()]
        return [*found, f"{missing} requests without an answer"] if missing else found


def fit_all(sampler: Sampler, seconds: float) -> dict[Quantity, Trend]:
    """Return the trend of every quantity after the warm-up."""
    begin, trends = warm_up(seconds), {}
    for quantity in QUANTITIES:
        times, values = sampler.samples[quantity]
        level = sorted(values)[len(values) // 2] if values else 0.0
        least = max(quantity.least, quantity.least_share * level)
        trends[quantity] = fit(times, values, begin=begin, end=max(seconds, begin), least=least)
    return trends


def _rollup(scene: Scene, exporter: StruckExporter) -> Rollup:
    """Return the roll-up behind the proxy, in the role of the tables' owner: some faults create tables again."""
    variables = {name: value for name, value in exporter.environment.items() if name.startswith("HIVESYNC_")}
    owner = make_conninfo(scene.owner_url, port=scene.database.port)
    return Rollup(
        exporter.directory / "roll-up",
        owner_url=owner,
        variables=variables | {"HIVESYNC_ROLLUP_DATABASE_URL": owner},
        every=ROLLUP_EVERY,
    )


def _lines(exporter: StruckExporter) -> int:
    return sum(events.total() for events in exporter.writer.events.values())
