"""Plans, projects and AI cost."""

from __future__ import annotations

from pathlib import Path

from servers.valkey import ValkeyServer
from tests.admin.documents.values import check_metrics, check_values, metrics
from tests.admin.world import World

EQUAL = {
    "/projects": "hivesync_projects",
    **{
        f"/users_by_plan/{plan}": f'hivesync_users{{plan="{plan}"}}'
        for plan in ("paid", "trial", "trial_expired", "free")
    },
    **{
        f"/cost_month_{when}_dollars/{part}": f'hivesync_ai_cost_month_{when}_dollars{{component="{part}"}}'
        for when in ("to_date", "projected")
        for part in ("tokens", "gpu")
    },
}
"""The sample of each value; the others are totals."""


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/monetization")


def test_values_are_those_of_the_metrics(world: World) -> None:
    tokens = {f"/tokens_month_to_date/{index}/tokens" for index in range(4)}
    costs = {f"/cost_month_{when}_dollars/total" for when in ("to_date", "projected")}
    check_metrics(world, "/monetization", EQUAL, {"/users", "/paid_free_ratio", *tokens, *costs})


def test_totals_are_the_sums_of_their_parts(world: World) -> None:
    money = world.get("/monetization").json
    assert money["users"]["value"] == sum(part["value"] for part in money["users_by_plan"].values()) == 6
    for cost in (money["cost_month_to_date_dollars"], money["cost_month_projected_dollars"]):
        assert cost["total"]["value"] == cost["tokens"]["value"] + cost["gpu"]["value"]
        assert set(cost["total"]["sources"]) == {"postgres", "redis"}
    assert money["estimate"] is True
    assert money["paid_free_ratio"]["value"] == money["users_by_plan"]["paid"]["value"] / 3


def test_tokens_are_listed_by_model_and_direction(world: World) -> None:
    samples = metrics(world)
    rows = world.get("/monetization").json["tokens_month_to_date"]
    assert [(row["model"], row["direction"]) for row in rows] == [
        (model, direction) for model in ("gpt-4.1", "other") for direction in ("completion", "prompt")
    ]
    for row in rows:
        name = f'hivesync_ai_tokens_month_to_date{{direction="{row["direction"]}",model="{row["model"]}"}}'
        assert row["tokens"]["value"] == samples[name] > 0


def test_without_a_price_file_costs_are_null_and_ok(
    seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    with World(database, valkey_server.url, tmp_path, prices_file=None) as world:
        world.refresh()
        for value in world.get("/monetization").json["cost_month_to_date_dollars"].values():
            assert (value["value"], value["status"]) == (None, "ok")
