"""The estimated AI cost of this calendar month, so far and projected to its end (docs/definitions.md#ai-cost).

    hivesync_ai_tokens_month_to_date{model="gpt-4.1",direction="prompt"} 1.2e+06
    hivesync_ai_cost_month_to_date_dollars{component="tokens"} 31.7
    hivesync_ai_cost_month_projected_dollars{component="gpu"} 240.3

Tokens come from PostgreSQL, GPU time from the workers' heartbeats (`workers.py` uses this module for that component):
each component depends on its own source. Without a price file there are tokens, but no dollars.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import structlog

from exporter.collector import SKIPPED, Sources, skipped
from exporter.columns import EXCESSIVE_TOKENS, NEGATIVE_TOKENS, TEXT, TOKEN_SUM, optional
from exporter.gpu_usage import GpuUsage, share_of_month
from exporter.inputs import Need
from exporter.labels import OTHER
from exporter.prices import Prices, loggable_model
from exporter.sources.postgres import Row, Transaction, microseconds, moment
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.windows import DAY, HOUR, Part
from exporter.windows.cursor import LATE
from exporter.windows.history import History, ReadPlan
from exporter.windows.pieces import in_pieces
from exporter.windows.resync import SPECS as RESYNC_SPECS
from exporter.windows.sql import HOUR_BIN, HOUR_OF
from exporter.windows.versions import TimedRows

DIRECTIONS = ("prompt", "completion")
MAX_NAMED_MODELS = 100
HORIZON = 31 * DAY
"""The length of the longest month."""

COMPONENTS = ("tokens", "gpu")

_DOLLARS = """
WITH prices AS (
  SELECT * FROM unnest(%(models)s::text[], %(prompt_prices)s::float8[], %(completion_prices)s::float8[])
    AS prices(model, prompt, completion)
), spent AS (
  SELECT coalesce(sum(CASE WHEN prompt_tokens BETWEEN 0 AND 2147483647 THEN prompt_tokens * prompt ELSE 0 END
                    + CASE WHEN completion_tokens BETWEEN 0 AND 2147483647 THEN completion_tokens * completion
                           ELSE 0 END), 0) / 1000000 AS dollars
  FROM ai_usage_events JOIN prices ON prices.model = ai_usage_events.model::text
  WHERE completed_at >= date_trunc('month', %(now)s::timestamptz, 'UTC') AND completed_at <= %(now)s
), month AS (
  SELECT extract(epoch FROM %(now)s::timestamptz - start)
         / extract(epoch FROM start + interval '1 month' - start) AS share
  FROM (SELECT date_trunc('month', %(now)s::timestamptz, 'UTC') AS start) AS month
)
"""
"""For the definitions: the dollars spent so far, and the share of the month that has passed."""

TOKENS = MetricSpec(
    "hivesync_ai_tokens_month_to_date",
    "gauge",
    "Tokens of AI requests completed in this calendar month (UTC) so far; a model without a price is `other`.",
    "PostgreSQL (ai_usage_events.prompt_tokens, completion_tokens)",
    (Label("model"), Label("direction", DIRECTIONS)),
    Definition("""
WITH labels(model) AS (SELECT unnest(%(models)s::text[] || ARRAY['other'])), tokens AS (
  SELECT CASE WHEN model::text = ANY(%(models)s::text[]) THEN model::text ELSE 'other' END AS model,
         CASE WHEN prompt_tokens BETWEEN 0 AND 2147483647 THEN prompt_tokens ELSE 0 END AS prompt,
         CASE WHEN completion_tokens BETWEEN 0 AND 2147483647 THEN completion_tokens ELSE 0 END AS completion
  FROM ai_usage_events
  WHERE completed_at >= date_trunc('month', %(now)s::timestamptz, 'UTC') AND completed_at <= %(now)s
)
SELECT labels.model, directions.direction,
       coalesce(sum(CASE directions.direction WHEN 'prompt' THEN prompt ELSE completion END), 0)::bigint
FROM labels CROSS JOIN (VALUES ('prompt'), ('completion')) AS directions(direction)
LEFT JOIN tokens ON tokens.model = labels.model GROUP BY 1, 2
"""),
    (
        Need(("ai_usage_events.prompt_tokens",), "direction", ("prompt",)),
        Need(("ai_usage_events.completion_tokens",), "direction", ("completion",)),
        Need(("ai_usage_events.model",), "model", but=OTHER),
    ),
)
REQUESTS = MetricSpec(
    "hivesync_ai_requests_ended_month_to_date",
    "gauge",
    "AI requests that ended, with or without success, in this calendar month (UTC) so far: those with the tokens of"
    " hivesync_ai_tokens_month_to_date.",
    "PostgreSQL (ai_usage_events.completed_at)",
    definition=Definition("""
