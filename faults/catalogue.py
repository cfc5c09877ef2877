"""The whole table, in the order in which faults strike: each module enters its own."""

from __future__ import annotations

from collections.abc import Mapping

from faults import clients, logs, network, postgres, postgres_tables, process, redis, state
from faults.table import FAULTS, Fault

MODULES = (network, postgres, postgres_tables, redis, logs, state, process, clients)
_PLACES = [module.__name__ for module in MODULES]
CATALOGUE: Mapping[str, Fault] = dict(sorted(FAULTS.items(), key=lambda item: _PLACES.index(item[1].act.__module__)))
