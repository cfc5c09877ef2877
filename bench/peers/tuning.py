"""The one setting of PostgreSQL whose best value for the peers depends on the machine: parallel workers."""

from __future__ import annotations

import time

import psycopg

from bench.peers.queries import QUERIES

CHOICES = (0, 2)
"""No workers, and PostgreSQL's default: on two cores with a big hash table each, two workers can take longer than
none."""


def parallel_workers(url: str) -> int:
    """Return the `max_parallel_workers_per_gather` with the shortest time of the peers' queries on this machine."""
    seconds = {}
    with psycopg.connect(url, autocommit=True) as connection:
        _ask_all(connection)  # so that the first choice does not read from disk for the second
        for workers in CHOICES:
            connection.execute(f"SET max_parallel_workers_per_gather = {workers}".encode())
            seconds[workers] = _ask_all(connection)
    return min(seconds, key=lambda workers: seconds[workers])


def _ask_all(connection: psycopg.Connection) -> float:
    started = time.perf_counter()
    for query in QUERIES:
        connection.execute(query.sql.encode()).fetchall()
    return time.perf_counter() - started
