"""Online users, devices by type, Live View (docs/definitions.md#online-user, docs/definitions.md#online-device)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql

from exporter.collectors import online
from exporter.collectors.online import OnlineNow, read_web_sockets
from exporter.definitions import Terms, read_definitions
from exporter.errors import SourceUnavailable
from exporter.sources import postgres
from exporter.sources import redis as redis_source
from servers.valkey import ValkeyServer
from tests.rows import INSTANT, NO_DATABASE, NOON, NOWHERE, by_name, collect, insert, keep, only, sources, user, users
from tests.waiting import patience

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


class Site:
    """HiveSync's two stores, and the collector's values of them."""

    def __init__(self, database: str, connection: psycopg.Connection, url: str, valkey: redis.Redis) -> None:
        self.database, self.connection, self.url, self.valkey = database, connection, url, valkey
        self.patterns = ["ws_sessions:*"]

    def session(self, at: datetime = NOON, **columns: object) -> str:
        """Insert a session with a heartbeat at that time; returns its id."""
        beating = {"created_at": at - DAY, "last_heartbeat_at": at}
        return insert(self.connection, "sessions", **{**beating, **columns})

    def web_socket(self, connection: str, **fields: object) -> None:
        keep(self.valkey, f"ws_sessions:{connection}", **{"connected_at": 1, "last_seen_at": 2, **fields})

    def online(self) -> Mapping[str, Any]:
        return collect(OnlineNow(self.patterns), self.database, self.url, now=NOON)

    @property
    def users(self) -> int:
        return int(self.online()["hivesync_online_users"])

    @property
    def devices(self) -> dict[str, int]:
        """Devices by type, without zeros."""
        counts = only(self.online(), "hivesync_online_devices")
        assert list(counts) == ["desktop", "ipad", "phone", "unknown"]
        return {device_type: number for device_type, number in counts.items() if number}

    @property
    def live_view_sessions(self) -> int:
        return int(self.online()["hivesync_live_view_sessions"])

    @property
    def left_out(self) -> dict[str, int]:
        counts = only(self.online(), "hivesync_skipped_values")
        assert set(counts) == {"online,wrong_type", "online,gone", "online,future_heartbeat"}
        return {reason.removeprefix("online,"): number for reason, number in counts.items() if number}


@pytest.fixture
def site(database: str, connection: psycopg.Connection, valkey: redis.Redis, valkey_server: ValkeyServer) -> Site:
    return Site(database, connection, valkey_server.url, valkey)


def test_nobody_is_online_at_first(site: Site) -> None:
    assert (site.users, site.devices, site.live_view_sessions, site.left_out) == (0, {}, 0, {})


@pytest.mark.parametrize(
    ("heartbeat", "online"),
    [
        (NOON - 2 * MINUTE, 0),
        (NOON - 2 * MINUTE + INSTANT, 1),
        (NOON, 1),
        (NOON + 5 * MINUTE, 1),
        (NOON + 5 * MINUTE + INSTANT, 0),
    ],
    ids=["2 minutes ago", "almost 2 minutes ago", "now", "5 minutes ahead", "more than 5 minutes ahead"],
)
def test_a_session_is_online_while_its_heartbeat_is_recent(heartbeat: datetime, online: int, site: Site) -> None:
    """A heartbeat slightly ahead is that of an application server's clock."""
    site.session(heartbeat, user_id=user(site.connection, "somebody"), device_type="ipad", kind="live_view")
    assert (site.users, sum(site.devices.values()), site.live_view_sessions) == (online, online, online)


def test_a_heartbeat_far_ahead_is_left_out_and_counted(site: Site) -> None:
    site.session(NOON + 5 * MINUTE + INSTANT, user_id=user(site.connection, "somebody"))
    site.session(NOON + 400 * DAY)
    site.session(NOON + 400 * DAY, ended_at=NOON)
    assert site.left_out == {"future_heartbeat": 2}


@pytest.mark.parametrize("ended_at", [NOON - DAY, NOON, NOON + DAY])
def test_a_session_that_ended_is_not_online_whatever_its_heartbeat(ended_at: datetime, site: Site) -> None:
    site.session(user_id=user(site.connection, "somebody"), ended_at=ended_at, kind="live_view")
    assert (site.users, site.devices, site.live_view_sessions) == (0, {}, 0)