SELECT count(*) FROM ai_usage_events
WHERE completed_at >= date_trunc('month', %(now)s::timestamptz, 'UTC') AND completed_at <= %(now)s
"""),
)
COST_NEEDS = (
    *(
        Need((f"ai_usage_events.{column}",), "component", ("tokens",))
        for column in ("prompt_tokens", "completion_tokens", "model")
    ),
    Need(("workers",), "component", ("gpu",)),
)
MONTH_TO_DATE = MetricSpec(
    "hivesync_ai_cost_month_to_date_dollars",
    "gauge",
    "Estimate: AI cost of this calendar month (UTC) so far, at the price file's prices.",
    "PostgreSQL (ai_usage_events) for tokens, heartbeats of workers for gpu",
    (Label("component", COMPONENTS),),
    Definition(f"{_DOLLARS} SELECT 'tokens', dollars FROM spent WHERE %(has_prices)s"),
    COST_NEEDS,
)
PROJECTED = MetricSpec(
    "hivesync_ai_cost_month_projected_dollars",
    "gauge",
    "Estimate: AI cost of this calendar month (UTC) to its end, in proportion to the elapsed time.",
    "PostgreSQL (ai_usage_events) for tokens, heartbeats of workers for gpu",
    (Label("component", COMPONENTS),),
    Definition(
        f"{_DOLLARS} SELECT 'tokens', dollars / share::float8 FROM spent, month WHERE %(has_prices)s AND share > 0"
    ),
    COST_NEEDS,
)

_log = structlog.get_logger()

_COMPLETED_AT = "ai_usage_events.completed_at"


def _tokens(not_provided: Collection[str]) -> str:
    model, *counts = (
        optional(f"ai_usage_events.{name}", not_provided) for name in ("model", "prompt_tokens", "completion_tokens")
    )
    # `settled`: old enough not to be read again by a later refresh.
    return f"""
SELECT {TEXT.format(model)}, ai_usage_events.completed_at <= %(settles)s, {HOUR_OF.format(_COMPLETED_AT)},
       {", ".join(map(TOKEN_SUM.format, counts))},
       {" + ".join(map(NEGATIVE_TOKENS.format, counts))}, {" + ".join(map(EXCESSIVE_TOKENS.format, counts))},
       count(*)
