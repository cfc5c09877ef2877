"""Passwords: checked with bcrypt, remembered, and as slow for an unknown name as for a known one."""

from __future__ import annotations

import asyncio
import base64
import threading
from http import HTTPStatus

import bcrypt
import pytest

from exporter.web_config.authentication import REMEMBERED, WAITING, BasicAuthUsers
from tests.waiting import bounded, patience, until_async

HASHES = {
    "alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(),
    "bob": "$2y" + bcrypt.hashpw("pass:wörd".encode(), bcrypt.gensalt(5)).decode()[3:],
    "long": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode(),
}


def basic(name: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode())


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that were compared with a password."""
    hashes: list[bytes] = []

    def counting(password: bytes, hashed: bytes) -> bool:
        hashes.append(hashed)
        return checkpw(password, hashed)

    checkpw = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", counting)
    return hashes


def check(users: BasicAuthUsers, *headers: bytes | None) -> list[HTTPStatus]:
    async def checked() -> list[HTTPStatus]:
        return [await users.check(header, "192.0.2.1") for header in headers]

    return asyncio.run(checked())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (basic("alice", "secret"), 200),
        (basic("alice", "secret").replace(b"Basic", b"bAsIc"), 200),
        (basic("bob", "pass:wörd"), 200),
        (basic("long", "x" * 72), 200),
        (basic("long", "x" * 100), 200),
        (basic("long", "x" * 71), 401),
        (basic("alice", "Secret"), 401),
        (basic("alice", ""), 401),
        (basic("bob", "secret"), 401),
        (basic("eve", "secret"), 401),
        (basic("alice\0", "secret"), 401),
        (basic("alice", "secret\0"), 401),
        (b"Basic " + base64.b64encode(b"alice"), 401),
        (b"Basic ====", 401),
        (b"Basic \xff", 401),
        (b"Basic", 401),
        (b"Bearer secret", 401),
        (b"", 401),
        (None, 401),
    ],
)
def test_only_a_user_with_the_password_is_let_in(header: bytes | None, status: int) -> None:
    users = BasicAuthUsers(HASHES)
    assert check(users, header, header) == [status] * 2


def test_each_password_is_computed_once(computed: list[bytes]) -> None:
    users = BasicAuthUsers(HASHES)
    right, wrong = basic("alice", "secret"), basic("alice", "guess")
    assert check(users, right, wrong, right, wrong, right) == [200, 401, 200, 401, 200]
    assert computed == [HASHES["alice"].encode()] * 2


def test_an_unknown_name_costs_as_much_as_the_dearest_user(computed: list[bytes]) -> None:
    assert check(BasicAuthUsers(HASHES), basic("eve", "secret")) == [401]
    assert [hashed[:7] for hashed in computed] == [b"$2b$05$"]


def test_wrong_passwords_displace_no_right_one(computed: list[bytes]) -> None:
    users = BasicAuthUsers({"alice": HASHES["alice"]})
    guesses = [basic("eve", str(number)) for number in range(REMEMBERED + 50)]
    check(users, basic("alice", "secret"), *guesses)
    computed.clear()
    assert check(users, basic("alice", "secret")) == [200]
    assert computed == []
    check(users, guesses[0])
    assert len(computed) == 1, "the oldest wrong ones are forgotten"


def test_one_address_waits_for_few_checks_and_delays_no_other_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """One check runs, and those that wait are answered in their order."""
    go_on, running = threading.Event(), []

    def slow(password: bytes, hashed: bytes) -> bool:
        running.append(password)
        assert len(running) - len(finished) == 1, "one at a time"
        go_on.wait(patience())
        finished.append(password)
        return password == b"secret"

    finished: list[bytes] = []
    monkeypatch.setattr(bcrypt, "checkpw", slow)

    async def asked() -> list[HTTPStatus]:
        users = BasicAuthUsers(HASHES)
        guesses = [asyncio.create_task(users.check(basic("eve", str(n)), "192.0.2.1")) for n in range(WAITING + 3)]
        await until_async(lambda: running)
        other = asyncio.create_task(users.check(basic("alice", "secret"), "192.0.2.2"))
        await asyncio.sleep(0)
        go_on.set()
        async with bounded():
            return await asyncio.gather(*guesses, other)

    assert asyncio.run(asked()) == [401] * WAITING + [429] * 3 + [200]