def test_an_open_web_socket_is_online_without_any_session(site: Site) -> None:
    site.web_socket("a", user_id=user(site.connection, "somebody"), device_type="phone")
    assert (site.users, site.devices, site.live_view_sessions) == (1, {"phone": 1}, 0)


def test_a_web_socket_and_its_session_are_one_device_of_one_user(site: Site) -> None:
    somebody = user(site.connection, "somebody")
    session = site.session(user_id=somebody, device_type="desktop")
    site.web_socket("a", user_id=somebody, session_id=session, device_type="desktop")
    assert (site.users, site.devices) == (1, {"desktop": 1})


def test_two_web_sockets_of_one_session_are_one_device(site: Site) -> None:
    session = site.session(device_type="desktop")
    for connection in ("tab-1", "tab-2"):
        site.web_socket(connection, session_id=session, device_type="desktop")
    assert site.devices == {"desktop": 1}


def test_web_sockets_without_a_session_are_a_device_each(site: Site) -> None:
    somebody = user(site.connection, "somebody")
    for connection in ("a", "b"):
        site.web_socket(connection, user_id=somebody, device_type="ipad")
    site.web_socket("c", user_id=somebody, session_id="", device_type="ipad")
    assert (site.users, site.devices) == (1, {"ipad": 3})


def test_a_connection_and_a_session_of_the_same_name_are_two_devices(site: Site) -> None:
    session = site.session(device_type="phone")
    site.patterns = [session]
    keep(site.valkey, session, device_type="ipad")
    assert site.devices == {"phone": 1, "ipad": 1}


def test_a_user_with_several_devices_is_one_user(site: Site) -> None:
    somebody, somebody_else = users(site.connection, 2)
    site.session(user_id=somebody, device_type="desktop")
    site.session(user_id=somebody, device_type="ipad")
    site.session(user_id=somebody_else, device_type="ipad")
    site.web_socket("a", user_id=somebody, device_type="phone")
    assert (site.users, site.devices) == (2, {"desktop": 1, "ipad": 2, "phone": 1})


def test_a_device_of_nobody_is_a_device_and_no_user(site: Site) -> None:
    site.session(device_type="desktop", kind="live_view")
    site.web_socket("a", device_type="phone")
    site.web_socket("b", user_id="", device_type="phone")
    assert (site.users, site.devices, site.live_view_sessions) == (0, {"desktop": 1, "phone": 2}, 1)


def test_an_open_web_socket_keeps_its_session_online(site: Site) -> None:
    """Even if the row has ended or has long been silent; its user, kind and device type then count."""
    one, two = users(site.connection, 2)
    ended = site.session(user_id=one, device_type="desktop", ended_at=NOON - SECOND)
    silent = site.session(NOON - DAY, user_id=two, device_type="ipad", kind="live_view")
    early = site.session(NOON + DAY, device_type="phone", kind="live_view")
    for connection, session in (("a", ended), ("b", silent), ("c", early)):
        site.web_socket(connection, session_id=session)
    assert (site.users, site.devices, site.live_view_sessions) == (2, {"desktop": 1, "ipad": 1, "phone": 1}, 2)


def test_the_user_of_the_web_socket_counts_beside_the_one_of_its_session(site: Site) -> None:
    owner, guest = users(site.connection, 2)
    site.web_socket("a", user_id=guest, session_id=site.session(user_id=owner))
    assert (site.users, site.devices) == (2, {"unknown": 1})


def test_live_view_sessions_are_those_of_that_kind_that_are_online(site: Site) -> None:
    for kind in ("live_view", "live_view", "app"):
        site.session(kind=kind)
    site.session(NOON - DAY, kind="live_view")
    site.session(kind="live_view", ended_at=NOON)
    assert site.live_view_sessions == 2


@pytest.mark.parametrize(
    ("of_session", "of_web_socket", "expected"),
    [
        ("desktop", "phone", "desktop"),
        ("desktop", None, "desktop"),
        (None, "phone", "phone"),
        ("", "phone", "phone"),
        ("toaster", "ipad", "ipad"),
        ("iPad", "toaster", "ipad"),
        (None, " DESKTOP ", "desktop"),
        ("i pad", "toaster", "unknown"),
        (None, None, "unknown"),
        ("unknown", "desktop", "desktop"),
    ],
)
def test_a_devices_type_is_what_its_session_says_else_its_web_socket(
    of_session: str | None, of_web_socket: str | None, expected: str, site: Site
) -> None:
    session = site.session(device_type=of_session)
    site.web_socket("a", session_id=session, device_type=of_web_socket)
    assert site.devices == {expected: 1}


