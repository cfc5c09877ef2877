"""Users and devices."""

from __future__ import annotations

from tests.admin.documents.values import check_metrics, check_values
from tests.admin.world import World

EQUAL = {
    "/online_users": "hivesync_online_users",
    "/live_view_sessions": "hivesync_live_view_sessions",
    **{
        f"/online_devices/{kind}": f'hivesync_online_devices{{device_type="{kind}"}}'
        for kind in ("desktop", "ipad", "phone", "unknown")
    },
    **{
        f"/{period}_active_users_by_plan/{plan}": f'hivesync_active_users{{plan="{plan}",window="{window}"}}'
        for period, window in (("daily", "24h"), ("monthly", "30d"))
        for plan in ("paid", "trial", "trial_expired", "free")
    },
}
"""The sample of each value; the others are totals."""


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/users")


def test_values_are_those_of_the_metrics(world: World) -> None:
    check_metrics(world, "/users", EQUAL, {"/daily_active_users", "/monthly_active_users"})


def test_totals_are_the_sums_of_the_plans(world: World) -> None:
    users = world.get("/users").json
    for period in ("daily", "monthly"):
        parts = users[f"{period}_active_users_by_plan"].values()
        assert users[f"{period}_active_users"]["value"] == sum(part["value"] for part in parts) > 0
