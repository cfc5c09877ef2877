"""Users and devices online: WebSockets in Redis and heartbeats in PostgreSQL, joined by session
(docs/definitions.md#online-user, docs/definitions.md#online-device).

    hivesync_online_users 42.0
    hivesync_online_devices{device_type="desktop"} 31.0
    hivesync_live_view_sessions 3.0

A WebSocket and its session row are one device. Every value needs both sources. There may be a million of each, so they
are read in batches and folded (`presence.py`) as they arrive; none of them is kept after the refresh.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeVar

from exporter.collector import SKIPPED, Sources, skipped
from exporter.columns import TEXT, WORD, optional
from exporter.definitions import ONLINE, WebSocket
from exporter.identities import TYPE_OF, Ids, IdType
from exporter.inputs import Need
from exporter.labels import UNKNOWN
from exporter.presence import IdTypes, Presence
from exporter.remembered import Distinct
from exporter.sources.postgres import Row, Transaction
from exporter.sources.redis import Redis, WrongType, as_text
from exporter.spec import Definition, Label, MetricSpec, Sample
from exporter.vocabulary import DEVICE_TYPES

PRESENCE = Need(("ws_sessions", "sessions.last_heartbeat_at"))
"""Each tells by itself who is online; without both there is nothing to read."""

ONLINE_USERS = MetricSpec(
    "hivesync_online_users",
    "gauge",
    "Distinct users with an open WebSocket or a session heartbeat in the last 2 minutes.",
    "Redis (ws_sessions) and PostgreSQL (sessions)",
    definition=Definition(f"""{ONLINE}
SELECT count(*) FROM (SELECT user_id FROM ws UNION SELECT user_id FROM online) AS users WHERE user_id IS NOT NULL
"""),
    needs=(PRESENCE,),
)
ONLINE_DEVICES = MetricSpec(
    "hivesync_online_devices",
    "gauge",
    "Sessions with an open WebSocket or a heartbeat in the last 2 minutes, by type of device.",
    "Redis (ws_sessions) and PostgreSQL (sessions)",
    (Label("device_type", (*DEVICE_TYPES, UNKNOWN)),),
    Definition(f"""{ONLINE}, known(device_type) AS (VALUES ('desktop'), ('ipad'), ('phone')), devices AS (
  SELECT coalesce('s' || session_id, 'c' || connection) AS device, device_type, 2 AS rank FROM ws
  UNION ALL SELECT 's' || id, device_type, 1 FROM online
), typed AS (
  SELECT device, coalesce((array_agg(known.device_type ORDER BY rank, known.device_type)
                           FILTER (WHERE known.device_type IS NOT NULL))[1], 'unknown') AS device_type
  FROM devices LEFT JOIN known USING (device_type) GROUP BY device
)
SELECT types.name, (SELECT count(*) FROM typed WHERE typed.device_type = types.name)
FROM (VALUES ('desktop'), ('ipad'), ('phone'), ('unknown')) AS types(name)
"""),
    (PRESENCE, Need(("sessions.device_type",))),
)
LIVE_VIEW_SESSIONS = MetricSpec(
    "hivesync_live_view_sessions",
    "gauge",
    "Live View sessions with an open WebSocket or a heartbeat in the last 2 minutes.",
    "Redis (ws_sessions) and PostgreSQL (sessions)",
    definition=Definition(f"{ONLINE} SELECT count(*) FROM online WHERE kind = 'live_view'"),
    needs=(PRESENCE, Need(("sessions.kind",))),
)

T = TypeVar("T")

LOOKUP_IDS = 1_000
"""Sessions per lookup statement: more would block the event loop without a gain."""

SORTED_IDS = 100 * LOOKUP_IDS
"""Sessions sorted before they are looked up: 10 MB of ids."""

_FIELDS = ("user_id", "session_id", "device_type")
_NO_FIELD = [None, None, None]
_OTHER_FIELDS = ("connected_at", "last_seen_at")
"""Read only for keys without any of the other fields, to distinguish a WebSocket without them from a missing key."""


def _columns(not_provided: Collection[str]) -> str:
    device_type, kind = (optional(f"sessions.{name}", not_provided) for name in ("device_type", "kind"))
    return (
        f"{TEXT.format('sessions.id')}, {TEXT.format('sessions.user_id')}, {WORD.format(device_type)},"
        f" coalesce({WORD.format(kind)} = 'live_view', false)"
    )


def _beating(not_provided: Collection[str]) -> str:
    # A heartbeat slightly ahead of this transaction's `now` arrived while the transaction began, or was written with an
    # application server's clock.
    heartbeat, ended_at = (optional(f"sessions.{name}", not_provided) for name in ("last_heartbeat_at", "ended_at"))
    return f"""
