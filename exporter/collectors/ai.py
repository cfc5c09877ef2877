"""AI requests, their distribution over users, and AI errors (docs/definitions.md#ai-request,
docs/definitions.md#ai-error).

hivesync_ai_requests_in_window{window="1h"} 212.0
hivesync_ai_requests_per_user{window="24h",statistic="p90"} 14.0
hivesync_ai_errors_in_window{window="24h",kind="timeout"} 3.0
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from exporter.collector import Sources
from exporter.columns import USER, WORD, optional, words
from exporter.definitions import requests_in_windows, word
from exporter.inputs import Need
from exporter.labels import OTHER
from exporter.sources.postgres import Transaction, moment
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import AI_ERROR_KINDS
from exporter.windows import DAY, HOUR, MINUTE, Integers, Part, minute
from exporter.windows.history import History, ReadPlan
from exporter.windows.minutes import MinuteSums
from exporter.windows.pieces import in_pieces
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.shared import SharedWindow
from exporter.windows.sql import MINUTE_BIN, MINUTE_OF
from exporter.windows.sums import SlidingSums, Sums
from exporter.windows.users import UserCounts, percentile
from exporter.windows.versions import TimedRows

REQUEST_WINDOWS = {"1m": MINUTE, "1h": HOUR, "24h": DAY}
STATISTICS = ("median", "p90", "max")

REQUESTS = MetricSpec(
    "hivesync_ai_requests_in_window",
    "gauge",
    "AI requests created in the window that ends now.",
    "PostgreSQL (ai_usage_events.created_at)",
    (Label("window", tuple(REQUEST_WINDOWS)),),
    Definition(requests_in_windows("ai_usage_events")),
)
PER_USER = MetricSpec(
    "hivesync_ai_requests_per_user",
    "gauge",
    "AI requests per user, over users with at least one in the window that ends now: median, 90th percentile, maximum.",
    "PostgreSQL (ai_usage_events.created_at, user_id)",
    (Label("window", ("24h",)), Label("statistic", STATISTICS)),
    Definition("""
WITH counts AS (
  SELECT count(*) AS requests FROM ai_usage_events
  WHERE created_at > %(now)s - interval '24 hours' AND created_at <= %(now)s AND user_id IS NOT NULL GROUP BY user_id
)
SELECT '24h', statistic, value FROM (
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY requests) AS median,
         percentile_cont(0.9) WITHIN GROUP (ORDER BY requests) AS p90, max(requests)::float8 AS max FROM counts
) AS wide, LATERAL (VALUES ('median', median), ('p90', p90), ('max', max)) AS long(statistic, value)
WHERE value IS NOT NULL
"""),
)
ERRORS = MetricSpec(
    "hivesync_ai_errors_in_window",
    "gauge",
    "AI requests that failed in the window that ends now, by kind of error.",
    "PostgreSQL (ai_usage_events.completed_at, error_kind)",
    (Label("window", ("24h",)), Label("kind", (*AI_ERROR_KINDS, OTHER))),
    Definition(f"""
SELECT '24h', kinds.kind, (
  SELECT count(*) FROM ai_usage_events
  WHERE {word("status")} = 'failed' AND completed_at > %(now)s - interval '24 hours' AND completed_at <= %(now)s
    AND CASE WHEN {word("error_kind")} IN ('provider_error', 'timeout', 'safety_rejection')
             THEN {word("error_kind")} ELSE 'other' END = kinds.kind)
