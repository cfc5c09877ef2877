"""Tokens of the calendar month and their estimated cost (docs/definitions.md#ai-cost)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from exporter.collectors.cost import TokenCost
from exporter.errors import SourceUnavailable
from exporter.prices import Prices
from exporter.sources import postgres
from tests.rows import INSTANT, NO_DATABASE, NOON, collect, insert, only, user
from tests.waiting import patience

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)

PRICES = Prices.model_validate(
    {"models": {"gpt-4.1": {"prompt": 2, "completion": 8}, "local-llm": {"prompt": 0, "completion": 0}}}
)
NOTHING = {
    f"{model},{direction}": 0 for model in ("gpt-4.1", "local-llm", "other") for direction in ("prompt", "completion")
}


def complete(
    connection: psycopg.Connection, at: datetime | None, prompt: int | None, more: int | None, **columns: Any
) -> str:
    row = {"model": "gpt-4.1", "status": "succeeded", "created_at": MARCH - 40 * DAY, "completed_at": at}
    return insert(
        connection, "ai_usage_events", **{**row, "prompt_tokens": prompt, "completion_tokens": more, **columns}
    )


def tokens(values: Mapping[str, Any]) -> dict[str, int]:
    return only(values, "hivesync_ai_tokens_month_to_date")


def month_to_date(values: Mapping[str, Any]) -> Any:
    return values["hivesync_ai_cost_month_to_date_dollars{tokens}"]


def projected(values: Mapping[str, Any]) -> Any:
    return values["hivesync_ai_cost_month_projected_dollars{tokens}"]


def left_out(values: Mapping[str, Any]) -> int:
    return int(values["hivesync_skipped_values{cost,negative_tokens}"])


def test_tokens_are_added_up_by_model_and_direction(database: str, connection: psycopg.Connection) -> None:
    complete(connection, NOON, 100, 10)
    complete(connection, NOON - DAY, 200, 20, user_id=user(connection, "somebody"))
    complete(connection, NOON - DAY, 7, 5, model="local-llm")
    complete(connection, NOON - DAY, 1, None)
    complete(connection, NOON - DAY, None, 1)
    assert tokens(collect(TokenCost(PRICES), database, now=NOON)) == NOTHING | {
        "gpt-4.1,prompt": 301,
        "gpt-4.1,completion": 31,
        "local-llm,prompt": 7,
        "local-llm,completion": 5,
    }


def test_tokens_count_however_their_request_ended(database: str, connection: psycopg.Connection) -> None:
    """The provider charges used tokens of failed requests too."""
    for status in ("succeeded", "failed", "cancelled"):
        complete(connection, NOON - HOUR, 10, 1, status=status)
    complete(connection, None, 1000, 1000, status="running")
    assert tokens(collect(TokenCost(PRICES), database, now=NOON)) == NOTHING | {
        "gpt-4.1,prompt": 30,
        "gpt-4.1,completion": 3,
    }


@pytest.mark.parametrize(
    ("completed_at", "counted"),
    [(MARCH - INSTANT, 0), (MARCH, 1), (NOON, 1), (NOON + INSTANT, 0)],
    ids=["before the month", "the month's first instant", "now", "in an instant"],
)
def test_tokens_belong_to_the_month_in_which_their_request_was_completed(
    completed_at: datetime, counted: int, database: str, connection: psycopg.Connection
) -> None:
    complete(connection, completed_at, 5, 0)
    assert tokens(collect(TokenCost(PRICES), database, now=NOON))["gpt-4.1,prompt"] == 5 * counted


def test_a_new_month_begins_at_nothing_while_the_collector_lives(database: str, connection: psycopg.Connection) -> None:
    collector = TokenCost(PRICES)

    def prompt(now: datetime) -> int:
        return tokens(collect(collector, database, now=now))["gpt-4.1,prompt"]

    complete(connection, APRIL - DAY, 100, 0)
    complete(connection, APRIL - INSTANT, 10, 0)
    complete(connection, APRIL, 1, 0)
    assert prompt(APRIL - DAY) == 100
    assert prompt(APRIL - INSTANT) == 110
    assert prompt(APRIL) == 1
    complete(connection, APRIL + MINUTE, 2, 0)
    complete(connection, APRIL - MINUTE, 1000, 0)  # committed late: part of the old month
    assert [prompt(APRIL + age) for age in (MINUTE, 5 * MINUTE, 6 * MINUTE, HOUR)] == [3, 3, 3, 3]
    assert prompt(APRIL + 20 * DAY) == 3


def test_a_year_ends_as_a_month_does(database: str, connection: psycopg.Connection) -> None:
    collector, new_year = TokenCost(PRICES), datetime(2027, 1, 1, tzinfo=UTC)
    complete(connection, new_year - SECOND, 10, 0)
    complete(connection, new_year, 1, 0)
    for now, expected in ((new_year - INSTANT, 10), (new_year + SECOND, 1)):
        assert tokens(collect(collector, database, now=now))["gpt-4.1,prompt"] == expected


def test_nothing_is_counted_twice_or_lost_as_time_passes(database: str, connection: psycopg.Connection) -> None:
    collector, expected, now = TokenCost(PRICES), 0, NOON
    for step in (0, 15, 15, 15, 240, 300, 301, 15, 3600, 15, 15):
        now += step * SECOND
        for age, amount in ((0 * SECOND, 1), (2 * MINUTE, 20), (5 * MINUTE - INSTANT, 300)):
            complete(connection, now - age, amount, 0)
            expected += amount
        assert tokens(collect(collector, database, now=now))["gpt-4.1,prompt"] == expected


def test_a_request_that_is_completed_later_counts_then(database: str, connection: psycopg.Connection) -> None:
    collector = TokenCost(PRICES)
    complete(connection, None, None, None, status="running")
    assert tokens(collect(collector, database, now=NOON)) == NOTHING
    connection.execute(
        "UPDATE ai_usage_events SET completed_at = %s, prompt_tokens = 9, status = 'succeeded'", [NOON + SECOND]
    )
    assert tokens(collect(collector, database, now=NOON + SECOND))["gpt-4.1,prompt"] == 9


def test_what_is_deleted_is_gone_with_the_hourly_resync(database: str, connection: psycopg.Connection) -> None:
    collector = TokenCost(PRICES)
    complete(connection, NOON - HOUR, 9, 0)
    assert tokens(collect(collector, database, now=NOON))["gpt-4.1,prompt"] == 9
    connection.execute("DELETE FROM ai_usage_events")
    still = collect(collector, database, now=NOON + MINUTE)  # settled rows are not re-read before
    assert tokens(still)["gpt-4.1,prompt"] == 9
    collect(collector, database, now=NOON + HOUR - SECOND)
    collect(collector, database, now=NOON + HOUR)
    assert tokens(collect(collector, database, now=NOON + HOUR + SECOND)) == NOTHING


def test_a_clock_that_went_back_is_believed(database: str, connection: psycopg.Connection) -> None:
    collector = TokenCost(PRICES)
    complete(connection, NOON - HOUR, 9, 0)
    complete(connection, NOON - MINUTE, 1, 0)
    for now, expected in ((NOON, 10), (NOON - 2 * MINUTE, 9), (MARCH - INSTANT, 0), (NOON, 10)):
        assert tokens(collect(collector, database, now=now))["gpt-4.1,prompt"] == expected


def test_negative_tokens_are_left_out_and_counted(database: str, connection: psycopg.Connection) -> None:
    complete(connection, NOON - HOUR, -100, 5)
    complete(connection, NOON - HOUR, -1, -1)
    complete(connection, NOON - SECOND, 3, -7)
    complete(connection, MARCH - INSTANT, -1, -1)
    values = collect(TokenCost(PRICES), database, now=NOON)
    assert tokens(values) == NOTHING | {"gpt-4.1,prompt": 3, "gpt-4.1,completion": 5}
    assert left_out(values) == 4


@pytest.mark.parametrize(
    ("to", "absurd"),
    [
        ("bigint", "9223372036854775807"),
        ("bigint", "2147483648"),
        ("numeric", "1e30"),
        ("numeric", "'NaN'"),
        ("numeric", "'Infinity'"),
        ("double precision", "1e300"),
        ("double precision", "'NaN'"),
    ],
)
def test_absurd_tokens_are_left_out_and_counted(
    to: str, absurd: str, database: str, connection: psycopg.Connection
) -> None:
    """Three of these token counts exceed 64 bits: the other tokens of the month still count."""
    connection.execute(f"ALTER TABLE ai_usage_events ALTER prompt_tokens TYPE {to}".encode())
    for at in (NOON - HOUR, NOON - SECOND, NOON):
        ended = complete(connection, at, 0, 5)
        connection.execute(f"UPDATE ai_usage_events SET prompt_tokens = {absurd} WHERE id = %s".encode(), [ended])
    complete(connection, NOON, 3, 4)
    collector = TokenCost(PRICES)
    for _ in range(2):
        values = collect(collector, database, now=NOON)
        assert tokens(values) == NOTHING | {"gpt-4.1,prompt": 3, "gpt-4.1,completion": 19}
        assert values["hivesync_skipped_values{cost,excessive_tokens}"] == 3
        assert left_out(values) == 0


def test_tokens_may_be_smallint(database: str, connection: psycopg.Connection) -> None:
    for column in ("prompt_tokens", "completion_tokens"):
        connection.execute(f"ALTER TABLE ai_usage_events ALTER {column} TYPE smallint".encode())
    for _ in range(3):
        complete(connection, NOON, 32_767, -1)
    values = collect(TokenCost(PRICES), database, now=NOON)
    assert tokens(values) == NOTHING | {"gpt-4.1,prompt": 3 * 32_767}
    assert left_out(values) == 3


def test_sums_are_larger_than_an_integer_column(database: str, connection: psycopg.Connection) -> None:
    for _ in range(3):
        complete(connection, NOON, 2**31 - 1, 2**31 - 1)
    assert tokens(collect(TokenCost(PRICES), database, now=NOON))["gpt-4.1,prompt"] == 3 * (2**31 - 1)


def test_a_model_without_a_price_is_other_and_costs_nothing(database: str, connection: psycopg.Connection) -> None:
    for model, amount in (("gpt-9", 100), ("GPT-4.1", 20), (None, 3), ("", 4000), ("other", 50_000)):
        complete(connection, NOON, amount, 0, model=model)
    values = collect(TokenCost(PRICES), database, now=NOON)
    assert tokens(values) == NOTHING | {"other,prompt": 54_123}
    assert month_to_date(values) == 0


def test_a_model_without_a_price_is_named_in_the_log_once(database: str, connection: psycopg.Connection) -> None:
    collector = TokenCost(PRICES)
    for model in ("gpt-9", "gpt-9", None, "x" * 300, "gpt-4.1"):
        complete(connection, NOON - HOUR, 1, 1, model=model)
        complete(connection, NOON - SECOND, 1, 1, model=model)
    with capture_logs() as logs:
        collect(collector, database, now=NOON)
        collect(collector, database, now=NOON + SECOND)
    assert {(entry["log_level"], entry["event"]) for entry in logs} == {("warning", "cost.model_without_price")}
    assert sorted(entry["model"] for entry in logs) == ["(none)", "gpt-9", "x" * 100]
    complete(connection, NOON + MINUTE, 1, 1, model="gpt-10")
    with capture_logs() as logs:
        collect(collector, database, now=NOON + MINUTE)
    assert [entry["model"] for entry in logs] == ["gpt-10"]


def test_so_many_models_cannot_fill_the_log(database: str, connection: psycopg.Connection) -> None:
    for number in range(120):
        complete(connection, NOON, 1, 0, model=f"model-{number}")
    with capture_logs() as logs:
        values = collect(TokenCost(PRICES), database, now=NOON)
    assert len(logs) == 100
    assert tokens(values)["other,prompt"] == 120


def test_the_cost_is_tokens_times_the_price_of_a_million(database: str, connection: psycopg.Connection) -> None:
    complete(connection, NOON, 1_500_000, 250_000)
    complete(connection, NOON, 10**9, 10**9, model="local-llm")
    complete(connection, NOON, 10**9, 10**9, model="gpt-9")
    assert month_to_date(collect(TokenCost(PRICES), database, now=NOON)) == pytest.approx(1.5 * 2 + 0.25 * 8)


@pytest.mark.parametrize(
    ("now", "factor"),
    [
        (MARCH + timedelta(days=15.5), 2.0),
        (MARCH + 31 * DAY / 4, 4.0),
        (APRIL - INSTANT, 1.0),
        (datetime(2026, 2, 8, tzinfo=UTC), 4.0),
        (datetime(2028, 2, 15, 12, tzinfo=UTC), 2.0),
        (datetime(2026, 11, 16, tzinfo=UTC), 2.0),
    ],
    ids=["half of March", "a quarter", "March's last instant", "a quarter of February", "a leap year", "November"],
)
def test_the_projection_is_in_proportion_to_the_share_of_the_month_that_has_gone(
    now: datetime, factor: float, database: str, connection: psycopg.Connection
) -> None:
    complete(connection, now - MINUTE, 1_000_000, 0)
    values = collect(TokenCost(PRICES), database, now=now)
    assert month_to_date(values) == pytest.approx(2.0)
    assert projected(values) == pytest.approx(2.0 * factor)


def test_the_months_first_instant_has_no_projection(database: str) -> None:
    values = collect(TokenCost(PRICES), database, now=MARCH)
    assert month_to_date(values) == 0
    assert not [name for name in values if "projected" in name]


def test_without_prices_there_are_tokens_and_no_dollars(database: str, connection: psycopg.Connection) -> None:
    complete(connection, NOON, 100, 10)
    complete(connection, NOON, 1, 1, model=None)
    with capture_logs() as logs:
        values = collect(TokenCost(None), database, now=NOON)
    assert tokens(values) == {"other,prompt": 101, "other,completion": 11}
    assert not [name for name in values if "dollars" in name]
    assert logs == []


def test_a_refresh_that_failed_changes_nothing(
    database: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", patience(0.6))
    collector = TokenCost(PRICES)
    complete(connection, NOON - HOUR, 9, 0)
    collect(collector, database, now=NOON)
    complete(connection, NOON + SECOND, 1, 0)
    with pytest.raises(SourceUnavailable):
        collect(collector, NO_DATABASE, now=NOON + MINUTE)
    assert tokens(collect(collector, database, now=NOON + 10 * MINUTE))["gpt-4.1,prompt"] == 10
