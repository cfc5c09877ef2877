"""A server that echoes, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.exporter.httpd.echo import echo
from tests.serving import Client, Serving, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(echo) as server:
        yield server


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    with Client(server) as client:
        yield client
