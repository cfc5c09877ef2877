"""The users with the most AI requests: the only table with users in it (docs/definitions.md#access).

It has no metrics. Requests are counted by 64-bit hashes, as in other collectors; id and name are read for the leading
users only.

A week of requests consists of the last day, which `ai` keeps per user, and the six days before it. Those are one number
per user: a row is added once, when it leaves the last day, and subtracted once, when it leaves the week. Errors of such
a sum due to late and deleted rows last until the six days are counted again, once a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from exporter.collector import Sources
from exporter.collectors.users import Plans
from exporter.columns import TEXT, USER
from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction, moment
from exporter.spec import MetricSpec, Sample
from exporter.vocabulary import PLAN_CLASSES
from exporter.windows import DAY, MINUTE, Integers, Part, minute
from exporter.windows.latest import LatestActivity
from exporter.windows.pieces import in_pieces
from exporter.windows.shared import SharedWindow
from exporter.windows.users import UserCounts, UserTotals

SIZE = 20
WINDOW = 7 * DAY

RECOUNT = DAY
"""Interval at which the six days are counted again."""

SPARE = 10
"""Number of users looked up beyond SIZE: some may have been deleted, with their requests still counted."""

READY_SECONDS = 60.0
"""Time limit of the wait for the shared windows after a start, and after a change of the server."""

_BY_USER = (
    f"SELECT {USER.format('counted.user_id')}, counted.requests FROM"
    " (SELECT ai_usage_events.user_id, count(*) AS requests FROM ai_usage_events"
    " WHERE ai_usage_events.created_at > %(since)s AND ai_usage_events.created_at <= %(until)s"
    " AND ai_usage_events.user_id IS NOT NULL GROUP BY ai_usage_events.user_id) AS counted"
)

_ID, _USER = TEXT.format("users.id"), USER.format("users.id")

_IDS = f"SELECT {_USER}, {_ID} FROM users WHERE {_USER} = ANY(%(hashes)s)"

_NAMES = (
    f"SELECT {_ID}, coalesce(nullif(btrim({TEXT.format('users.username')}), ''), {TEXT.format('users.email')})"
    " FROM users WHERE users.id = ANY(%(ids)s)"
)


@dataclass(frozen=True, slots=True)
class TopUser:
    """One row. `last_seen` is the latest activity (docs/definitions.md#activity) of the last 30 days, in microseconds
    since the epoch."""

    user_id: str
    user: str
    plan: str
    last_seen: int | None
    ai_requests: int


class TopUsers:
    """The collector of the leading users: the requests of a week per user."""

    name = "top_users"
    sources = ("postgres",)
    periods = 4
    specs: tuple[MetricSpec, ...] = ()

    def __init__(
        self, by_user: SharedWindow[UserCounts], last_seen: SharedWindow[LatestActivity], plans: Plans
    ) -> None:
        """`by_user` has the requests of the last day, `last_seen` the activity of the last 30."""
        self._by_user, self._last_seen, self._plans = by_user, last_seen, plans
        self.needs = frozenset({by_user.keeper, last_seen.keeper})
        self._totals = UserTotals()
        self._since = self._until = 0  # the minutes of the totals
        self._counted_at: int | None = None
        self._server = 0  # the number of the server that the totals are read from
        self._ids: dict[int, str | None] = {}  # of recently leading users, by their hash; None: deleted
        self.content: tuple[TopUser, ...] | None = None
        """The first SIZE users, most requests first; None before the first reading."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Update `content`; there are no samples."""
        async with self._reading(sources) as (transaction, by_user, last_seen):
            now, day = transaction.now_us, by_user.counts()
            since, until = minute(now - WINDOW), by_user.since
            recount = self._counted_at is None or not 0 <= now - self._counted_at < RECOUNT
            if recount or since < self._since or until < self._until:
                totals, recount = await self._count(transaction, since, until), True
            else:
                gained = await self._read(transaction, self._until, until)
                lost = await self._read(transaction, self._since, since)
                totals = await asyncio.to_thread(self._totals.moved, gained, lost)
            leading = await asyncio.to_thread(totals.largest, SIZE + SPARE, *day)
            hashes = leading[:, 0].tolist()
            ids = await self._identified(transaction, hashes, {} if recount else self._ids)
            names = await _names(transaction, ids.values())
        self._totals, self._since, self._until, self._ids = totals, since, until, ids
        self._server = transaction.server.number
        if recount:
            self._counted_at = now
        self.content = tuple(self._rows(leading, names, last_seen, now))[:SIZE]
        return []

    @asynccontextmanager
    async def _reading(self, sources: Sources) -> AsyncIterator[tuple[Transaction, UserCounts, LatestActivity]]:
        """Open a transaction on the server that both windows are read from. On another server than before, the totals
        are counted again."""
        server = 1
        if not (self._by_user.server and self._last_seen.server):
            async with sources.postgres.transaction():
                pass  # reports PostgreSQL as down at once, without a wait
        while True:
            by_user, last_seen = await self._shared(server)
            async with sources.postgres.transaction(fill=self._counted_at is None) as transaction:
                server = transaction.server.number
                if self._counted_at is not None and server != self._server:
                    self._counted_at = None  # this transaction has no time for it
                elif self._by_user.server == self._last_seen.server == server:
                    yield transaction, by_user, last_seen
                    return

    async def _shared(self, server: int) -> tuple[UserCounts, LatestActivity]:
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await self._by_user.get(server), await self._last_seen.get(server)
        except TimeoutError:
            raise CollectionFailed("postgres", "windows_not_filled") from None

    async def _count(self, transaction: Transaction, since: int, until: int) -> UserTotals:
        async def read(piece: Part) -> list[Integers]:
            blocks: list[Integers] = []
            await transaction.integers_in_blocks(_BY_USER, 2, _period(*piece.minutes), blocks.append)
            return blocks

        totals = UserTotals()
        async for _, blocks in in_pieces(transaction, Part(since * MINUTE, until * MINUTE), read):
            totals = await asyncio.to_thread(totals.plus, blocks)
        return totals

    async def _read(self, transaction: Transaction, since: int, until: int) -> Integers:
        return await transaction.integers(_BY_USER, 2, _period(since, until))

    async def _identified(
        self, transaction: Transaction, hashes: Sequence[int], known: dict[int, str | None]
    ) -> dict[int, str | None]:
        """Return the ids by hash. Unknown hashes cost a scan of all users: rarely needed, as the leading users change
        slowly."""
        strangers = [user for user in hashes if user not in known]
        found: dict[int, str] = dict(await transaction.rows(_IDS, {"hashes": strangers})) if strangers else {}
        return {user: known[user] if user in known else found.get(user) for user in hashes}

    def _rows(self, leading: Integers, names: dict[str, str], last_seen: LatestActivity, now: int) -> Iterable[TopUser]:
        users = leading[:, 0]
        order = users.argsort()
        classes, seen = users.copy(), users.copy()
        classes[order] = self._plans.at(now).of(users[order])
        seen[order] = last_seen.times_of(users[order])
        for (user, requests), plan, at in zip(leading.tolist(), classes.tolist(), seen.tolist(), strict=True):
            user_id = self._ids[user]
            if user_id is not None and user_id in names and requests > 0:
                yield TopUser(user_id, names[user_id], PLAN_CLASSES[plan], at if at >= 0 else None, requests)


def _period(since: int, until: int) -> dict[str, object]:
    """Return the parameters for minutes `since < m <= until`."""
    return {"since": moment(since * MINUTE), "until": moment(until * MINUTE)}


async def _names(transaction: Transaction, ids: Iterable[str | None]) -> dict[str, str]:
    """Return the names by id, found by the key's index for any type: an array without a type takes the type of `id`."""
    quoted = ['"' + user_id.replace("\\", "\\\\").replace('"', '\\"') + '"' for user_id in ids if user_id is not None]
    return dict(await transaction.rows(_NAMES, {"ids": "{" + ",".join(quoted) + "}"})) if quoted else {}
