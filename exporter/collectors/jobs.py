"""Jobs that wait or run, as PostgreSQL knows them (docs/definitions.md#waiting-job).

    hivesync_jobs{queue="ai",state="waiting"} 19.0
    hivesync_jobs{queue="ai",state="running"} 4.0
    hivesync_oldest_waiting_job_timestamp_seconds{queue="ai"} 1767139200.0

A partial index on each table (docs/operating.md#index-of-waiting-jobs) makes a reading cheap, however large the table.
Without it, PostgreSQL reads the table as a whole. PostgreSQL's planner estimates the cost of a reading before it: an
expensive reading is followed by a pause, so that it takes a hundredth of the time at most, also if it was cancelled at
its time limit. After a cheap and quick one the estimate holds for a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from exporter.collector import Sources
from exporter.columns import ENUM_LABELS, WORD, EnumType, enum_type, has_word
from exporter.definitions import word
from exporter.errors import CollectionFailed
from exporter.sources.postgres import STATEMENT_SECONDS, Row, Transaction
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import JOB_STATES, QUEUES
from exporter.windows import MINUTE, SECOND
from exporter.windows.sql import MICROSECONDS

TABLES = {"ai": "ai_usage_events", "preview": "preview_jobs"}

SHARE = 1 / 100
"""The largest share of the time that expensive readings of a table may take."""

CHEAP = 1_000.0
"""Cost, in PostgreSQL's unit of a page read in sequence, up to which a table is read at every refresh: about 30,000
rows read as a whole, or hundreds of waiting jobs found by an index."""

QUICK_SECONDS = 0.1
"""Duration of a reading up to which an estimate that it is cheap may be true."""

LONGEST_SHOWN = 5 * MINUTE
"""Age up to which a reading is shown: less than the alerts on it wait, so that none fires for one reading alone."""

_WHOLE = {"Seq Scan", "Foreign Scan"}

_LATE = (
    "Where no index fits, a large table is read as a whole, for a hundredth of the time at most: the value is then up"
    " to five minutes old, and absent until the next reading."
)


def _counted(queue: str, table: str) -> str:
    """Return SQL for a part of the definition."""
    return f"""
SELECT '{queue}', states.state, (SELECT count(*) FROM {table} WHERE {word("status")} = states.status)
FROM (VALUES ('waiting', 'queued'), ('running', 'running')) AS states(state, status)
"""


def _oldest(queue: str, table: str) -> str:
    """Return SQL for a part of the definition."""
    return f"""
SELECT '{queue}', oldest FROM (SELECT extract(epoch FROM min(created_at))::float8 AS oldest FROM {table}
                               WHERE {word("status")} = 'queued' AND isfinite(created_at)) AS waiting
WHERE oldest IS NOT NULL
"""


JOBS = MetricSpec(
    "hivesync_jobs",
    "gauge",
    f"Jobs that wait or run, now, as PostgreSQL knows them: with those fetched by a worker and not begun. {_LATE}",
    "PostgreSQL (ai_usage_events, preview_jobs: status)",
    (Label("queue", QUEUES), Label("state", tuple(JOB_STATES))),
    Definition(" UNION ALL ".join((_counted("ai", "ai_usage_events"), _counted("preview", "preview_jobs")))),
)
OLDEST = MetricSpec(
    "hivesync_oldest_waiting_job_timestamp_seconds",
    "gauge",
    f"Unix time at which the job that has waited longest was created; absent while none waits. {_LATE}",
    "PostgreSQL (ai_usage_events, preview_jobs: status, created_at)",
    (Label("queue", QUEUES),),
    Definition(" UNION ALL ".join((_oldest("ai", "ai_usage_events"), _oldest("preview", "preview_jobs")))),
)

_log = structlog.get_logger()


class Jobs:
    """The collector of waiting and running jobs, table by table."""

    name = "jobs"
    sources = ("postgres",)
    periods = 1
    specs = (JOBS, OLDEST)

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` measures the duration of a reading (seconds)."""
        self._tables = {queue: _Table(table, clock) for queue, table in TABLES.items()}
        self.behind = 0.0
        self.content: tuple[tuple[str, float], ...] = ()
        """The age of the oldest waiting job of each queue that has one (seconds of the database's clock)."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return the jobs of each queue by state, and the time of the oldest waiting job of each queue that has one."""
        async with sources.postgres.transaction() as transaction:
            for table in self._tables.values():
                await table.read(transaction)
            now = transaction.now_us
        for table in self._tables.values():
            table.keep()
        self.behind = max(now - table.read_at for table in self._tables.values()) / SECOND
        shown = {queue: table for queue, table in self._tables.items() if now - table.read_at <= LONGEST_SHOWN}
        self.content = tuple(
            (queue, (now - table.oldest) / SECOND) for queue, table in shown.items() if table.oldest is not None
        )
        return [
            *(
                JOBS.sample(table.jobs.get(status, 0), queue=queue, state=state)
                for queue, table in shown.items()
                for state, status in JOB_STATES.items()
            ),
            *(
                OLDEST.sample(table.oldest / SECOND, queue=queue)
                for queue, table in shown.items()
                if table.oldest is not None
            ),
        ]

    def read_afresh(self) -> None:
        """Make the next refresh read, regardless of the pauses."""
        for table in self._tables.values():
            table.forget()

    def promised_age(self, interval: float) -> float:
        """Return two refresh periods, plus the longest of the pauses."""
        return 2 * interval + max(table.pause for table in self._tables.values()) / SECOND