def test_of_two_web_sockets_the_one_that_knows_its_device_is_believed(site: Site) -> None:
    session = site.session()
    site.web_socket("a", session_id=session, device_type="toaster")
    site.web_socket("b", session_id=session, device_type="phone")
    site.web_socket("c", session_id=session)
    assert site.devices == {"phone": 1}


def test_of_two_web_sockets_that_differ_the_first_by_name_is_believed(site: Site) -> None:
    """The order in which the pass finds them does not matter."""
    for number in range(10):
        session = site.session()
        site.web_socket(f"{number} a", session_id=session, device_type="phone")
        site.web_socket(f"{number} b", session_id=session, device_type="ipad")
    assert site.devices == {"ipad": 10}


@pytest.mark.parametrize(
    "session_id",
    [
        "no-uuid",
        "7",
        "'; DROP TABLE sessions; --",
        "00000000-0000-0000-0000-00000000000",
        "\0",
        b"\xff\xfe",
        "é" * 10_000,
        str(uuid4()),
    ],
    ids=["words", "a number", "SQL", "a digit short", "NUL", "no UTF-8", "long", "a session that is not there"],
)
def test_a_session_id_that_is_no_sessions_is_a_device_of_its_own(session_id: str | bytes, site: Site) -> None:
    session = site.session(device_type="desktop")
    site.web_socket("good", session_id=session)
    site.web_socket("bad", device_type="phone", user_id="x")
    site.valkey.hset("ws_sessions:bad", "session_id", session_id)
    assert (site.users, site.devices, site.left_out) == (1, {"desktop": 1, "phone": 1}, {})


def test_a_user_id_of_any_form_is_a_user(site: Site) -> None:
    for connection, user_id in enumerate((b"\xff", b"\0", b"somebody@example.org", b"7", b"7")):
        site.valkey.hset(f"ws_sessions:{connection}", "user_id", user_id)
    assert (site.users, site.devices) == (4, {"unknown": 5})


def test_a_key_of_another_type_is_left_out_and_counted(site: Site) -> None:
    site.valkey.set("ws_sessions:string", "x")
    site.valkey.rpush("ws_sessions:list", "x")
    site.valkey.sadd("ws_sessions:set", "x")
    site.web_socket("good", device_type="phone")
    assert (site.devices, site.left_out) == ({"phone": 1}, {"wrong_type": 3})


def test_ids_and_words_of_any_length_are_told_apart_and_cost_no_device(site: Site) -> None:
    for number in range(3):
        long = f"{'x' * 1_000_000}{number % 2}"
        site.web_socket(str(number), user_id=long, session_id=long, device_type=f"{'x' * 500_000}{number}")
    site.web_socket("usual", user_id="u", session_id="s", device_type="phone")
    site.web_socket("large", user_id="x" * 5_000_000)
    assert (site.users, site.devices) == (3, {"phone": 1, "unknown": 2})
    assert site.left_out == {"wrong_type": 1}


def test_a_key_that_is_gone_before_it_is_read_is_left_out_and_counted(site: Site) -> None:
    site.patterns = ["ws_sessions:*", "gateway:1"]  # a literal key is read without a scan
    site.web_socket("good", device_type="phone")
    assert (site.devices, site.left_out) == ({"phone": 1}, {"gone": 1})
    keep(site.valkey, "gateway:1", device_type="ipad")
    assert (site.devices, site.left_out) == ({"phone": 1, "ipad": 1}, {})


def test_a_web_socket_that_says_nothing_of_itself_is_a_device_all_the_same(site: Site) -> None:
    site.valkey.hset("ws_sessions:a", mapping={"connected_at": "1"})
    site.valkey.hset("ws_sessions:b", mapping={"last_seen_at": "2"})
    site.valkey.hset("ws_sessions:c", mapping={"colour": "red"})
    assert (site.users, site.devices, site.left_out) == (0, {"unknown": 2}, {"gone": 1})


