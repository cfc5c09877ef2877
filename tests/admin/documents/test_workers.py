"""Workers."""

from __future__ import annotations

import redis

from tests.admin.documents.values import check_values
from tests.admin.world import World


def test_every_value_has_a_status_sources_and_a_time(world: World) -> None:
    check_values(world, "/workers")


def test_workers_have_health_and_heartbeat_gpus_state_and_instance(world: World) -> None:
    content = world.get("/workers").json
    rows = [
        {name: part["value"] if isinstance(part, dict) else part for name, part in row.items()}
        for row in content["workers"]
    ]
    assert (content["healthy"]["value"], content["total"]["value"]) == (2, 3)
    gpu = {"kind": "gpu", "instance_type": "g5.xlarge"}
    assert rows == [
        {
            "worker": "cpu-1",
            "kind": "cpu",
            "healthy": True,
            "last_heartbeat": "2026-03-17T11:59:45.000Z",
            **dict.fromkeys(("state", "instance_type", "lifecycle")),
        },
        {
            "worker": "gpu-1",
            **gpu,
            "healthy": True,
            "last_heartbeat": "2026-03-17T11:59:45.000Z",
            "state": "active",
            "lifecycle": "spot",
        },
        {
            "worker": "gpu-2",
            **gpu,
            "healthy": False,
            "last_heartbeat": "2026-03-17T11:50:00.000Z",
            "state": "offline",
            "lifecycle": "on-demand",
        },
    ]


def test_without_workers_the_counts_are_0(valkey: redis.Redis, world: World) -> None:
    valkey.flushall()
    world.refresh()
    workers = world.get("/workers").json
    assert (workers["healthy"]["value"], workers["total"]["value"], workers["workers"]) == (0, 0, [])