FROM (VALUES ('provider_error'), ('timeout'), ('safety_rejection'), ('other')) AS kinds(kind)
"""),
    (Need(("ai_usage_events.error_kind",), "kind", AI_ERROR_KINDS),),
)


def _kind_counts(not_provided: Collection[str]) -> tuple[str, ...]:
    kind = WORD.format(optional("ai_usage_events.error_kind", not_provided))
    return (
        *(f"count(*) FILTER (WHERE {kind} = '{name}')" for name in AI_ERROR_KINDS),
        f"count(*) FILTER (WHERE ({kind} IN {words(AI_ERROR_KINDS)}) IS NOT TRUE)",
    )


_BY_USER = (
    "SELECT {key}, (ai_usage_events.user_id IS NOT NULL)::int::bigint,"
    f" coalesce({USER.format('ai_usage_events.user_id')}, 0), count(*) FROM ai_usage_events"
    " WHERE ai_usage_events.created_at > %({since})s AND ai_usage_events.created_at <= %({until})s"
    " GROUP BY ai_usage_events.user_id"
)
"""Requests per user: a key, whether there is a user, user, count."""

_CREATED_AT = "ai_usage_events.created_at"
_BY_MINUTE_AND_USER = (
    _BY_USER.format(key=MINUTE_OF.format(_CREATED_AT), since="since", until="until")
    + f", {MINUTE_BIN.format(_CREATED_AT)}"
)


class Ai:
    """Two windows on `ai_usage_events`: requests, in total and per user, and errors."""

    name = "ai"
    sources = ("postgres",)
    periods = 1
    specs = (REQUESTS, PER_USER, ERRORS, *RESYNC_SPECS)

    def __init__(self, by_user: SharedWindow[UserCounts] | None = None, not_provided: Collection[str] = ()) -> None:
        """`by_user` receives the requests of the last day."""
        counts = _kind_counts(not_provided)
        self._by_user = by_user or SharedWindow(self.name)
        self._requests = Requests()
        self._errors = SlidingSums(
            Sums(
                "ai_usage_events",
                "ai_usage_events.completed_at",
                counts,
                f"{WORD.format('ai_usage_events.status')} = 'failed'",
                counts=tuple(range(len(counts))),
            ),
            {"24h": DAY},
        )
        rows = [TimedRows("ai_usage_events", "ai_usage_events.created_at"), self._errors.rows]
        self._history = History(self.name, DAY, rows, known=self._rows_in)

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return requests by window, statistics per user (none without a request), errors by kind."""
        async with self._history.reading(sources.postgres) as plan:
            requests, per_user = await self._requests.read(plan)
            errors = (await self._errors.read(plan))["24h"]
        self._by_user.put(self._requests.by_user, plan.transaction.server.number)
        samples = [REQUESTS.sample(count, window=window) for window, count in requests.items()]
        for kind, count in zip((*AI_ERROR_KINDS, OTHER), errors.tolist(), strict=True):
            samples.append(ERRORS.sample(count, window="24h", kind=kind))
        if len(per_user):
            statistics = {
                "median": percentile(per_user, 0.5),
                "p90": percentile(per_user, 0.9),
                "max": float(per_user.max()),
            }
            samples += [PER_USER.sample(value, window="24h", statistic=name) for name, value in statistics.items()]
        return samples

    def _rows_in(self, part: Part) -> int:
        return self._requests.rows_in(part) + self._errors.rows_in(part)

    def read_afresh(self) -> None:
        """Make the next refresh look for late rows."""
        self._history.look_back()

    def counters(self) -> Sequence[Sample]:
        """Return the resync counters."""
        return self._history.counters()


class Requests:
    """AI requests: the number in each window, and the number per user over the last 24 hours."""

    def __init__(self) -> None:
        self._minutes = MinuteSums(span=DAY // MINUTE + 1, width=1)
        self.by_user = UserCounts()
        """The requests of the last day, in whole minutes: without the edge."""

    async def read(self, plan: ReadPlan) -> tuple[dict[str, int], Integers]:
        """Read the rows of the plan. Return the requests by window, and those of each user with at least one, in no
        order."""
        minutes, users, now = self._minutes, self.by_user, plan.now
        new = []
        if plan.fill:  # an hour at a time: a whole day would block the loop for long
            minutes, users = MinuteSums(span=DAY // MINUTE + 1, width=1), UserCounts()

            async def read(piece: Part) -> Integers:
                return await self._rows(plan.transaction, piece)

            async for part, rows in in_pieces(plan.transaction, plan.new, read, longest=HOUR):
                _replace(minutes, users, part, rows)
        else:
            new = [(plan.new, await self._rows(plan.transaction, plan.new))]
        reread = [(part, await self._rows(plan.transaction, part)) for part in plan.recheck]
        edges = await self._edges(plan.transaction)

        self._minutes, self.by_user = minutes, users
        for part, rows in new:
            _replace(minutes, users, part, rows)
        for part, rows in reread:
            plan.corrected += _replace(minutes, users, part, rows)
        users.forget(minute(plan.begin))
        totals = {
            name: int(minutes.total(minute(now - window), minute(now))[0] + edges[name][:, 3].sum())
            for name, window in REQUEST_WINDOWS.items()
        }
        return totals, users.with_edge(_with_user(edges["24h"])[:, 1:])

    def rows_in(self, part: Part) -> int:
        """Return the number of requests in a part."""
        return int(self._minutes.total(*part.minutes)[0])

    async def _rows(self, transaction: Transaction, part: Part) -> Integers:
        period = {"since": moment(part.start), "until": moment(part.end)}
        return await transaction.integers(_BY_MINUTE_AND_USER, 4, period)

    async def _edges(self, transaction: Transaction) -> dict[str, Integers]:
        """Return the rows in the edge of each window: from its start to the end of that minute."""
        selects: list[str] = []
        parameters: dict[str, object] = {}
        for index, window in enumerate(REQUEST_WINDOWS.values()):
            start = transaction.now_us - window
            selects.append(_BY_USER.format(key=f"{index}::bigint", since=f"start{index}", until=f"end{index}"))
            parameters |= {f"start{index}": moment(start), f"end{index}": moment(minute(start) * MINUTE)}
        rows = await transaction.integers(" UNION ALL ".join(selects), 4, parameters)
        return {name: rows[rows[:, 0] == index] for index, name in enumerate(REQUEST_WINDOWS)}


def _replace(minutes: MinuteSums, users: UserCounts, part: Part, rows: Integers) -> int:
    """Set the minutes of a part to the requests by minute and user. Return the number of requests that differ."""
    users.replace(*part.minutes, _with_user(rows))
    return int(minutes.replace(*part.minutes, rows[:, [0, 3]])[0])


def _with_user(rows: Integers) -> Integers:
    """Return key, user, count of the rows (key, whether there is a user, user, count) with a user."""
    of_users: Integers = rows[rows[:, 1] == 1][:, [0, 2, 3]]
    return of_users