def test_keys_that_a_pass_comes_upon_twice_count_once(site: Site) -> None:
    site.patterns = ["ws_sessions:*", "ws_*", "ws_sessions:a", "ws_sessions:gone"]
    session = site.session(user_id=user(site.connection, "somebody"), device_type="desktop")
    site.web_socket("a", session_id=session, user_id="x")
    site.web_socket("b", device_type="phone", user_id="x")
    site.valkey.hset("ws_sessions:c", mapping={"connected_at": "1"})
    site.valkey.set("ws_sessions:string", "x")
    assert (site.users, site.devices) == (2, {"desktop": 1, "phone": 1, "unknown": 1})
    assert site.left_out == {"wrong_type": 1, "gone": 1}


def test_however_many_there_are_they_are_what_plain_sql_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """More sessions and WebSockets than fit into one batch, lookup or pipeline."""
    monkeypatch.setattr(redis_source, "PIPELINE_KEYS", 7)
    monkeypatch.setattr(postgres, "BATCH_ROWS", 5)
    monkeypatch.setattr(online, "LOOKUP_IDS", 3)
    monkeypatch.setattr(online, "SORTED_IDS", 20)
    owners = users(site.connection, 20)
    for number in range(120):
        beats = number % 3 == 0
        kind = "live_view" if number % 4 == 0 else "app"
        owner, device_type = owners[number % 20], ("desktop", "ipad", None)[number % 5 % 3]
        session = site.session(NOON if beats else NOON - DAY, user_id=owner, kind=kind, device_type=device_type)
        if number % 10:
            ids = {"session_id": session, "user_id": f"guest {number % 30}"} if number % 7 else {}
            site.web_socket(f"{number}", device_type="phone", **ids)
    for number in range(60):
        site.web_socket(f"of no session {number}", session_id=("no uuid", str(uuid4()))[number % 2])

    async def from_scratch() -> Mapping[str, Any]:
        async with sources(site.database, site.url, NOON) as opened:
            web_sockets, _ = await read_web_sockets(opened.redis, site.patterns)
            assert len(web_sockets) == 168
            async with opened.postgres.transaction() as transaction:
                return by_name(await read_definitions(OnlineNow.specs, transaction, Terms(), web_sockets))

    counted = {name: value for name, value in site.online().items() if "skipped" not in name}
    assert counted == asyncio.run(from_scratch())
    assert counted["hivesync_online_users"] > 40
    assert site.left_out == {}


@pytest.mark.parametrize("id_type", ["text", "numeric"])
def test_a_session_id_is_looked_up_whatever_characters_it_has(id_type: str, site: Site) -> None:
    """Session ids of a type with a known spelling, and of a type without."""
    site.connection.execute(
        sql.SQL("ALTER TABLE sessions ALTER id DROP DEFAULT, ALTER id TYPE {type} USING 0").format(
            type=sql.SQL(id_type)
        )
    )
    odd = ['"', "\\", '\\"', "{", "}", ",", "a b", "NULL", " a ", "é", "'"] if id_type == "text" else ["1", "1.50"]
    for number, session_id in enumerate(odd):
        site.session(NOON - DAY, id=session_id, kind="live_view", device_type="desktop")
        site.web_socket(f"{number}", session_id=session_id)
    assert (site.devices, site.live_view_sessions) == ({"desktop": len(odd)}, len(odd))


def test_a_closed_web_socket_is_offline_at_once(site: Site) -> None:
    site.web_socket("a", user_id="somebody", device_type="phone")
    assert site.users == 1
    site.valkey.delete("ws_sessions:a")
    assert (site.users, site.devices) == (0, {})


def test_other_keys_are_not_looked_at(site: Site) -> None:
    site.valkey.set("ws_session", "x")
    keep(site.valkey, "sessions:ws_sessions:1", user_id="somebody")
    assert (site.users, site.devices, site.left_out) == (0, {}, {})


@pytest.mark.parametrize("down", ["postgres", "redis"])
def test_every_value_needs_both_sources(down: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", patience(0.6))
    if down == "redis":
        site.url = NOWHERE
    else:
        site.database = NO_DATABASE
    site.session()
    with pytest.raises(SourceUnavailable) as raised:
        site.online()
    assert (raised.value.source, raised.value.kind) == (down, "refused")
