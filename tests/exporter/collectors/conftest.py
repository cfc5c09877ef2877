"""A fleet of workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from servers.valkey import ValkeyServer
from tests.exporter.collectors.fleet import Fleet


@pytest.fixture
def fleet(valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path) -> Fleet:
    return Fleet(valkey_server.url, valkey, tmp_path)