SELECT {_columns(not_provided)}, {heartbeat} > %(now)s + interval '5 minutes' FROM sessions
WHERE {heartbeat} > %(now)s - interval '2 minutes' AND {ended_at} IS NULL
"""


_ID_TYPES = f"SELECT {TYPE_OF.format('sessions.id', 'sessions')}, {TYPE_OF.format('sessions.user_id', 'sessions')}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The keys that are no open WebSocket, each counted once, because a pass may return a key twice."""

    wrong_type: Distinct = field(default_factory=Distinct)
    gone: Distinct = field(default_factory=Distinct)

    def reasons(self) -> dict[str, int]:
        """Return the number of keys by reason. Takes noticeable time at a million keys."""
        return {"wrong_type": self.wrong_type.summed_up()[0], "gone": self.gone.summed_up()[0]}


async def read_web_sockets(redis: Redis, patterns: Iterable[str]) -> tuple[list[WebSocket], dict[str, int]]:
    """Return every open WebSocket, and the number of keys left out by reason: all at once, suitable for verification
    only."""
    web_sockets: dict[bytes, WebSocket] = {}
    left_out = LeftOut()
    async with aclosing(_open_web_sockets(redis, patterns, left_out)) as batches:
        async for keys, rows in batches:
            for key, row in zip(keys, rows, strict=True):
                user_id, session_id, device_type = map(as_text, row)
                web_sockets[key] = WebSocket(as_text(key) or "", user_id or None, session_id or None, device_type)
    return list(web_sockets.values()), left_out.reasons()


async def fold_web_sockets(redis: Redis, patterns: Iterable[str], presence: Presence, left_out: LeftOut) -> None:
    """Fold every open WebSocket as it arrives: the part of the result that is in Redis."""
    async with aclosing(_open_web_sockets(redis, patterns, left_out)) as batches:
        async for keys, rows in batches:
            presence.fold_web_sockets(keys, rows)


_Rows = tuple[Sequence[bytes], Sequence[Sequence[bytes | None]]]


async def _open_web_sockets(redis: Redis, patterns: Iterable[str], left_out: LeftOut) -> AsyncGenerator[_Rows, None]:
    """Yield keys and rows of `_FIELDS`, in batches; a key may occur twice."""
    async with aclosing(redis.all_hashes(patterns, _FIELDS)) as batches:
        async for batch in batches:
            for key in batch.wrong_type:
                left_out.wrong_type.add(key)
            if _NO_FIELD in batch.rows:
                answered = list(zip(batch.keys, batch.rows, strict=True))
                named = [(key, row) for key, row in answered if row != _NO_FIELD]
                named += await _nameless(redis, [key for key, row in answered if row == _NO_FIELD], left_out)
                yield [key for key, _ in named], [row for _, row in named]
            else:
                yield batch.keys, batch.rows


async def _nameless(
    redis: Redis, keys: Sequence[bytes], left_out: LeftOut
) -> list[tuple[bytes, Sequence[bytes | None]]]:
    """Return those of the keys without any field of `_FIELDS` that are WebSockets all the same."""
    found: list[tuple[bytes, Sequence[bytes | None]]] = []
    for key, row in zip(keys, await redis.hashes(keys, _OTHER_FIELDS), strict=True):
        if isinstance(row, WrongType):
            left_out.wrong_type.add(key)
        elif any(value is not None for value in row):
            found.append((key, _NO_FIELD))
        else:
            left_out.gone.add(key)
    return found


async def _id_types(transaction: Transaction) -> IdTypes:
    ((session, user),) = await transaction.rows(_ID_TYPES, plan_once=True)
    return IdTypes(IdType(session), IdType(user))


async def _fold_sessions(transaction: Transaction, presence: Presence, not_provided: Collection[str]) -> int:
    """Fold the sessions with a recent heartbeat, and the others named by a WebSocket. Return the number of heartbeats
    too far in the future to be true."""
    ahead = 0
    async with aclosing(_one_ahead(transaction.batches(_beating(not_provided)))) as batches:
        async for rows in batches:
            beating = [row[:4] for row in rows if not row[4]]
            ahead += len(rows) - len(beating)
            presence.fold_sessions(beating)
    async with aclosing(_one_ahead(_silent(presence))) as some:
        async for ids in some:
            presence.fold_sessions(
                await _sessions_by_id(transaction, presence.types.session, ids, _columns(not_provided))
            )
    return ahead


