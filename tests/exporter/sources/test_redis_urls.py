"""Redis URLs against real servers: password, user, database, TLS, and options that are refused before any request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
import redis

from exporter import redis_options
from exporter.doctor.redis import HARMLESS
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.redis_options import SUPPORTED
from exporter.sources.redis import Redis
from exporter.sources.redis_commands import Command
from exporter.urls import InvalidUrl, read_redis
from servers.ports import LOOPBACK
from servers.valkey import ValkeyServer
from tests.redis_tls import KEY_PASSWORD, Certificates, RedisServer, make_certificates

T = TypeVar("T")
MANUAL = Path(__file__).parents[3] / "docs" / "operating.md"


@pytest.fixture
def server(valkey_server: ValkeyServer, valkey: redis.Redis) -> Iterator[str]:
    """`host:port` of a server without a password, with one job waiting in database 0 and two in database 5. Users and
    passwords that a test sets are removed after it."""
    valkey.config_set("requirepass", "")
    valkey.rpush("ai_queue:default", "a job")
    with redis.Redis(port=valkey_server.port, db=5) as other:
        other.rpush("ai_queue:default", "a job", "another")
    yield f"{LOOPBACK}:{valkey_server.port}"
    valkey.config_set("requirepass", valkey_server.password)
    for user in map(str, valkey.acl_users()):
        if user != "default":
            valkey.acl_deluser(user)


def ask(url: str, question: Callable[[Redis], Awaitable[T]]) -> T:
    """The answer to one question of a new client."""

    async def answer() -> T:
        client = Redis(url)
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(answer())


def waiting(client: Redis) -> Awaitable[Any]:
    return client.lengths([b"ai_queue:default"])


def down(url: str) -> str:
    """The kind of failure of a server that counts as down."""

    async def question(client: Redis) -> str:
        with pytest.raises(SourceUnavailable) as raised:
            await waiting(client)
        assert (client.reachability.up, client.reachability.error) == (False, raised.value.kind)
        return raised.value.kind

    return ask(url, question)


# ---- user and database ----


@pytest.mark.parametrize("password", ["57/secret", "12#secret34", "99?secret", "a@b:c", "100%25", "[x] y+z", "\n\0ü"])
def test_a_password_opens_whatever_it_is_made_of(password: str, server: str, valkey: redis.Redis) -> None:
    valkey.acl_setuser("someone", enabled=True, passwords=[f"+{password}"], keys=["*"], commands=["+@all"])
    written = quote(password, safe="")
    assert ask(f"redis://someone:{written}@{server}/0", waiting) == [1]
    assert ask(f"redis://{server}/0?username=someone&password={written}", waiting) == [1]
    assert down(f"redis://someone:{written}x@{server}/0") == "authentication"


def test_a_password_without_a_user_is_the_default_users(server: str, valkey: redis.Redis) -> None:
    valkey.config_set("requirepass", "57/secret")
    assert ask(f"redis://:57%2Fsecret@{server}/0", waiting) == [1]
    assert down(f"redis://{server}/0") == "authentication"
    assert down(f"redis://57%2Fsecret@{server}/0") == "authentication"


@pytest.mark.parametrize(
    "rest", ["/5", "?db=5", "/5?db=5", "/5?decode_responses=True", "/5?protocol=3&encoding=utf-16"]
)
def test_the_database_of_the_url_is_the_one_that_is_read(rest: str, server: str) -> None:
    assert ask(f"redis://{server}{rest}", waiting) == [2]


def test_a_database_that_there_is_not_is_unknown(server: str) -> None:
    assert down(f"redis://{server}/999") == "unknown_database"


def granted(valkey: redis.Redis, more: str = "") -> str:
    """`user:password@` of a user with the rights in the manual."""
    (line,) = re.findall(r"^ACL SETUSER .*$", MANUAL.read_text(), re.MULTILINE)
    words = f"{line} {more}".replace("PASSWORD", "pw").split()
    valkey.execute_command(*words)  # type: ignore[no-untyped-call]
    return f"{words[2]}:pw@"


async def everything(client: Redis) -> tuple[Any, ...]:
    await client.time()
    async with aclosing(client.all_hashes(["ws_*"], ("user_id",))) as batches:
        keys = [key async for batch in batches for key in batch.keys]
    of_celery = await client.sizes([b"unacked"]), await client.lowest_score(b"unacked_index")
    beats = await client.strings([b"worker:1:heartbeat"])
    return await waiting(client), keys, await client.hashes([b"ws_sessions:1"], ("user_id",)), *of_celery, beats


def test_the_rights_in_the_manual_are_enough(server: str, valkey: redis.Redis) -> None:
    valkey.hset("ws_sessions:1", "user_id", "u")
    valkey.hset("unacked", "tag", "a message")
    valkey.zadd("unacked_index", {"tag": 1.5})
    valkey.set("worker:1:heartbeat", "1767139200.5")
    user = granted(valkey)
    assert ask(f"redis://{user}{server}/0", everything) == (
        [1],
        [b"ws_sessions:1"],
        [("u",)],
        [1],
        1.5,
        ["1767139200.5"],
    )


def test_the_rights_in_the_manual_are_those_of_the_code() -> None:
    (line,) = re.findall(r"^ACL SETUSER .*$", MANUAL.read_text(), re.MULTILINE)
    assert set(line.split()[6:]) == {command.right for command in Command}


@pytest.mark.parametrize("command", [command for command in HARMLESS if command is not Command.INFO], ids=str)
def test_each_right_in_the_manual_is_needed(command: Command, server: str, valkey: redis.Redis) -> None:
    user = granted(valkey, f"-{command.lower()}")
    with pytest.raises(CollectionFailed, match="no_permission"):
        ask(f"redis://{user}{server}/0", everything)


def test_messages_of_celery_need_no_right_to_read_their_hash(server: str, valkey: redis.Redis) -> None:
    valkey.hset("unacked", "tag", "a message")
    user = granted(valkey)
    with redis.Redis.from_url(f"redis://{user}{server}/0") as client:
        for read in (client.hgetall, client.hvals, client.hscan):
            with pytest.raises(redis.exceptions.NoPermissionError):
                read("unacked")


def test_another_database_needs_the_right_to_select_it(server: str, valkey: redis.Redis) -> None:
    user = granted(valkey)
    assert down(f"redis://{user}{server}/5") == "no_permission"
    granted(valkey, "+select")
    assert ask(f"redis://{user}{server}/5", waiting) == [2]


# ---- options ----


@pytest.mark.parametrize(
    "query",
    [
        "decode_responses=True",
        "encoding=utf-16&encoding_errors=ignore",
        "protocol=3&legacy_responses=false",
        "max_connections=1",
        "health_check_interval=30&retry_on_timeout=yes&socket_keepalive=1&socket_read_size=1",
        "client_name=a+b".replace("+", "%20"),
        "socket_timeout=2.5&socket_connect_timeout=2&timeout=3",
    ],
)
def test_options_meant_for_an_application_change_no_answer(query: str, server: str, valkey: redis.Redis) -> None:
    valkey.hset("ws_sessions:1", "user_id", "ü")

    async def question(client: Redis) -> Any:
        at_once = await asyncio.gather(*(waiting(client) for _ in range(3)))
        return at_once, await everything(client)

    assert ask(f"redis://{server}/0?{query}", question) == (
        [[1]] * 3,
        ([1], [b"ws_sessions:1"], [("ü",)], [0], None, [None]),
    )


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://h/0?colour=blue", "option colour: is not known"),
        ("redis://h/0?host=x", "option host: is not known"),
        ("redis://h/0?retry=1", "option retry: is not known"),
        ("redis://h/0?credential_provider=x", "option credential_provider: is not known"),
        ("redis://h/0?ssl_cert_reqs=none", "option ssl_cert_reqs: is not for a redis:// URL"),
        ("unix:///s?ssl_ca_certs=x", "option ssl_ca_certs: is not for a unix:// URL"),
        ("unix:///s?socket_keepalive=true", "option socket_keepalive: is not for a unix:// URL"),
        ("rediss://h/0?ssl_cert_reqs=CERT_SOME", "option ssl_cert_reqs: should be none, optional or required"),
        ("rediss://h/0?ssl_cert_reqs=", "option ssl_cert_reqs: should have a value"),
        ("rediss://h/0?ssl_cert_reqs", "option ssl_cert_reqs: should have a value"),
        ("rediss://h/0?ssl_check_hostname=perhaps", "option ssl_check_hostname: should be true or false"),
        ("rediss://h/0?ssl_min_version=1", "option ssl_min_version: should be 771 (TLSv1_2) or 772 (TLSv1_3)"),
        ("rediss://h/0?ssl_include_verify_flags=X", "option ssl_include_verify_flags: should be names"),
        ("rediss://h/0?ssl_ciphers=X", "option ssl_ciphers: should be names"),
        ("rediss://h/0?ssl_ca_certs=/nonexistent", "option ssl_ca_certs: should be a file of certificates"),
        ("rediss://h/0?ssl_ca_certs=/dev/null", "option ssl_ca_certs: should be a file of certificates"),
        ("rediss://h/0?ssl_ca_path=/nonexistent", "option ssl_ca_path: should be a directory"),
        ("rediss://h/0?ssl_ca_data=x", "option ssl_ca_data: should be certificates"),
        ("rediss://h/0?ssl_certfile=/nonexistent", "option ssl_certfile: should be a certificate"),
        ("rediss://h/0?ssl_keyfile=/nonexistent", "option ssl_keyfile: needs ssl_certfile"),
        ("redis://h/0?db=first", "option db: should be a whole number"),
        ("redis://h/0?db=-1", "option db: should be a whole number"),
        ("redis://h/1?db=2", "option db: is another database than the one in the path"),
        ("redis://h/0?socket_timeout=0", "option socket_timeout: should be a number of seconds above 0"),
        ("redis://h/0?socket_timeout=nan", "option socket_timeout: should be a number of seconds above 0"),
        ("redis://h/0?socket_timeout=2&socket_timeout=3", "option socket_timeout: is given twice"),
        ("redis://h/0?decode_responses=perhaps", "option decode_responses: should be true or false"),
        ("redis://h/0?protocol=4", "option protocol: should be 2 or 3"),
        ("redis://h/0?max_connections=many", "option max_connections: should be a whole number"),
        ("redis://:s3cret@h/0?password=s3cret", "option password: stands before the host as well"),
        ("redis://h/0?password=s3+cret", "option password: should have no +"),
        ("redis://h/0?password=s3%FFcret", "option password: should be UTF-8"),
        ("redis://h/0?password=12&s3cret", "an option: is not known"),
        ("redis://h/0?S3cret", "an option: is not known"),
        ("redis://h/0?password=12&secret", "an option: is not known"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_its_name(url: str, named: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        read_redis(url)
    assert str(raised.value).startswith(named)
    assert "cret" not in str(raised.value)


# ---- TLS ----


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_an_option_that_the_driver_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_options, "SUPPORTED", SUPPORTED - {"ssl_ciphers"})
    assert read_redis("rediss://h/0?ssl_check_hostname=true")
    with pytest.raises(InvalidUrl, match=r"option ssl_ciphers: is not supported by redis-py \d+\.\d+"):
        read_redis("rediss://h/0?ssl_ciphers=DEFAULT")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RedisServer]:
    """A server with a job waiting in database 5."""
    with RedisServer(tmp_path_factory.mktemp("redis"), certificates) as server:
        with redis.Redis(port=server.plain_port, db=5) as client:
            client.rpush("ai_queue:default", "a job")
        yield server


@pytest.mark.redis
@pytest.mark.parametrize(
    "query",
    [
        "ssl_ca_certs={authority}",
        "ssl_ca_certs={authority}&ssl_cert_reqs=required&ssl_check_hostname=true&ssl_min_version=772",
        "ssl_ca_certs={authority}&ssl_cert_reqs=CERT_REQUIRED",
        "ssl_ca_certs={authority}&ssl_cert_reqs=CERT_OPTIONAL",
        *(
            f"ssl_ca_certs={{authority}}&ssl_cert_reqs=optional&{flags}=VERIFY_X509_STRICT"
            for flags in SUPPORTED & {"ssl_exclude_verify_flags"}
        ),
        "ssl_ca_data={authority_text}",
        "ssl_cert_reqs=CERT_NONE",
        "ssl_cert_reqs=none&decode_responses=True",
        "ssl_ca_certs={stranger}&ssl_cert_reqs=cert_none",
    ],
)
def test_tls_works_with_an_authority_or_without_asking(
    query: str, tls: RedisServer, certificates: Certificates
) -> None:
    text = quote(certificates.authority.read_text(), safe="")
    filled = query.format(authority=certificates.authority, stranger=certificates.stranger, authority_text=text)
    assert ask(tls.url_of(rest=f"/5?{filled}"), waiting) == [1]


@pytest.mark.redis
@pytest.mark.parametrize("query", ["", "?ssl_ca_certs={stranger}", "?ssl_cert_reqs=CERT_OPTIONAL"])
def test_a_certificate_that_is_not_known_is_a_failure_of_tls(
    query: str, tls: RedisServer, certificates: Certificates
) -> None:
    assert down(tls.url_of(rest="/5" + query.format(stranger=certificates.stranger))) == "tls"


@pytest.mark.redis
def test_a_certificate_of_another_name_is_a_failure_of_tls(tls: RedisServer, certificates: Certificates) -> None:
    url = tls.url_of(rest=f"/5?ssl_ca_certs={certificates.authority}").replace(LOOPBACK, "localhost")
    assert down(url) == "tls"
    assert ask(f"{url}&ssl_check_hostname=no", waiting) == [1]


@pytest.mark.redis
def test_a_server_with_tls_is_down_for_a_url_without(tls: RedisServer) -> None:
    assert down(f"redis://{LOOPBACK}:{tls.port}/0") == "connection_lost"


@pytest.mark.redis
def test_a_server_may_want_a_certificate_of_its_clients(tmp_path: Path, certificates: Certificates) -> None:
    own, authority = certificates.client, f"/0?ssl_ca_certs={certificates.authority}"
    with RedisServer(tmp_path, certificates, wants_certificates=True) as server:
        for key in (
            f"&ssl_keyfile={certificates.client_key}",
            *(f"&ssl_keyfile={certificates.locked_key}&{name}={KEY_PASSWORD}" for name in SUPPORTED & {"ssl_password"}),
        ):
            assert ask(server.url_of(rest=f"{authority}&ssl_certfile={own}{key}"), waiting) == [0]
        # With TLS 1.3 a client is refused after its handshake: a reset may overtake the server's reason.
        assert down(server.url_of(rest=authority)) in ("tls", "connection_lost")
    with pytest.raises(InvalidUrl, match="ssl_password opens"):
        read_redis(server.url_of(rest=f"{authority}&ssl_certfile={own}&ssl_keyfile={certificates.locked_key}"))


@pytest.mark.redis
def test_a_file_of_certificates_that_goes_later_is_missing(
    tmp_path: Path, tls: RedisServer, certificates: Certificates
) -> None:
    (tmp_path / "ca.pem").write_bytes(certificates.authority.read_bytes())

    async def question(client: Redis) -> str:
        (tmp_path / "ca.pem").unlink()
        with pytest.raises(SourceUnavailable) as raised:
            await waiting(client)
        return raised.value.kind

    assert ask(tls.url_of(rest=f"/5?ssl_ca_certs={tmp_path / 'ca.pem'}"), question) == "missing"


@pytest.mark.redis
def test_a_unix_socket_has_databases_too(tls: RedisServer) -> None:
    assert ask(f"unix://{tls.socket}?db=5", waiting) == [1]
    assert down(f"unix://{tls.socket}x?db=5") == "missing"
