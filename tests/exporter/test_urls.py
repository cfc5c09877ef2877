"""Connection URLs: parsed as their clients do, or refused; shown without user, password and options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.connection import ConnectionPool

from exporter import redis_options, urls
from exporter import settings as exporter_settings
from exporter.errors import SettingsError
from exporter.settings import SECRETS, read_settings
from exporter.sources.redis import Redis
from exporter.urls import ESCAPES, InvalidUrl, read_postgres, read_redis, read_web

# ---- PostgreSQL ----


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@db.example:5433/hivesync?sslmode=require", "postgresql://db.example:5433/hivesync"),
        ("postgres://db/hivesync", "postgresql://db/hivesync"),
        ("postgresql://db", "postgresql://db/"),
        ("postgresql://u:pw@:5433/hivesync", "postgresql://:5433/hivesync"),
        ("postgresql://u:pw@db:/hivesync", "postgresql://db/hivesync"),
        ("postgresql://only_a_user@db/hivesync", "postgresql://db/hivesync"),
        ("postgresql://u:pw@[::1]:5432/hivesync", "postgresql://[::1]:5432/hivesync"),
        ("postgresql://[fe80::1%25eth0]/hivesync", "postgresql://[fe80::1%eth0]/hivesync"),
        ("postgresql://u:pw@h1:5432,h2:5433/hivesync", "postgresql://h1:5432,h2:5433/hivesync"),
        ("postgresql://h1:5432,h2/hivesync", "postgresql://h1:5432,h2/hivesync"),
        ("postgresql://h1,h2/hivesync?port=5433", "postgresql://h1:5433,h2:5433/hivesync"),
        ("postgresql:///hivesync", "postgresql:///hivesync"),
        ("postgresql:///hivesync?host=/var/run/postgresql", "postgresql:///hivesync?host=/var/run/postgresql"),
        ("postgresql://u:pw@%2Fvar%2Frun:5433/hivesync", "postgresql:///hivesync?host=/var/run&port=5433"),
        ("postgresql:///hivesync?host=%40abstract", "postgresql:///hivesync?host=@abstract"),
        ("postgresql:///hivesync?host=/run,h2&port=,5433", "postgresql:///hivesync?host=/run,h2&port=,5433"),
        ("postgresql://u:pw@db/hivesync?options=-csearch_path%3Danalytics", "postgresql://db/hivesync"),
        ("postgresql://?service=hivesync", "postgresql:///"),
        ("service=hivesync", "postgresql:///"),
        ("host=db user=u password=pw dbname=hivesync", "postgresql://db/hivesync"),
        ("host=db\nuser=u\tpassword='a b@c/d' port=5433\n", "postgresql://db:5433/"),
        ("hostaddr=10.0.0.7 host=db dbname='two words'", "postgresql://db/two%20words"),
        ("hostaddr=::1 dbname=hivesync", "postgresql://[::1]/hivesync"),
        ("host=/var/run/postgresql,h2 port=5432,", "postgresql:///?host=/var/run/postgresql,h2&port=5432,"),
    ],
)
def test_a_url_of_postgresql_is_shown_as_servers_and_database(url: str, shown: str) -> None:
    assert str(read_postgres(url)) == shown
    assert conninfo_to_dict(url), "libpq understands it too"


@pytest.mark.parametrize(
    "url", ["postgresql://db/hivesync", "postgresql:///db?host=/run/p&port=5433", "postgresql://[::1]:1/x"]
)
def test_a_url_of_postgresql_that_was_shown_is_one_itself(url: str) -> None:
    assert str(read_postgres(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://exp:Zx9+k/Q7mM=@127.0.0.1:5432/hs",
        "postgresql://exp:57/Q7mM@127.0.0.1:5432/hs",
        "postgresql://exp:Q7@mM@127.0.0.1:5432/hs",
        "postgresql://exp:Q7%mM@127.0.0.1/hs",
        "postgresql://exp:Q7 mM@127.0.0.1/hs",
        "postgresql:// exp:Q7mM@127.0.0.1/hs",
        "postgresql://exp:Q7mM@127.0.0.1/hs\n",
        "postgresql://exp:Q7\nmM@127.0.0.1/hs",
        "postgresql://exp:Q7\0mM@127.0.0.1/hs",
        "postgresql://exp:Q7\udcffmM@127.0.0.1/hs",
        "postgresql://exp:Q7%FFmM@127.0.0.1/hs",
        "postgresql://h:5432?password=Q7@mM",
        "postgresql://h/hs?password=Q7@mM",
        "postgresql://u:12/x?application_name=Q7mM@127.0.0.1/hs",
        "postgresql://exp:Q7mM@127.0.0.1:99999/hs",
        "postgresql://exp:Q7mM@127.0.0.1:0/hs",
        "postgresql://exp:Q7mM@127.0.0.1:http/hs",
        "postgresql://exp:Q7mM@::1:5432/hs",
        "postgresql://exp:Q7mM@[::1/hs",
        "postgresql://exp:Q7mM@h1:1,h2:2,h3:x/hs",
        "postgresql://h1,h2,h3/hs?port=1,2",
        "postgresql://exp:Q7mM@h%2Fx/hs",
        "postgresql://exp:Q7mM@999.0.0.1/hs",
        "postgresql://exp:Q7mM@h/d%40b",
        "postgresql:///hs?host=@abstract",
        "postgresql+asyncpg://exp:Q7mM@h/hs",
        "mysql://exp:Q7mM@h/hs",
        "exp:Q7mM@h",
        "host=db password=Q7mM colour=blue",
        "host=db password=Q7\0mM",
        "host=db password=Q7\udcffmM",
        "host=db dbname='postgresql://exp:Q7mM@h/hs'",
        "host=Q7@mM dbname=hs",
        "host=/run/Q7@mM dbname=hs",
        "host=db port=Q7mM",
        "host=db port='5432 '",
    ],
)
def test_a_url_that_postgresql_would_take_for_another_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        read_postgres(url)
    assert ESCAPES in str(raised.value)
    assert not re.search("Q7|mM|Zx9", str(raised.value))


# ---- Redis ----


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:pw@cache.example:6380/2", "redis://cache.example:6380/2"),
        ("redis://cache", "redis://cache:6379/0"),
        ("redis://cache:/", "redis://cache:6379/0"),
        ("REDIS://Cache/1", "redis://cache:6379/1"),
        ("redis://cache?db=3", "redis://cache:6379/3"),
        ("redis://cache/3?db=3&password=pw", "redis://cache:6379/3"),
        ("rediss://:pw@[::1]:6380/0", "rediss://[::1]:6380/0"),
        ("redis://:a@b@cache/0", "redis://cache:6379/0"),
        ("unix://u:pw@/run/redis.sock?db=3", "unix:///run/redis.sock?db=3"),
        ("unix:///run/redis%20b.sock?password=pw", "unix:///run/redis b.sock?db=0"),
    ],
)
def test_a_url_of_redis_is_shown_as_server_and_database(url: str, shown: str) -> None:
    assert str(read_redis(url)) == shown
    assert "pw" not in repr(read_redis(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:57/Q7mM@127.0.0.1:6379/0",
        "redis://:12#Q7mM@127.0.0.1:6379/0",
        "redis://:99?Q7mM@127.0.0.1:6379/0",
        "redis://:99?Q7mM=@127.0.0.1:6379/0",
        "redis://:Q7@x/mM@127.0.0.1:6379/0",
        "redis://:[Q7mM@127.0.0.1:6379/0",
        "redis://:Q7 mM@127.0.0.1:6379/0",
        "redis://:Q7\nmM@127.0.0.1:6379/0",
        "redis://:Q7mM@127.0.0.1:6379/0\n",
        "redis://:Q7\0mM@127.0.0.1:6379/0",
        "redis://:Q7\udcffmM@127.0.0.1:6379/0",
        "redis://:Q7%FFmM@127.0.0.1:6379/0",
        "redis://:Q7mM",
        "redis://:Q7mM@/0",
        "redis://:Q7mM@:6379/0",
        "redis://:Q7mM@h:0/0",
        "redis://:Q7mM@h:65536/0",
        "redis://:Q7mM@h:port/0",
        "redis://:Q7mM@::1:6379/0",
        "redis://:Q7mM@x[::1]:6379/0",
        "redis://:Q7mM@[::1]x:6379/0",
        "redis://:Q7mM@[::1/0",
        "redis://:Q7mM@h%40x:6379/0",
        "redis://:Q7mM@-.-..:6379/0",
        "redis://:Q7mM@h1:1,h2:2/0",
        "redis://:Q7mM@h/first",
        "redis://:Q7mM@h/1/2",
        "redis://:Q7mM@h/-1",
        "redis://:Q7mM@h/%40",
        "unix://run/Q7mM.sock",
        "unix:Q7mM.sock",
        "unix://:Q7/mM@/run/redis.sock",
        "unix://:Q7mM@",
        "http://:Q7mM@h/0",
        "h:6379",
    ],
)
def test_a_url_that_redis_would_take_for_another_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        read_redis(url)
    assert ESCAPES in str(raised.value)
    assert not re.search("Q7|mM", str(raised.value))


# ---- HTTP ----


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://grafana:3000", "http://grafana:3000"),
        ("https://grafana.example/sub/", "https://grafana.example/sub/"),
        ("http://u:pw@[::1]:9090/prefix", "http://[::1]:9090/prefix"),
        ("http://token@grafana:3000", "http://grafana:3000"),
        ("http://10.0.0.7:8481/select/0/prometheus", "http://10.0.0.7:8481/select/0/prometheus"),
    ],
)
def test_a_url_of_http_is_shown_as_server_and_path(url: str, shown: str) -> None:
    assert str(read_web(url)) == shown
    assert httpx2.URL(url).host == (read_web(url).place.host)


@pytest.mark.parametrize(
    "url",
    [
        "u:Q7mM@grafana",
        "ftp://u:Q7mM@grafana",
        "HTTP//u:Q7mM@grafana",
        "http://u:Q7/mM@grafana",
        "http://u:57/mM@grafana:3000",
        "http://u:Q7#mM@grafana",
        "http://u:12#mM@grafana",
        "http://u:Q7?mM@grafana",
        "http://u:12?mM@grafana",
        "http://u:Q7mM@grafana:3000\n",
        "http://u:Q7\nmM@grafana:3000",
        "http://u:Q7%FFmM@grafana",
        "http://u:Q7mM@",
        "http://u:Q7mM@:3000",
        "http://u:Q7mM@grafana:99999",
        "http://u:Q7mM@grafana:0",
        "http://u:Q7mM@999.0.0.1",
        "http://u:Q7mM@h/?Q7mM",
        "http://u:Q7mM@h/?",
        "http://u:Q7mM@h/#",
        "http://h/%40",
    ],
)
def test_a_url_that_http_would_take_for_another_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        read_web(url)
    assert not re.search("Q7|mM", str(raised.value))


# ---- any password, in any URL ----


@dataclass(frozen=True)
class Kind:
    """A setting, a URL with a place for a password, and the password that its client would send."""

    variable: str
    template: str
    server: str
    sent: Callable[[str], object]


def sent_to_redis(url: str) -> object:
    client = Redis(url)
    pool: ConnectionPool = client._pool
    return pool.make_connection().password  # type: ignore[no-untyped-call]


def kinds() -> Mapping[str, Kind]:
    def postgres(url: str) -> object:
        return conninfo_to_dict(url).get("password")

    def web(url: str) -> object:
        return httpx2.URL(url).password

    server = "wxyzwx.example:54321"
    return {
        "postgresql": Kind(
            "DATABASE_URL", f"postgresql://wu:{{}}@{server}/wdb", f"postgresql://{server}/wdb", postgres
        ),
        "postgres, several": Kind(
            "ROLLUP_DATABASE_URL", f"postgres://wu:{{}}@{server},w2:1/wdb", f"postgresql://{server},w2:1/wdb", postgres
        ),
        "redis": Kind("REDIS_URL", f"redis://:{{}}@{server}/7", f"redis://{server}/7", sent_to_redis),
        "redis, user": Kind("REDIS_URL", f"redis://wu:{{}}@{server}/7", f"redis://{server}/7", sent_to_redis),
        "rediss": Kind("REDIS_URL", f"rediss://wu:{{}}@{server}/7", f"rediss://{server}/7", sent_to_redis),
        "unix": Kind("REDIS_URL", "unix://:{}@/wrun/wsock?db=7", "unix:///wrun/wsock?db=7", sent_to_redis),
        "unix, query": Kind(
            "REDIS_URL", "unix:///wrun/wsock?db=7&password={}", "unix:///wrun/wsock?db=7", sent_to_redis
        ),
        "http": Kind("PROMETHEUS_URL", f"http://wu:{{}}@{server}/wpath", f"http://{server}/wpath", web),
        "https": Kind("GRAFANA_URL", f"https://wu:{{}}@{server}", f"https://{server}", web),
    }


OUR_WORDS = "".join(Path(module.__file__ or "").read_text() for module in (urls, redis_options, exporter_settings))
"""All texts of which a message can consist, without the password."""

OTHERS = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h/0"}
DELIMITERS = "/#?@:%[]&=+\\ \n\r\t\0'\";,."
PASSWORDS = st.text(
    st.one_of(st.sampled_from(DELIMITERS), st.sampled_from("Q7mMkZ19"), st.characters(exclude_categories=["Cs"])),
    min_size=4,
    max_size=24,
)


@pytest.mark.parametrize("kind", kinds().values(), ids=kinds())
@settings(max_examples=300)
@given(password=PASSWORDS)
@example(password="Zx9+k/Q7mM=")
@example(password="57/secret")
@example(password="12#secret")
@example(password="99?secret")
@example(password="99?db=1&secret=")
@example(password="12/7?application_name=")
@example(password="12/7?options=")
@example(password="ab@h:1/7?password=")
@example(password="[::1]")
@example(password="secret ")
@example(password=" secret")
@example(password="a+b+c+d")
@example(password="𝟭𝟮𝟯𝟰")
def test_any_password_is_the_one_that_is_sent_or_refused_and_never_shown(
    kind: Kind, password: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The password is unescaped."""
    assume(not re.search("%[0-9a-fA-F]{2}", password))  # indistinguishable from an escape
    assume(password not in kind.server and password not in OUR_WORDS)
    if kind.template.endswith("{}"):
        assume(password == password.strip() and "&" not in password)  # the end of the file's text, or of the option
    url = kind.template.format(password)
    monkeypatch.chdir(tmp_path)
    for name, value in OTHERS.items():
        monkeypatch.setenv(f"HIVESYNC_{name}", value)
    if kind.variable.lower() in SECRETS:  # a secret file can hold any character
        monkeypatch.delenv(f"HIVESYNC_{kind.variable}", raising=False)
        monkeypatch.setenv(f"HIVESYNC_{kind.variable}_FILE", str(tmp_path / "secret"))
        (tmp_path / "secret").write_text(url, encoding="utf-8", newline="")
    else:
        assume("\0" not in url)
        monkeypatch.setenv(f"HIVESYNC_{kind.variable}", url)
    said, understood = told(kind.variable)
    assert password not in said
    if understood:
        assert said == kind.server
        assert kind.sent(url) == password
    else:
        assert re.fullmatch(f"HIVESYNC_{kind.variable}: [^\n]*", said)


def told(variable: str) -> tuple[str, bool]:
    """The setting in the start line, and True; or the message of a failing start, and False."""
    try:
        return read_settings().shown()[f"HIVESYNC_{variable}"], True
    except SettingsError as error:
        return str(error), False
