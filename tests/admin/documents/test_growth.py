"""Growth (docs/definitions.md#growth)."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from servers.valkey import ValkeyServer
from tests.admin.documents.values import check_metrics, check_values, metrics
from tests.admin.world import World
from tests.rows import insert, user

EQUAL = {
    **{f"/new_users/{window}": f'hivesync_new_users_in_window{{window="{window}"}}' for window in ("24h", "7d", "30d")},
    **{
        f"/{state}_users": f'hivesync_previously_active_users{{state="{state}",window="30d"}}'
        for state in ("returning", "lost")
    },
    "/trials_converted": 'hivesync_trials_ended_in_window{plan="paid",window="30d"}',
    "/paid_users": 'hivesync_users{plan="paid"}',
    "/active_users_month_to_date": "hivesync_active_users_month_to_date",
    "/ai_requests_ended_month_to_date": "hivesync_ai_requests_ended_month_to_date",
}
"""The sample of each value; the others are sums and shares."""

OTHERS = {
    *("/stickiness", "/daily_active_users", "/monthly_active_users", "/previously_active_users", "/share_lost"),
    *("/trials_ended", "/trial_conversion", "/paid_users_lost", "/churn"),
    *("/cost_per_active_user_dollars", "/cost_per_1000_requests_dollars"),
}


@pytest.fixture
def growing(connection: psycopg.Connection, seeded: None) -> None:
    """Of three trials that ended, one is paid; of two paid plans that ended, one has another."""
    names = ("converted", "given-up", "changed", "left", "gone-quiet", "back")
    converted, given_up, changed, left, quiet, back = (user(connection, name) for name in names)
    ended = {"ended_at": "2026-03-10T00:00Z"}
    for who, plan, columns in (
        (converted, "trial", {"trial_ends_at": "2026-04-01T00:00Z", **ended}),
        (converted, "pro", {}),
        (given_up, "trial", {"trial_ends_at": "2026-04-01T00:00Z", **ended}),
        (changed, "pro", ended),
        (changed, "premium", {}),
        (left, "pro", {"status": "canceled", **ended}),
    ):
        insert(connection, "subscriptions", user_id=who, plan=plan, **columns)
    insert(connection, "sessions", user_id=quiet, created_at="2026-02-01T00:00Z")
    for at in ("2026-02-01T00:00Z", "2026-03-01T00:00Z"):
        insert(connection, "sessions", user_id=back, created_at=at)


def test_every_value_has_a_status_sources_and_a_time(growing: None, world: World) -> None:
    check_values(world, "/growth")


def test_values_are_those_of_the_metrics(growing: None, world: World) -> None:
    check_metrics(world, "/growth", EQUAL, OTHERS)


def test_shares_are_those_of_the_definitions(growing: None, world: World) -> None:
    world.refresh()
    samples, found = metrics(world), world.get("/growth").json
    value = {name: part["value"] for name, part in found.items() if isinstance(part, dict) and "value" in part}
    assert (value["trials_ended"], value["trials_converted"], value["trial_conversion"]) == (3, 1, 1 / 3)
    assert (value["paid_users"], value["paid_users_lost"], value["churn"]) == (3, 1, 1 / 4)
    assert (value["previously_active_users"], value["lost_users"], value["share_lost"]) == (2, 1, 1 / 2)
    assert value["stickiness"] == value["daily_active_users"] / value["monthly_active_users"] > 0
    cost = sum(
        samples[f'hivesync_ai_cost_month_to_date_dollars{{component="{component}"}}'] for component in ("tokens", "gpu")
    )
    assert value["cost_per_active_user_dollars"] == cost / value["active_users_month_to_date"] > 0
    assert value["cost_per_1000_requests_dollars"] == 1000 * cost / value["ai_requests_ended_month_to_date"] > 0


def test_shares_of_nothing_are_null_and_ok(
    connection: psycopg.Connection, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path) as world:
        world.refresh("postgres")
        found = world.get("/growth").json
        for name in ("stickiness", "share_lost", "trial_conversion", "churn"):
            assert (found[name]["value"], found[name]["status"]) == (None, "ok"), name


@pytest.mark.parametrize(
    ("lacking", "names"),
    [
        ("subscriptions.trial_ends_at", ("trials_ended", "trials_converted", "trial_conversion")),
        ("subscriptions.ended_at", ("paid_users_lost", "churn")),
    ],
)
def test_ends_that_are_not_provided_are_not_0(
    lacking: str, names: tuple[str, ...], seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path, not_provided=lacking) as world:
        world.refresh()
        found = world.get("/growth").json
        for name in names:
            assert (found[name]["value"], found[name]["status"], found[name]["input"]) == (
                None,
                "not_provided",
                lacking,
            )
        assert found["paid_users"]["status"] == "ok"
