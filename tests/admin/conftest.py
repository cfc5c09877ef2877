"""The Analytics section with data in every document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from servers.valkey import ValkeyServer
from tests.admin.world import World
from tests.scenario import beat, seed_postgres, seed_valkey


@pytest.fixture
def seeded(connection: psycopg.Connection, valkey: redis.Redis) -> None:
    """Data for every metric."""
    seed_postgres(connection)
    seed_valkey(valkey)
    beat(valkey, 15)


@pytest.fixture
def world(seeded: None, database: str, valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[World]:
    """The section, refreshed once."""
    with World(database, valkey_server.url, tmp_path) as world:
        world.refresh()
        yield world
