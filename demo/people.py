"""The made-up people: they log in, stay for a while and leave, join Live Views, and change their plans.

Their sessions are rows with heartbeats and, mostly, a WebSocket: a key in Redis that expires unless it is refreshed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal
from uuid import UUID

from demo import world
from demo.backend import Backend, RedisFields
from demo.plans import change_plan, end_trials

Kind = Literal["app", "live_view"]

BEAT_SECONDS = 10.0
WEBSOCKET_EXPIRES_SECONDS = 45
HAS_WEBSOCKET = 0.85  # of the sessions; the others are behind proxies that allow no WebSockets
TELLS_SESSION = 0.95  # of the WebSockets; the others are of an older app, and name no session

USERS = """
    SELECT users.id, count(sessions.id) + 1 FROM users LEFT JOIN sessions ON sessions.user_id = users.id
    GROUP BY users.id ORDER BY users.id
"""
PROJECTS = "SELECT owner_id, id FROM projects WHERE owner_id IS NOT NULL ORDER BY id"
OPEN_SESSIONS = """
    SELECT id, user_id, kind, device_type FROM sessions
    WHERE ended_at IS NULL AND last_heartbeat_at > now() - interval '2 minutes' ORDER BY id
"""
LOG_IN = """
    WITH login AS (UPDATE users SET last_login_at = now() WHERE id = %(user)s AND %(kind)s = 'app')
    INSERT INTO sessions (user_id, kind, device_type) VALUES (%(user)s, %(kind)s, %(device)s) RETURNING id
"""
SIGN_UP = """
    WITH new_user AS (INSERT INTO users (email) VALUES (%(email)s) RETURNING id)
    INSERT INTO projects (owner_id, name) SELECT id, 'first project' FROM new_user RETURNING owner_id, id
"""


@dataclass(frozen=True, slots=True)
class Requester:
    """The user and the project of a request."""

    user_id: UUID | None
    project_id: UUID | None


@dataclass(slots=True)
class Visit:
    """An open session."""

    session_id: UUID
    kind: Kind
    device: str | None
    who: Requester
    leaves_at: float
    websocket: str | None
    tells_session: bool
    connected_at: float


class People:
    """All users, and the visits that are open now. `now` is always the traffic's own, perhaps faster, time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._rng = backend.rng
        rows = backend.execute(USERS)
        self._users: list[UUID] = [user for user, _ in rows]
        self._weights = list(accumulate(sessions for _, sessions in rows))
        self._projects: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for owner, project in backend.execute(PROJECTS):
            self._projects[owner].append(project)
        self._visits: list[Visit] = []

    @property
    def count(self) -> int:
        """Number of users."""
        return len(self._users)

    def find_visits(self, now: float) -> None:
        """Continue the sessions that are open in the database."""
        for session, user, kind, device in self._backend.execute(OPEN_SESSIONS):
            self._stay(session, kind, device, self._requester(user), now)

    def arrive(self, kind: Kind, now: float) -> None:
        """Let a user log in, or a user or guest join a Live View."""
        is_guest = kind == "live_view" and self._rng.random() < world.GUESTS
        who = Requester(None, None) if is_guest else self._requester(self._somebody())
        device = world.choose(self._rng, world.DEVICES)
        ((session,),) = self._backend.execute(LOG_IN, {"user": who.user_id, "kind": kind, "device": device})
        visit = self._stay(session, kind, device, who, now)
        self._connect([visit])
        if kind == "live_view":
            self._log("live_view.joined", who)

    def leave(self, now: float) -> None:
        """End the visits whose time is up, mostly with `ended_at`."""
        for visit in [visit for visit in self._visits if visit.leaves_at <= now]:
            if self._rng.random() >= world.NO_GOODBYE:
                self._backend.execute("UPDATE sessions SET ended_at = now() WHERE id = %s", [visit.session_id])
                if visit.websocket:
                    self._backend.redis.delete(visit.websocket)
                if visit.kind == "live_view":
                    self._log("live_view.left", visit.who)
            self._visits.remove(visit)

    def beat(self) -> None:
        """Write the heartbeat of every open session."""
        sessions = [visit.session_id for visit in self._visits]
        self._backend.execute("UPDATE sessions SET last_heartbeat_at = now() WHERE id = ANY(%s)", [sessions])
        self._connect(self._visits)
        end_trials(self._backend)

    def sign_up(self) -> None:
        """Add a user with a first project."""
        email = f"{self._rng.getrandbits(64):016x}@example.org"
        ((user, project),) = self._backend.execute(SIGN_UP, {"email": email})
        self._users.append(user)
        self._weights.append(self._weights[-1] + 1)
        self._projects[user].append(project)

    def change_plan(self) -> None:
        """Let a user start a trial, change to a paid plan or cancel."""
        change_plan(self._backend)

    def requester(self) -> Requester:
        """Return the author of the next request: mostly a user with an open session."""
        if self._rng.random() < world.ANONYMOUS:
            return Requester(None, None)
        here = [visit.who for visit in self._visits if visit.who.user_id is not None]
        return self._rng.choice(here) if here else self._requester(self._somebody())

    def _somebody(self) -> UUID:
        return self._rng.choices(self._users, cum_weights=self._weights)[0]

    def _requester(self, user: UUID | None) -> Requester:
        projects = self._projects[user] if user else []
        return Requester(user, self._rng.choice(projects) if projects else None)

    def _stay(self, session: UUID, kind: Kind, device: str | None, who: Requester, now: float) -> Visit:
        minutes = self._rng.expovariate(1 / world.SESSION_MINUTES[kind])
        websocket = f"ws_sessions:{self._rng.getrandbits(96):024x}" if self._rng.random() < HAS_WEBSOCKET else None
        tells_session = self._rng.random() < TELLS_SESSION
        visit = Visit(session, kind, device, who, now + minutes * 60, websocket, tells_session, time.time())
        self._visits.append(visit)
        return visit

    def _connect(self, visits: list[Visit]) -> None:
        """Write or rewrite the WebSockets' keys."""
        with self._backend.redis.pipeline(transaction=False) as pipeline:
            for visit in visits:
                if visit.websocket:
                    pipeline.hset(visit.websocket, mapping=self._websocket_fields(visit))
                    pipeline.expire(visit.websocket, WEBSOCKET_EXPIRES_SECONDS)
            pipeline.execute()

    def _websocket_fields(self, visit: Visit) -> RedisFields:
        fields = {
            "user_id": visit.who.user_id,
            "session_id": visit.session_id if visit.tells_session else None,
            "device_type": visit.device,
            "connected_at": int(visit.connected_at),
            "last_seen_at": int(time.time()),
        }
        return {name: str(value) for name, value in fields.items() if value is not None}

    def _log(self, event: str, who: Requester) -> None:
        self._backend.preview_log.write(event, user_id=who.user_id, project_id=who.project_id)
