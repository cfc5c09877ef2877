"""Requests to Prometheus' HTTP API: within limits, and safe with any server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources import prometheus as source
from exporter.sources.prometheus import Prometheus
from servers.ports import LOOPBACK
from servers.prometheus import PrometheusServer
from tests.waiting import bounded, patience


class Handler(BaseHTTPRequestHandler):
    """Reads the posted form, and responds with a given answer."""

    how: Answer
    form: bytes

    def do_POST(self) -> None:  # the name required by http.server
        self.form = self.rfile.read(int(self.headers["content-length"]))
        type(self).how(self)

    def log_message(self, *_: object) -> None:
        return


Answer = Callable[[Handler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The root URL of a server that gives every request this answer."""

    with ThreadingHTTPServer((LOOPBACK, 0), type("Told", (Handler,), {"how": staticmethod(answer)})) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def saying(body: object, status: int = 200) -> Answer:
    """An answer with this body: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def matrix(*series: list[list[object]]) -> dict[str, Any]:
    """A successful answer with the values of these series."""
    result = [{"metric": {}, "values": values} for values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def ask(
    url: str, query: str = "up", start: float = 0, end: float = 100, seconds: float = 5
) -> list[tuple[float, float]]:
    async def once() -> list[tuple[float, float]]:
        client = Prometheus(url, query_seconds=seconds)
        try:
            async with bounded():
                return await client.range(query, start, end, step=10)
        finally:
            await client.close()

    return asyncio.run(once())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with PrometheusServer(tmp_path_factory.mktemp("api") / "prometheus") as server:
        yield server


@pytest.mark.prometheus
def test_a_real_prometheus_answers(server: PrometheusServer) -> None:
    assert ask(server.url, "time() / 10") == [(second, second / 10) for second in range(0, 101, 10)]
    assert ask(f"{server.url}/", "vector(1.5)", 5, 6) == [(5, 1.5)]


@pytest.mark.prometheus
def test_what_has_no_value_is_no_value(server: PrometheusServer) -> None:
    assert ask(server.url, "no_such_metric") == []
    assert ask(server.url, "vector(1) / (time() > bool 50)") == [(second, 1) for second in range(60, 101, 10)]
    assert ask(server.url, "vector(0) / 0") == []


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("query", "kind"), [("sum(", "bad_data"), ("label_replace(up, 'a', 'b', 'c', '(')", "execution")]
)
def test_a_query_that_is_refused_is_no_outage(server: PrometheusServer, query: str, kind: str) -> None:
    with pytest.raises(CollectionFailed) as failed:
        ask(server.url, query)
    assert failed.value.kind == kind


@pytest.mark.prometheus
def test_several_series_are_not_added_up_unasked(server: PrometheusServer) -> None:
    with pytest.raises(CollectionFailed, match="several_series"):
        ask(server.url, "label_replace(vector(1), 'a', 'b', '', '') or vector(2)")


def test_the_question_is_a_form_and_the_password_of_the_url_goes_along() -> None:
    asked: dict[str, Any] = {}

    def answer(handler: Handler) -> None:
        asked.update(parse_qs(handler.form.decode()))
        asked.update(path=handler.path, authorization=handler.headers["authorization"])
        saying(matrix())(handler)

    with answering(answer) as url:
        ask(f"{url.replace('http://', 'http://anna:s%40cret@')}/prefix/", "max(up)", 1.5, 2)
    assert asked == {
        "path": "/prefix/api/v1/query_range",
        "authorization": "Basic " + b64encode(b"anna:s@cret").decode(),
        "query": ["max(up)"],
        "start": ["1.500"],
        "end": ["2.000"],
        "step": ["10.000"],
    }


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        pytest.param(b"<html>hello</html>", 200, "not_prometheus", id="a web page"),
        pytest.param(b"", 200, "not_prometheus", id="nothing"),
        pytest.param(b"\xff\xfe\x00", 200, "not_prometheus", id="bytes"),
        pytest.param(b"[" * 100_000, 200, "not_prometheus", id="very deep"),
        pytest.param([1, 2], 200, "not_prometheus", id="another kind of JSON"),
        pytest.param({"status": "green"}, 200, "not_prometheus", id="another service"),
        pytest.param({**matrix(), "more": "x" * 2_000_000}, 200, "not_prometheus", id="too long"),
        pytest.param(b"unauthorized", 401, "authentication", id="401"),
        pytest.param(b"forbidden", 403, "authentication", id="403"),
        pytest.param(b"not here", 404, "http_404", id="404"),
        pytest.param(b"bad gateway", 502, "http_502", id="502"),
        pytest.param(b"moved", 302, "http_302", id="moved"),
    ],
)
def test_who_is_not_prometheus_is_an_outage(
    monkeypatch: pytest.MonkeyPatch, body: object, status: int, kind: str
) -> None:
    monkeypatch.setattr(source, "ANSWER_BYTES", 1_000_000)
    with answering(saying(body, status)) as url, pytest.raises(SourceUnavailable) as failed:
        ask(url)
    assert failed.value.kind == kind


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        {"result": None},
        {"result": 7},
        {"result": "text"},
        {"result": {"a": 1}},
        {"result": [{"values": None}]},
        {"result": [{"value": [1, "1"]}]},
        {"result": [{"values": [[1]]}]},
        {"result": [{"values": [[1, "many"]]}]},
        {"result": [{"values": [[{}, "1"]]}]},
        {"result": [{"values": [5]}]},
    ],
)
def test_an_answer_that_makes_no_sense_is_not_understood(data: object) -> None:
    with answering(saying({"status": "success", "data": data})) as url, pytest.raises(CollectionFailed) as failed:
        ask(url)
    assert failed.value.kind == "not_understood"


def test_values_that_are_no_numbers_and_times_nobody_asked_for_are_left_out() -> None:
    values: list[list[object]] = [
        [10, "1"],
        [20, "NaN"],
        [30, "+Inf"],
        [-1, "2"],
        [101, "3"],
        ["NaN", "4"],
        ["Infinity", "5"],
        [1e300, "6"],
        [100, "7"],
    ]
    with answering(saying(matrix(values))) as url:
        assert ask(url) == [(10, 1), (100, 7)]


def test_the_words_of_an_error_are_never_repeated() -> None:
    error = {"status": "error", "errorType": "secret words", "error": "more of them"}
    with answering(saying(error, 422)) as url, pytest.raises(CollectionFailed) as failed:
        ask(url)
    assert str(failed.value) == "prometheus: http_422"


def test_an_answer_that_does_not_come_or_comes_in_drops_is_not_waited_for() -> None:
    ended = threading.Event()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not ended.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def say_nothing(_: Handler) -> None:
        ended.wait(patience(60))

    for answer in (drip, say_nothing):
        ended.clear()
        with answering(answer) as url:
            started = time.monotonic()
            try:
                with pytest.raises(SourceUnavailable) as failed:
                    ask(url, seconds=0.5)
            finally:
                ended.set()
            assert failed.value.kind == "timeout"
            assert time.monotonic() - started < patience(5)


def test_a_connection_that_breaks_off_is_lost() -> None:
    def break_off(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    with answering(break_off) as url, pytest.raises(SourceUnavailable) as failed:
        ask(url)
    assert failed.value.kind == "connection_lost"


def test_a_server_that_closes_a_connection_as_it_is_used_again_is_no_outage() -> None:
    answered: set[socket.socket] = set()

    def answer_once(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"  # keep-alive
        handler.close_connection = handler.connection in answered
        if handler.close_connection:
            return
        answered.add(handler.connection)
        saying(matrix())(handler)

    async def twice(url: str) -> None:
        client = Prometheus(url)
        for _ in range(2):
            assert await client.range("up", 0, 1, 1) == []
        await client.close()

    with answering(answer_once) as url:
        asyncio.run(twice(url))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1", "refused"),
        ("http://no-such-host.invalid:9090", "unknown_host"),
        ("http://", "invalid_url"),
        ("http://[::1", "invalid_url"),
        ("http://host:port", "invalid_url"),
        ("http://127.0.0.1:0", "invalid_url"),
        ("http://127.0.0.1/\n", "invalid_url"),
        ("http://127.0.0.1:99999", "invalid_url"),
    ],
)
def test_an_address_where_nobody_is_is_an_outage_and_not_a_crash(url: str, kind: str) -> None:
    with pytest.raises(SourceUnavailable) as failed:
        ask(url)
    assert failed.value.kind == kind


def test_somebody_who_does_not_speak_tls_is_said_to_be_so() -> None:
    with answering(saying(matrix())) as url, pytest.raises(SourceUnavailable) as failed:
        ask(url.replace("http:", "https:"))
    assert failed.value.kind == "tls"


def test_every_attempt_is_noted() -> None:
    async def attempts(url: str) -> None:
        client = Prometheus(url)
        assert client.reachability.up is None
        await client.range("up", 0, 1, 1)
        assert client.reachability.up
        client._url = "http://127.0.0.1:1/"
        with pytest.raises(SourceUnavailable):
            await client.range("up", 0, 1, 1)
        assert (client.reachability.up, client.reachability.error) == (False, "refused")
        await client.close()

    with answering(saying(matrix())) as url:
        asyncio.run(attempts(url))


def test_the_source_knows_no_metric() -> None:
    assert "hivesync_" not in Path(source.__file__).read_text()