FROM ai_usage_events
WHERE ai_usage_events.completed_at > %(since)s AND ai_usage_events.completed_at <= %(until)s
GROUP BY 1, 2, {HOUR_BIN.format(_COMPLETED_AT)}
"""


Tokens = tuple[int, ...]
"""Prompt tokens, completion tokens, number of values left out as negative and as excessive, and number of requests."""

NONE: Tokens = (0, 0, 0, 0, 0)

Hours = dict[int, dict[str, Tokens]]
"""Tokens by hour and label of the model."""


def dollars(component: str, cost: float, now: float) -> list[Sample]:
    """Return the two cost samples of one component; no projection at the first instant of the month. `now` in unix
    seconds."""
    share = share_of_month(now)
    projected = [PROJECTED.sample(cost / share, component=component)] if share > 0 else []
    return [MONTH_TO_DATE.sample(cost, component=component), *projected]


def gpu_dollars(prices: Prices, usage: GpuUsage, now: float) -> list[Sample]:
    """Return the cost samples of GPU instances."""
    return dollars(
        "gpu",
        sum(prices.of_instance(*instance, seconds) for instance, seconds in usage.in_month.items()),
        now,
    )


class TokenCost:
    """The collector of this month's tokens. Settled rows are added up once, by the hour, and rows that can still change
    at every refresh."""

    name = "cost"
    sources = ("postgres",)
    periods = 4  # the tokens of a month change little in a minute
    specs = (TOKENS, REQUESTS, MONTH_TO_DATE, PROJECTED, SKIPPED, *RESYNC_SPECS)

    def __init__(self, prices: Prices | None, not_provided: Collection[str] = ()) -> None:
        self._prices = prices
        self._next_prices: Prices | None = None
        self._query = _tokens(not_provided)
        self._has_models = "ai_usage_events.model" not in not_provided
        self._settled: Hours = {}
        self._total: dict[str, Tokens] = {}  # of all settled hours
        self._settled_until = 0
        rows = [TimedRows("ai_usage_events", _COMPLETED_AT)]
        self._history = History(self.name, HORIZON, rows, known=self._rows_in, begins=before_month)
        self._named: set[str] = set()

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return the tokens by model and direction; their cost, where there are prices."""
        if self._next_prices is not None:
            self._prices, self._next_prices = self._next_prices, None
            self._named.clear()
            self._history.start_over()
        async with self._history.reading(sources.postgres) as plan:
            at, now = plan.transaction.now, plan.now
            restart = plan.fill or self._settled_until < plan.begin
            since = plan.begin if restart else self._settled_until
            settles = max(since, now - LATE)
            plan.recheck = [part for part in plan.recheck if part.end <= since and not restart]
            rows = await self._all_rows(plan, Part(since, now), settles)
            reread = [(part, await self._rows(plan.transaction, part, part.end)) for part in plan.recheck]

            settled, pending = self._by_hour(rows)
            if restart:
                if plan.corrects:
                    old = {hour for hour in (*self._settled, *settled) if hour * HOUR <= self._settled_until}
                    plan.corrected += sum(_difference(self._settled.get(h, {}), settled.get(h, {})) for h in old)
                self._settled, self._total = {}, {}
            for hour, by_label in settled.items():
                self._settle(hour, _sum(self._settled.get(hour, {}), by_label))
            for part, part_rows in reread:
                hour = part.end // HOUR
                by_hour, _ = self._by_hour(part_rows)
                plan.corrected += self._settle(hour, by_hour.get(hour, {}))
            self._settled_until = settles
        return self._samples(_sum(self._total, *pending.values()), at.timestamp())

    def use_prices(self, prices: Prices) -> None:
        """Use these prices from the next refresh on, which reads the month again: tokens are kept by models with a
        price."""
        self._next_prices = prices

    def counters(self) -> Sequence[Sample]:
        """Return the resync counters."""
        return self._history.counters()

    def _rows_in(self, part: Part) -> int:
        """Return the number of requests that are in the tokens of a part."""
        return sum(tokens[-1] for tokens in self._settled.get(part.end // HOUR, {}).values())

    async def _all_rows(self, plan: ReadPlan, part: Part, settles: int) -> list[Row]:
        """Return the rows of a part of any length: an hour may have more than one row per model."""
        if not plan.fill:
            return await self._rows(plan.transaction, part, settles)

        async def read(piece: Part) -> list[Row]:
            return await self._rows(plan.transaction, piece, settles)

        return [row async for _, rows in in_pieces(plan.transaction, part, read) for row in rows]

    async def _rows(self, transaction: Transaction, part: Part, settles: int) -> list[Row]:
        period = {"since": moment(part.start), "until": moment(part.end), "settles": moment(settles)}
        return await transaction.rows(self._query, period)

    def _by_hour(self, rows: Sequence[Row]) -> tuple[Hours, Hours]:
        """Return the settled tokens and the others."""
        settled: Hours = {}
        pending: Hours = {}
        for model, is_settled, hour, *tokens in rows:
            by_label = (settled if is_settled else pending).setdefault(hour, {})
            label = self._label(model, tokens)
            by_label[label] = _add(by_label.get(label, NONE), tokens)
        return settled, pending

    def _settle(self, hour: int, by_label: dict[str, Tokens]) -> int:
        """Set the settled tokens of an hour. Return the number of tokens that differ."""
        before = self._settled.get(hour, {})
        self._total = _sum(self._total, by_label, {label: _negative(tokens) for label, tokens in before.items()})
        self._settled[hour] = by_label
        return _difference(before, by_label)

    def _samples(self, month_to_date: Mapping[str, Tokens], now: float) -> list[Sample]:
        samples: list[Sample] = []
        cost = 0.0
        for model in (*(self._prices.models if self._prices else ()), OTHER):
            prompt, completion, *_ = month_to_date.get(model, NONE)
            samples.append(TOKENS.sample(prompt, model=model, direction="prompt"))
            samples.append(TOKENS.sample(completion, model=model, direction="completion"))
            cost += self._prices.of_tokens(model, prompt, completion) if self._prices else 0.0
        if self._prices is not None:
            samples += dollars("tokens", cost, now)
        _, _, negative, excessive, requests = map(sum, zip(NONE, *month_to_date.values(), strict=True))
        samples.append(REQUESTS.sample(requests))
        return samples + skipped(self.name, {"negative_tokens": negative, "excessive_tokens": excessive})

    def _label(self, model: str | None, tokens: Sequence[int]) -> str:
        if self._prices is None or not self._has_models:
            return OTHER
        label = model if model is not None and model in self._prices.models else OTHER
        if (
            label == OTHER
            and any(tokens[:2])
            and len(self._named) < MAX_NAMED_MODELS
            and (model or "") not in self._named
        ):
            self._named.add(model or "")
            _log.warning("cost.model_without_price", model=loggable_model(model))
        return label


def before_month(now: datetime) -> int:
    """Return the instant before the calendar month (UTC) of `now`: the month's first instant is in the window."""
    return microseconds(now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)) - 1


def _sum(*summands: Mapping[str, Tokens]) -> dict[str, Tokens]:
    total: dict[str, Tokens] = {}
    for summand in summands:
        for label, tokens in summand.items():
            total[label] = _add(total.get(label, NONE), tokens)
    return total


def _difference(left: Mapping[str, Tokens], right: Mapping[str, Tokens]) -> int:
    """Return the number of tokens by which two hours differ, absolute values added up over models and directions."""
    differences = _sum(left, {label: _negative(tokens) for label, tokens in right.items()})
    return sum(abs(prompt) + abs(completion) for prompt, completion, *_ in differences.values())


def _negative(tokens: Tokens) -> Tokens:
    return tuple(-number for number in tokens)


def _add(left: Tokens, right: Sequence[int]) -> Tokens:
    return tuple(map(sum, zip(left, right, strict=True)))
