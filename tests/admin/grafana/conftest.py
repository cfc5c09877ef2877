"""Real servers on both sides of the proxy, started once for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.admin.grafana.standing_in import (
    ServedSection,
    StandIn,
    analytics,
    standing_in,
)


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    """A stand-in for Grafana."""
    with standing_in() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def section(server: StandIn) -> Iterator[ServedSection]:
    """The section in front of it."""
    with analytics(server.url) as section:
        yield section


@pytest.fixture
def grafana(server: StandIn) -> StandIn:
    """The stand-in, reset."""
    server.reset()
    return server
