"""The identity of the PostgreSQL server of a transaction: the one that was read before, or another.

    Sighting, of each transaction's first statement -> Identity.of -> DatabaseServer, which all that keep rows compare

Everything that is kept from one refresh to the next is true of one server only. After a fail-over to a replica that is
behind, nothing in its rows shows that others are missing. The decision is made here and nowhere else: the keepers
(`windows/history.py`, `recount.py`, the collectors) compare `DatabaseServer`, and start over where it has changed.

A server is recognised by its start, which two servers never share, and its state of recovery. After a restart it is
recognised by its system identifier and its timeline, where it was and is no standby, and no transaction is missing.
Where these are not readable a restart counts as another server: that costs a fill, and never a wrong number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The server of a transaction, as known to this process."""

    number: int
    """Changes when the server, or the database, is another one: nothing that was read before can be kept."""

    run: int
    """Changes when it is another one or was restarted: ids of transactions that were lost in a crash are used again."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The server as seen by one transaction; readable by every role."""

    started: datetime
    in_recovery: bool
    database: str | None
    """The directory of the database, which differs between databases of one server, also where one takes the name of
    another."""
    oldest_running: int
    """The first transaction that may have been running. It never goes back."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The history of the rows of a server that is no standby. A promotion begins a timeline."""

    system: int
    timeline: str


@dataclass(frozen=True, slots=True)
class Known:
    """The latest server, its lineage where it is readable, and the highest transaction seen."""

    server: DatabaseServer
    sighting: Sighting
    lineage: Lineage | None


class Identity:
    """The latest server, and the recognition of others."""

    def __init__(self) -> None:
        self.known: Known | None = None
        """To be read before the statement of a sighting is sent, for `of`."""

    async def of(
        self, sighting: Sighting, before: Known | None, read_lineage: Callable[[], Awaitable[Lineage | None]]
    ) -> tuple[DatabaseServer, str | None]:
        """Return the server of a transaction; where the transaction is the first to find that it is another one, also
        the reason, a constant word.

        `before` was known when its statement was sent: the answers of several connections arrive in any order, and only
        an answer to a later question can show that a transaction is missing.
        """
        if before is not None and _is_same_run(before.sighting, sighting) and not _is_back(before, sighting):
            self._advance(before.server, sighting)
            return before.server, None
        if (server := self._found_meanwhile(sighting, before)) is not None:
            return server, None
        lineage = None if sighting.in_recovery else await read_lineage()
        if (server := self._found_meanwhile(sighting, before)) is not None:
            return server, None
        known = self.known
        if known is None:
            server, reason = DatabaseServer(1, 1), None
        else:
            reason = _difference(known, sighting, lineage)
            server = DatabaseServer(known.server.number + (reason is not None), known.server.run + 1)
        self.known = Known(server, sighting, lineage)
        return server, reason

    def _found_meanwhile(self, sighting: Sighting, before: Known | None) -> DatabaseServer | None:
        """Return the latest server where another transaction has found it since `before`."""
        known = self.known
        is_news = known is not None and (before is None or known.server != before.server)
        return known.server if known is not None and is_news and _is_same_run(known.sighting, sighting) else None

    def _advance(self, server: DatabaseServer, sighting: Sighting) -> None:
        known = self.known
        if known is not None and known.server == server and known.sighting.oldest_running < sighting.oldest_running:
            self.known = replace(known, sighting=sighting)


def _is_same_run(one: Sighting, other: Sighting) -> bool:
    return (one.started, one.in_recovery, one.database) == (other.started, other.in_recovery, other.database)


def _is_back(known: Known, sighting: Sighting) -> bool:
    return sighting.oldest_running < known.sighting.oldest_running


def _difference(known: Known, sighting: Sighting, lineage: Lineage | None) -> str | None:
    """Return why this is another server, as a constant word; None for the known one after a restart."""
    if known.sighting.in_recovery != sighting.in_recovery:
        return "recovery"
    if known.lineage is not None and lineage is not None:
        if known.lineage.system != lineage.system:
            return "system_identifier"
        if known.lineage.timeline != lineage.timeline:
            return "timeline"
    if known.sighting.database != sighting.database:
        return "database"
    if _is_back(known, sighting):
        return "transaction_id"
    return "server_start" if known.lineage is None or lineage is None else None