class _Table:
    """The jobs of one table, as last read. Times are microseconds of the database's clock."""

    def __init__(self, table: str, clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock
        self._failure: CollectionFailed | None = None
        self._is_named = False
        self._tried_at: int | None = None
        self._server = 0
        self._unchecked: tuple[int, list[Row]] | None = None
        self._cheap: tuple[str, int] = ("", 0)  # the query last estimated to be cheap, and the time of the estimate
        self.pause = 0
        self.read_at = 0
        self.jobs: Mapping[str, int] = {}
        """Number of jobs by status."""
        self.oldest: int | None = None

    def forget(self) -> None:
        """End the pause, and drop the estimate."""
        self._tried_at = None
        self._cheap = "", 0

    async def read(self, transaction: Transaction) -> None:
        """Read the table, unless the pause after an expensive reading is not over. On another server than before there
        is no pause.

        Raises CollectionFailed, also during the pause after a reading that failed.
        """
        now = transaction.now_us
        if self._unchecked is not None:  # the table was altered during the last reading
            self._unchecked = None
            self.forget()
        if transaction.server.number != self._server:
            self._server = transaction.server.number
            self.forget()
        if self._tried_at is not None and 0 <= now - self._tried_at < self.pause:
            if self._failure is not None:
                raise CollectionFailed(self._failure.source, self._failure.kind, self._failure.detail)
            return
        enum = await read_enum(transaction, self._table)
        query = _query(self._table, enum)
        is_expensive = not self._is_still_cheap(query, now) and await self._is_expensive(transaction, query, enum)
        began = self._clock()
        try:
            async with transaction.savepoint():
                rows = await transaction.rows(query)
        except CollectionFailed as error:
            self._note(now, query, self._clock() - began, is_expensive, error)
            raise
        self._note(now, query, self._clock() - began, is_expensive)
        self._unchecked = now, rows

    def keep(self) -> None:
        """Take over what was read, after the transaction has found the table unaltered."""
        if self._unchecked is None:
            return
        (self.read_at, rows), self._unchecked = self._unchecked, None
        self.jobs = {status: number for status, number, _ in rows}
        self.oldest = next((oldest for status, _, oldest in rows if status == JOB_STATES["waiting"]), None)

    def _is_still_cheap(self, query: str, now: int) -> bool:
        """Return whether a recent estimate holds for this query."""
        estimated, at = self._cheap
        return estimated == query and 0 <= now - at < MINUTE

    async def _is_expensive(self, transaction: Transaction, query: str, enum: EnumType | None) -> bool:
        plan = await _plan(transaction, query)
        self._name_if_read_whole(plan, enum)
        return float(plan["Total Cost"]) > CHEAP or "Foreign Scan" in _nodes(plan)

    def _note(
        self, now: int, query: str, seconds: float, is_expensive: bool, failure: CollectionFailed | None = None
    ) -> None:
        """Note an attempt, the pause that it requires if it was expensive, and otherwise that it is cheap."""
        self._tried_at, self._failure = now, failure
        self.pause = round(min(seconds, STATEMENT_SECONDS) / SHARE * SECOND) if is_expensive else 0
        if is_expensive or seconds > QUICK_SECONDS:
            self._cheap = "", 0
        elif not self._is_still_cheap(query, now):
            self._cheap = query, now

    def _name_if_read_whole(self, plan: Mapping[str, Any], enum: EnumType | None) -> None:
        """Log a large table that no index helps to read: once, until an index does."""
        is_whole = _lacks_index(plan)
        if is_whole and not self._is_named:
            _log.warning("jobs.no_index", table=self._table, remedy=index_statement(self._table, enum))
        self._is_named = is_whole


def _lacks_index(plan: Mapping[str, Any]) -> bool:
    return float(plan["Total Cost"]) > CHEAP and not _WHOLE.isdisjoint(_nodes(plan))


async def missing_index(transaction: Transaction, table: str) -> str | None:
    """Return the statement that creates the index that a large table lacks; None where an index helps to read it, and
    for a small table."""
    enum = await read_enum(transaction, table)
    return index_statement(table, enum) if _lacks_index(await _plan(transaction, _query(table, enum))) else None


def index_statement(table: str, enum: EnumType | None) -> str:
    """Return the statement that creates the index for this table; `enum` is the type of its status if it is an enum."""
    condition = _is_waiting_or_running("status", enum)
    return f"CREATE INDEX CONCURRENTLY {table}_waiting_idx ON {table} (created_at) WHERE {condition}"


def _is_waiting_or_running(column: str, enum: EnumType | None) -> str:
    return has_word(column, tuple(JOB_STATES.values()), enum)


def _query(table: str, enum: EnumType | None) -> str:
    """Return SQL for the number of jobs and the time of the oldest, by status."""
    created_at = f"{table}.created_at"
    oldest = MICROSECONDS.format(f"min({created_at}) FILTER (WHERE isfinite({created_at}))")
    return (
        f"SELECT {WORD.format(f'{table}.status')}, count(*), {oldest} FROM {table}"
        f" WHERE {_is_waiting_or_running(f'{table}.status', enum)} GROUP BY 1"
    )


async def read_enum(transaction: Transaction, table: str) -> EnumType | None:
    """Return the type of the statuses in a table or view if it is an enum, else None."""
    return enum_type(await transaction.rows(ENUM_LABELS.format(f"{table}.status", table), plan_once=True))


async def _plan(transaction: Transaction, query: str) -> Mapping[str, Any]:
    """Return the plan that PostgreSQL would use for a query, with the estimated cost."""
    ((explained,),) = await transaction.rows(f"EXPLAIN (FORMAT JSON) {query}")
    plan: Mapping[str, Any] = explained[0]["Plan"]
    return plan


def _nodes(plan: Mapping[str, Any]) -> set[str]:
    """Return the types of all nodes of a plan."""

    def walk(node: Mapping[str, Any]) -> Iterator[str]:
        yield node["Node Type"]
        for inner in node.get("Plans", ()):
            yield from walk(inner)

    return set(walk(plan))
