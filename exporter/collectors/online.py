"""Who is online now: WebSockets in Redis and heartbeats in PostgreSQL, told apart by session (contract §2; spec
§3.1).

    hivesync_online_users 42.0
    hivesync_online_devices{device_type="desktop"} 31.0
    hivesync_live_view_sessions 3.0

A WebSocket and its session row are one device. Every value needs both sources. Ids are compared as text, and are gone
when the refresh ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.collector import SKIPPED, Sources, skipped
from exporter.labels import UNKNOWN, closed
from exporter.sources.postgres import Transaction
from exporter.sources.redis import Redis, WrongType
from exporter.spec import MetricSpec, Sample

DEVICE_TYPES = ("desktop", "ipad", "phone")

ONLINE_USERS = MetricSpec(
    "hivesync_online_users",
    "gauge",
    "Distinct users with an open WebSocket or a session heartbeat in the last 2 minutes.",
    "Redis (ws_sessions) and PostgreSQL (sessions)",
)
ONLINE_DEVICES = MetricSpec(
    "hivesync_online_devices",
    "gauge",
    "Sessions with an open WebSocket or a heartbeat in the last 2 minutes, by type of device.",
    "Redis (ws_sessions) and PostgreSQL (sessions)",
    ("device_type",),
)
LIVE_VIEW_SESSIONS = MetricSpec(
    "hivesync_live_view_sessions",
    "gauge",
    "Live View sessions with an open WebSocket or a heartbeat in the last 2 minutes.",
    "Redis (ws_sessions) and PostgreSQL (sessions)",
)

_COLUMNS = "sessions.id::text, sessions.user_id::text, sessions.kind, sessions.device_type"

# A heartbeat somewhat ahead of this transaction's `now` is one that arrived while it began, or an application
# server's clock.
_BEATING = f"""
SELECT {_COLUMNS}, sessions.last_heartbeat_at > %(now)s + interval '5 minutes' FROM sessions
WHERE sessions.last_heartbeat_at > %(now)s - interval '2 minutes' AND sessions.ended_at IS NULL
"""

_ID_TYPE = "SELECT pg_typeof((SELECT sessions.id FROM sessions LIMIT 0))::text"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")

_CAN_BE_ID: Mapping[str, Callable[[str], bool]] = {
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
    "bigint": lambda text: _INTEGER.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63,
    "integer": lambda text: _INTEGER.fullmatch(text) is not None and -(2**31) <= int(text) < 2**31,
    "text": lambda text: "\0" not in text,
    "character varying": lambda text: "\0" not in text,
}
"""By the type of `sessions.id`: whether it can be what Redis has as a session id, written as PostgreSQL writes it. What
can be is compared in that type, so that the index is used; what cannot is no session's."""


@dataclass(frozen=True, slots=True)
class WebSocket:
    """A `ws_sessions:*` hash: an open connection."""

    connection: str
    user_id: str | None
    session_id: str | None
    device_type: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A row of `sessions` that is online."""

    id: str
    user_id: str | None
    kind: str
    device_type: str | None


@dataclass(frozen=True, slots=True)
class Online:
    """What is counted. `devices` has a count for every device type and `unknown`."""

    users: int
    devices: dict[str, int]
    live_view_sessions: int


async def read_web_sockets(redis: Redis, patterns: Iterable[str]) -> tuple[list[WebSocket], dict[str, int]]:
    """Every open WebSocket, and how many keys were left out by reason."""
    keys = await redis.keys(patterns)
    rows = await redis.hashes(keys, ("user_id", "session_id", "device_type", "connected_at", "last_seen_at"))
    reasons = {"wrong_type": 0, "gone": 0}
    web_sockets = []
    for key, row in zip(keys, rows, strict=True):
        if isinstance(row, WrongType):
            reasons["wrong_type"] += 1
        elif not any(row):
            reasons["gone"] += 1
        else:
            user_id, session_id, device_type, *_ = row
            web_sockets.append(
                WebSocket(key.decode("utf-8", "replace"), user_id or None, session_id or None, device_type)
            )
    return web_sockets, reasons


async def read_sessions(transaction: Transaction, session_ids: set[str]) -> tuple[list[Session], int]:
    """The sessions that beat, and those named by a WebSocket; and how many heartbeats were too far ahead to be true."""
    beating = await transaction.rows(_BEATING)
    sessions = [Session(*row[:4]) for row in beating if not row[4]]
    silent = session_ids.difference(session.id for session in sessions)
    return sessions + await _sessions_by_id(transaction, silent), len(beating) - len(sessions)


async def _sessions_by_id(transaction: Transaction, ids: set[str]) -> list[Session]:
    if not ids:
        return []
    id_type = (await transaction.rows(_ID_TYPE))[0][0]
    if id_type in _CAN_BE_ID:
        can_be, condition = _CAN_BE_ID[id_type], f"sessions.id = ANY(%(ids)s::{id_type}[])"
    else:  # a type we do not know: right, but without its index
        can_be, condition = _CAN_BE_ID["text"], "sessions.id::text = ANY(%(ids)s)"
    query = f"SELECT {_COLUMNS} FROM sessions WHERE {condition}"
    return [Session(*row) for row in await transaction.rows(query, {"ids": list(filter(can_be, ids))})]


def count(web_sockets: Iterable[WebSocket], sessions: Iterable[Session]) -> Online:
    """Folds both into one: users by id, devices by session id, a WebSocket without a session being a device of its own.

    A device's type is what its session row says; where that says nothing known, what its WebSocket says.
    """
    users: set[str | None] = set()
    device_types: dict[tuple[str, str], str] = {}
    live_view = set()
    for session in sessions:
        users.add(session.user_id)
        device_types["session", session.id] = closed(session.device_type, DEVICE_TYPES, UNKNOWN)
        if session.kind == "live_view":
            live_view.add(session.id)
    for web_socket in web_sockets:
        users.add(web_socket.user_id)
        device = ("session", web_socket.session_id) if web_socket.session_id else ("connection", web_socket.connection)
        if device_types.get(device, UNKNOWN) == UNKNOWN:
            device_types[device] = closed(web_socket.device_type, DEVICE_TYPES, UNKNOWN)
    devices = Counter(device_types.values())
    return Online(
        users=len(users - {None}),
        devices={device_type: devices[device_type] for device_type in (*DEVICE_TYPES, UNKNOWN)},
        live_view_sessions=len(live_view),
    )


class OnlineNow:
    """Reads both sources anew at every refresh: what is online now is small."""

    name = "online"
    sources = ("postgres", "redis")
    periods = 1
    specs = (ONLINE_USERS, ONLINE_DEVICES, LIVE_VIEW_SESSIONS, SKIPPED)

    def __init__(self, ws_session_keys: Sequence[str]) -> None:
        self.ws_session_keys = ws_session_keys

    async def refresh(self, sources: Sources) -> Sequence[Sample]:
        """Users, devices by type, Live View sessions."""
        web_sockets, reasons = await read_web_sockets(sources.redis, self.ws_session_keys)
        async with sources.postgres.transaction() as transaction:
            named = {web_socket.session_id for web_socket in web_sockets if web_socket.session_id}
            sessions, ahead = await read_sessions(transaction, named)
        online = count(web_sockets, sessions)
        return [
            ONLINE_USERS.sample(online.users),
            *(ONLINE_DEVICES.sample(number, device_type=name) for name, number in online.devices.items()),
            LIVE_VIEW_SESSIONS.sample(online.live_view_sessions),
            *skipped(self.name, reasons | {"future_heartbeat": ahead}),
        ]
