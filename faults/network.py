"""Faults of the network before PostgreSQL and Redis: their connections refused, reset, half-closed, slow, silent,
answered with garbage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from faults.promises import EXACTNESS, ISOLATION
from faults.scene import Scene
from faults.table import fault
from servers.proxy import Behaviour, Proxy


@contextmanager
def _behaving(proxy: Proxy, behaviour: Behaviour) -> Iterator[None]:
    proxy.behave(behaviour)
    try:
        yield
    finally:
        proxy.behave(Behaviour.FORWARD)


@fault("postgres", ISOLATION, down=["postgres"], quick=True)
def postgres_refusing(scene: Scene) -> Iterator[None]:
    """Connections to PostgreSQL are refused."""
    with _behaving(scene.database, Behaviour.REFUSE):
        yield


@fault("postgres", ISOLATION, down=["postgres"])
def postgres_resetting(scene: Scene) -> Iterator[None]:
    """Connections to PostgreSQL are reset."""
    with _behaving(scene.database, Behaviour.RESET):
        yield


@fault("postgres", ISOLATION, down=["postgres"])
def postgres_half_closing(scene: Scene) -> Iterator[None]:
    """PostgreSQL closes its side of every connection and reads on."""
    with _behaving(scene.database, Behaviour.HALF_CLOSE):
        yield


@fault("postgres", EXACTNESS)
def postgres_slow(scene: Scene) -> Iterator[None]:
    """Every packet to and from PostgreSQL is 50 ms late."""
    with _behaving(scene.database, Behaviour.SLOW):
        yield


@fault("postgres", ISOLATION, down=["postgres"], quick=True)
def postgres_black_holed(scene: Scene) -> Iterator[None]:
    """Packets to and from PostgreSQL vanish."""
    with _behaving(scene.database, Behaviour.BLACK_HOLE):
        yield


@fault("postgres", ISOLATION, down=["postgres"])
def postgres_garbage(scene: Scene) -> Iterator[None]:
    """PostgreSQL's answers are random bytes."""
    with _behaving(scene.database, Behaviour.GARBAGE):
        yield


@fault("redis", ISOLATION, down=["redis"])
def redis_refusing(scene: Scene) -> Iterator[None]:
    """Connections to Redis are refused."""
    with _behaving(scene.cache, Behaviour.REFUSE):
        yield


@fault("redis", ISOLATION, down=["redis"])
def redis_resetting(scene: Scene) -> Iterator[None]:
    """Connections to Redis are reset."""
    with _behaving(scene.cache, Behaviour.RESET):
        yield


@fault("redis", ISOLATION, down=["redis"], quick=True)
def redis_half_closing(scene: Scene) -> Iterator[None]:
    """Redis closes its side of every connection and reads on."""
    with _behaving(scene.cache, Behaviour.HALF_CLOSE):
        yield


@fault("redis", EXACTNESS)
def redis_slow(scene: Scene) -> Iterator[None]:
    """Every packet to and from Redis is 50 ms late."""
    with _behaving(scene.cache, Behaviour.SLOW):
        yield


@fault("redis", ISOLATION, down=["redis"])
def redis_black_holed(scene: Scene) -> Iterator[None]:
    """Packets to and from Redis vanish."""
    with _behaving(scene.cache, Behaviour.BLACK_HOLE):
        yield


@fault("redis", ISOLATION, down=["redis"], quick=True)
def redis_garbage(scene: Scene) -> Iterator[None]:
    """Redis' answers are random bytes."""
    with _behaving(scene.cache, Behaviour.GARBAGE):
        yield


@fault("both", ISOLATION, down=["postgres", "redis"])
def both_black_holed(scene: Scene) -> Iterator[None]:
    """Packets to and from both servers vanish."""
    with _behaving(scene.database, Behaviour.BLACK_HOLE), _behaving(scene.cache, Behaviour.BLACK_HOLE):
        yield
