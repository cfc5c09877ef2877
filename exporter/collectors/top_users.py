"""The users with the most AI requests: the one table with users in it.

No metric comes of this. Counting is by 64-bit hashes as everywhere; only of those who lead are id and name asked for.

A week of requests is the last day, which `ai` keeps by user, and the six days before it. Those are one number per
user: a row is added once, when it leaves the day, and taken away once, when it leaves the week. Errors that late and
deleted rows leave in such a sum are gone once the six days are counted again, once a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.collector import Sources
from exporter.collectors.users import Plans
from exporter.columns import TEXT, USER
from exporter.errors import CollectionFailed
from exporter.sources.postgres import Transaction, moment
from exporter.spec import MetricSpec, Sample
from exporter.vocabulary import PLAN_CLASSES
from exporter.windows import DAY, MINUTE, Integers, minute
from exporter.windows.latest import LatestActivity
from exporter.windows.shared import SharedWindow
from exporter.windows.users import UserCounts, UserTotals

SIZE = 20
WINDOW = 7 * DAY

RECOUNT = DAY
"""How often the six days are counted again."""

SPARE = 10
"""How many more than SIZE are looked up: some may have been deleted, and their requests are still counted."""

READY_SECONDS = 60.0
"""How long to wait, after a start, for the shared windows to be filled."""

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
    """Keeps the requests of a week by user, and who the first of them are."""

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
        self._ids: dict[int, str | None] = {}  # of those who led lately, by their hash; None: no such user any more
        self.content: tuple[TopUser, ...] | None = None
        """The first SIZE, most requests first; None before the first reading."""

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Brings `content` up to date; there are no samples."""
        by_user, last_seen = await self._shared(sources)
        async with sources.postgres.transaction(fill=self._counted_at is None) as transaction:
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
        if recount:
            self._counted_at = now
        self.content = tuple(self._rows(leading, names, last_seen, now))[:SIZE]
        return []

    async def _shared(self, sources: Sources) -> tuple[UserCounts, LatestActivity]:
        if not (self._by_user.is_filled and self._last_seen.is_filled):
            async with sources.postgres.transaction():
                pass  # where PostgreSQL is down, that is an error at once and not after a wait
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await self._by_user.get(), await self._last_seen.get()
        except TimeoutError:
            raise CollectionFailed("postgres", "windows_not_filled") from None

    async def _count(self, transaction: Transaction, since: int, until: int) -> UserTotals:
        blocks: list[Integers] = []
        await transaction.integers_in_blocks(_BY_USER, 2, _period(since, until), blocks.append)
        return await asyncio.to_thread(UserTotals.of, blocks)

    async def _read(self, transaction: Transaction, since: int, until: int) -> Integers:
        return await transaction.integers(_BY_USER, 2, _period(since, until))

    async def _identified(
        self, transaction: Transaction, hashes: Sequence[int], known: dict[int, str | None]
    ) -> dict[int, str | None]:
        """Their ids. Those that are not known yet take a look at every user: seldom, as the same ones lead for long."""
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
    """The parameters for minutes `since < m <= until`."""
    return {"since": moment(since * MINUTE), "until": moment(until * MINUTE)}


async def _names(transaction: Transaction, ids: Iterable[str | None]) -> dict[str, str]:
    """The names by id, found by the key's index whatever its type: an array without a type takes on that of `id`."""
    quoted = ['"' + user_id.replace("\\", "\\\\").replace('"', '\\"') + '"' for user_id in ids if user_id is not None]
    return dict(await transaction.rows(_NAMES, {"ids": "{" + ",".join(quoted) + "}"})) if quoted else {}
