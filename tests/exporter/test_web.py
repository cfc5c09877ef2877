"""The metrics port: its responses, and that a response costs nothing but memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from exporter.exposition import OPENMETRICS_TYPE, TEXT_TYPE, Exposition, render
from exporter.spec import Label, MetricSpec
from exporter.version import VERSION
from exporter.view import CollectorView, View
from exporter.web import build_site
from servers.valkey import ValkeyServer
from tests.rows import users
from tests.running import RunningExporter, get, parse
from tests.serving import Client, serving
from tests.waiting import until

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_ONLY = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

SPEC = MetricSpec("hivesync_things", "counter", "Things.", "the test", (Label("kind"),))
VIEW = View(
    (
        CollectorView(
            "things",
            ("postgres",),
            (SPEC,),
            15,
            True,
            None,
            1.0,
            tuple(SPEC.sample(n, kind=f"k{n}") for n in range(99)),
        ),
    ),
    (),
)
EXPOSITION = render(VIEW)


class ServedState:
    """The state behind the application, set by a test; counts every query of it."""

    ready = False
    asked = 0
    shown = EXPOSITION

    def exposition(self) -> Exposition:
        self.asked += 1
        return self.shown

    def is_ready(self) -> bool:
        return self.ready


@pytest.fixture
def state() -> ServedState:
    return ServedState()


@pytest.fixture
def client(state: ServedState) -> Iterator[Client]:
    """A client that sends no header by itself but Host."""
    with serving(build_site(state.exposition, state.is_ready)) as server, Client(server) as client:
        yield client


# Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (PROMETHEUS_3_TEXT_ONLY, False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False),
        ("text/plain", False),
        ("*/*", False),
        (BROWSER, False),
        ("application/json", False),
        ("", False),
        (None, False),
    ],
)
def test_whoever_asks_for_openmetrics_gets_it_and_everybody_else_the_text_format(
    client: Client, accept: str | None, openmetrics: bool
) -> None:
    answer = client.ask("/metrics", {} if accept is None else {"accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"] == (OPENMETRICS_TYPE if openmetrics else TEXT_TYPE)
    assert answer.body == (EXPOSITION.openmetrics if openmetrics else EXPOSITION.text).plain
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=abc",
        "text/plain;version=;q=,",
        "application/openmetrics-text;version=1.x;q=high",
        ";;;,,,===",
        "é" * 100,
        "a" * 10_000,
    ],
)
def test_an_accept_header_that_makes_no_sense_is_no_error(client: Client, accept: str) -> None:
    answer = client.ask("/metrics", {"accept": accept.encode()})
    assert answer.status == 200
    assert b"hivesync_things_total" in answer.body


@pytest.mark.parametrize("accept", [PROMETHEUS_2, "text/plain"])
@pytest.mark.parametrize(
    ("encodings", "zipped"),
    [
        ("gzip", True),
        ("deflate, gzip;q=1.0", True),
        ("GZip", True),
        ("gzip;q=0.5, br", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("br", False),
        (None, False),
    ],
)
def test_gzip_is_for_those_who_accept_it(client: Client, accept: str, encodings: str | None, zipped: bool) -> None:
    headers = {"accept": accept} | ({} if encodings is None else {"accept-encoding": encodings})
    answer = client.ask("/metrics", headers)
    sent = answer.body
    plain = EXPOSITION.body(accept).plain
    assert answer.headers.get("content-encoding") == ("gzip" if zipped else None)
    assert (gzip.decompress(sent) if zipped else sent) == plain
    assert len(sent) == int(answer.headers["content-length"])
    assert not zipped or len(sent) < len(plain) / 2


# Other paths and methods -----------------------------------------------------------------------------------------


def test_head_says_what_get_would_without_the_body(client: Client) -> None:
    for path in ("/", "/metrics", "/-/healthy", "/-/ready"):
        head, full = client.ask(path, method="HEAD"), client.ask(path)
        assert full.body
        assert head.status == full.status
        assert {**head.headers, "date": ""} == {**full.headers, "date": ""}  # a second may have passed between them


@pytest.mark.parametrize(
    "path", ["/metric", "/metrics/", "/metrics/x", "/-/", "/-/reload", "/admin/analytics/", "/../etc/passwd", "*"]
)
def test_there_is_nothing_else(client: Client, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS") if path != "*" else ("OPTIONS",):
        assert client.ask(path, method=method).status == 404


@pytest.mark.parametrize("path", ["/metrics?", "/metrics?name[]=up&x=%00", "/%6detrics", "http://other:80/metrics?a#b"])
def test_a_query_and_the_way_a_path_is_written_change_nothing(client: Client, path: str) -> None:
    assert client.ask(path).body == EXPOSITION.text.plain


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_there_is_nothing_to_be_changed(client: Client, method: str, path: str) -> None:
    answer = client.ask(path, method=method, body=b"" if method == "TRACE" else b"a=b")
    assert answer.status == 405
    assert set(answer.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD"}
    assert client.ask(path).status in {200, 503}, "and the connection goes on"


def test_it_is_not_ready_before_and_ready_after_the_first_pass(client: Client, state: ServedState) -> None:
    before = client.ask("/-/ready")
    state.ready = True
    after = client.ask("/-/ready")
    assert (before.status, after.status) == (503, 200)
    assert before.body == b"not ready: the first pass of the collectors is still under way\n"
    assert after.body == b"ready\n"


def test_it_is_healthy_whatever_happens(client: Client, state: ServedState) -> None:
    for ready in (False, True):
        state.ready = ready
        answer = client.ask("/-/healthy")
        assert (answer.status, answer.body) == (200, b"healthy\n")
    assert state.asked == 0


def test_the_landing_page_says_what_this_is_and_leads_to_the_rest(client: Client) -> None:
    page = client.ask("/")
    text = page.body.decode()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"Version {VERSION}" in text
    links = [part.partition('"')[0] for part in text.split('href="')[1:]]
    assert links == ["/metrics", "/-/healthy", "/-/ready"]
    assert {client.ask(link).status for link in links} <= {200, 503}
    assert "<script" not in text


def test_a_scrape_shows_what_was_refreshed_just_before_in_every_form(client: Client, state: ServedState) -> None:
    forms = [{"accept": accept, "accept-encoding": e} for accept in (PROMETHEUS_2, "*/*") for e in ("gzip", "identity")]

    def shown() -> list[bytes]:
        answers = [client.ask("/metrics", form) for form in forms]
        return [gzip.decompress(a.body) if "content-encoding" in a.headers else a.body for a in answers]

    before = shown()
    state.shown = render(View((), ()))
    after = shown()
    assert before == [getattr(EXPOSITION, form).plain for form in ("openmetrics", "openmetrics", "text", "text")]
    assert after == [getattr(state.shown, form).plain for form in ("openmetrics", "openmetrics", "text", "text")]
    assert set(before).isdisjoint(after)


# Cost of a response ----------------------------------------------------------------------------------------------


def test_a_scrape_asks_no_source_for_anything(
    database: str, connection: psycopg.Connection, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """Both servers count their commands; the log grows between the scrapes, and the next refresh is far off."""

    def statements() -> int:
        (calls,) = connection.execute(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements"
            " JOIN pg_database ON pg_database.oid = dbid"
            " WHERE datname = current_database() AND query NOT LIKE '%pg_stat_statements%'"
        ).fetchone() or (None,)
        assert isinstance(calls, int)
        return calls

    def commands() -> int:
        stats: dict[str, dict[str, Any]] = valkey.info("commandstats")
        return sum(command["calls"] for name, command in stats.items() if name != "cmdstat_info")

    counts: list[tuple[int, int]] = []

    def started() -> tuple[int, int] | None:
        """The numbers, once they are those of a second ago."""
        counts.append((statements(), commands()))
        return counts[-1] if counts[-2:-1] == counts[-1:] else None

    connection.execute("CREATE EXTENSION pg_stat_statements")
    users(connection, 3)
    exporter = RunningExporter(tmp_path, database_url=database, redis_url=valkey_server.url, refresh_seconds=600)
    exporter.ai_log.write_bytes(b'{"event": "ai.requested"}\n')
    exporter.preview_log.touch()
    with exporter:
        before = exporter.wait_for(
            lambda samples: sum(name.startswith("hivesync_collector_up") for name in samples) == 19
        )
        assert before['hivesync_users{plan="free"}'] == 3
        assert before['hivesync_ai_log_events_total{event="ai.requested"}'] == 1
        asked = until(started, "the checks that follow the first pass are made", poll=1)
        assert asked
        assert min(asked) > 10
        for number in range(50):
            with exporter.ai_log.open("ab") as log:
                log.write(b'{"event": "ai.requested"}\n')
            headers = {"accept": PROMETHEUS_2 if number % 2 else "text/plain", "accept-encoding": "gzip"}
            for path in ("/metrics", "/", "/-/healthy", "/-/ready", "/nothing"):
                get(f"{exporter.url}{path}", headers)
        assert exporter.samples() == before
        assert (statements(), commands()) == asked


def test_everything_down_it_serves_all_the_same(tmp_path: Path) -> None:
    """Requests to the real process instead of a server of the test."""
    exporter = RunningExporter(
        tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0"
    )
    exporter.launch()
    try:
        for accept, content_type in ((PROMETHEUS_3, OPENMETRICS_TYPE), ("*/*", TEXT_TYPE)):
            status, headers, body = get(f"{exporter.url}/metrics", {"accept": accept, "accept-encoding": "gzip"})
            assert (status, headers["content-type"], headers["content-encoding"]) == (200, content_type, "gzip")
            parse(gzip.decompress(body).decode(), openmetrics=content_type == OPENMETRICS_TYPE)
        assert get(f"{exporter.url}/-/healthy")[0] == 200
        assert get(f"{exporter.url}/-/ready")[0] in (200, 503)  # 200 once each collector has tried, and failed
        status, headers, body = get(f"{exporter.url}/metrics", method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 1_000
        assert "server" not in headers
        assert get(f"{exporter.url}/metrics", method="POST")[0] == 405
    finally:
        exporter.stop()
