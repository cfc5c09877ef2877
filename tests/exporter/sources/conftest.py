"""An empty Valkey."""

from __future__ import annotations

import pytest
import redis

from servers.valkey import ValkeyServer


@pytest.fixture
def url(valkey_server: ValkeyServer, valkey: redis.Redis) -> str:
    """The address of an empty Valkey."""
    return valkey_server.url