async def _one_ahead(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the same items; each is produced while the previous one is processed, here or by PostgreSQL."""
    async with aclosing(items):
        coming = asyncio.ensure_future(anext(items, None))
        try:
            while (item := await coming) is not None:
                coming = asyncio.ensure_future(anext(items, None))
                await asyncio.sleep(0)  # lets it start
                yield item
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _silent(presence: Presence) -> AsyncGenerator[list[bytes], None]:
    """Yield the ids of sessions that are named by a WebSocket and have no recent heartbeat, at most LOOKUP_IDS at a
    time.

    Ids with the same beginning are grouped: a statement then reads one part of the index, which takes PostgreSQL half
    the time or less.
    """
    alike: defaultdict[bytes, list[bytes]] = defaultdict(list)
    number = 0
    for ids in presence.silent(await asyncio.to_thread(presence.sessions)):
        for session in ids:
            alike[session[:2]].append(session)
        number += len(ids)
        if number >= SORTED_IDS:
            for some in _in_order(alike):
                yield some
            alike.clear()
            number = 0
        await asyncio.sleep(0)
    for some in _in_order(alike):
        yield some


def _in_order(alike: Mapping[bytes, Sequence[bytes]]) -> Iterator[list[bytes]]:
    ids = chain.from_iterable(alike[beginning] for beginning in sorted(alike))
    while some := list(islice(ids, LOOKUP_IDS)):
        yield some


async def _sessions_by_id(transaction: Transaction, id_type: IdType, ids: Ids, columns: str) -> list[Row]:
    # An array without a type takes the type of `id`, so that its index is used.
    condition = "sessions.id = ANY(%(ids)s)" if id_type.known else "sessions.id::text = ANY(%(ids)s::text[])"
    query = f"SELECT {columns} FROM sessions WHERE {condition}"
    return await transaction.rows(query, {"ids": _array(id_type.possible(ids))})


def _array(ids: Ids) -> str:
    """Return ids, which contain no NUL, in PostgreSQL's notation of an array: the driver takes three times as long for
    a thousand."""
    escaped = b"\0".join(ids).decode().replace("\\", "\\\\").replace('"', '\\"')
    return '{"' + escaped.replace("\0", '","') + '"}' if escaped else "{}"


class OnlineNow:
    """The collector of users and devices online; it reads both sources completely at every refresh. WebSockets that are
    not provided are not read, and their values do not depend on Redis."""

    name = "online"
    sources: tuple[str, ...] = ("postgres", "redis")
    periods = 1
    inputs = (PRESENCE,)
    specs = (ONLINE_USERS, ONLINE_DEVICES, LIVE_VIEW_SESSIONS, SKIPPED)

    def __init__(self, ws_session_keys: Sequence[str], not_provided: Collection[str] = ()) -> None:
        if "ws_sessions" in not_provided:
            ws_session_keys, self.sources = (), ("postgres",)
        self.ws_session_keys = ws_session_keys
        self._not_provided = not_provided
        self._types: IdTypes | None = None

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Return users, devices by type, Live View sessions."""
        if self._types is None:
            async with sources.postgres.transaction() as transaction:
                self._types = await _id_types(transaction)
        presence, left_out = Presence(self._types), LeftOut()
        reasons: dict[str, int] = {}
        if self.ws_session_keys:
            await fold_web_sockets(sources.redis, self.ws_session_keys, presence, left_out)
            reasons = await asyncio.to_thread(left_out.reasons)
        async with sources.postgres.transaction() as transaction:
            types = await _id_types(transaction)
            if types == self._types:
                ahead = await _fold_sessions(transaction, presence, self._not_provided)
        if types != self._types:  # the columns were altered after the WebSockets were folded
            self._types = types
            return await self.refresh(sources)
        online = await asyncio.to_thread(presence.count)
        return [
            ONLINE_USERS.sample(online.users),
            *(ONLINE_DEVICES.sample(number, device_type=name) for name, number in online.devices.items()),
            LIVE_VIEW_SESSIONS.sample(online.live_view_sessions),
            *skipped(self.name, reasons | {"future_heartbeat": ahead}),
        ]
