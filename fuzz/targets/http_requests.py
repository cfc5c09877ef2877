"""HTTP: any bytes, in any fragments, on a real socket of each port: an answer below 500 or none, an end, and no effect
on the next client.

CUT stands between two fragments, which are sent in segments of their own; KEY stands for the API key of an admin.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import strategies as st

from fuzz.inputs import damaged, joined
from fuzz.serving import API_KEY, Address, Ports, both_ports
from fuzz.target import ByteTarget, Check
from fuzz.targets.proxy_paths import MOUNT, check_allowed

CUT, KEY = b"<cut>", b"<key>"
ANSWER_SECONDS = 25.0
"""Time for the end of a connection whose client has ended its side."""

MOST_BYTES = 32 * 1024 * 1024
_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", re.MULTILINE)
_VERSION_NOT_SUPPORTED = 505


@contextmanager
def opened(directory: Path) -> Iterator[Check]:
    """The check, with both ports."""
    with both_ports(directory) as ports:

        def check(content: bytes) -> None:
            sent = content.replace(KEY, API_KEY.encode())
            for address in (ports.metrics, ports.admin):
                received = _exchange(address, sent.split(CUT))
                _check_answers(received, sent)
                assert _is_serving(address), "another client is not served"
            _check_passed(ports)
            faults, ports.faults[:] = list(ports.faults), []
            assert not faults, faults

        yield check


def _exchange(address: Address, fragments: list[bytes]) -> bytes:
    received = bytearray()
    with socket.create_connection(address, timeout=ANSWER_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # a refusal may close the connection before everything is sent
            for fragment in fragments:
                client.sendall(fragment)
            client.shutdown(socket.SHUT_WR)
        try:
            while data := client.recv(65_536):
                received += data
                assert len(received) < MOST_BYTES, "an answer without an end"
        except TimeoutError:
            raise AssertionError("the connection hangs") from None
        except ConnectionError:
            pass
    return bytes(received)


def _check_answers(received: bytes, sent: bytes) -> None:
    assert not received or received.startswith(b"HTTP/1.1 "), received[:100]
    statuses = [int(status) for status in _STATUS.findall(received)]
    assert bool(statuses) == bool(received)
    for status in statuses:
        assert 100 <= status < 500 or status == _VERSION_NOT_SUPPORTED, f"{status}: {received[:300]!r}"
        assert status != 101, "an upgrade"
    assert sum(status != 100 for status in statuses) <= sent.count(b"\n") + 1, "more answers than requests"
    assert API_KEY.encode() not in received
    assert b"Traceback" not in received


def _is_serving(address: Address) -> bool:
    with socket.create_connection(address, timeout=ANSWER_SECONDS) as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := client.recv(65_536):
            answer += data
    return answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 404 "))


def _check_passed(ports: Ports) -> None:
    """The requests that reached Grafana are those of panels."""
    passed, ports.passed[:] = list(ports.passed), []
    for method, target in passed:
        path = target.partition("?")[0]
        if path == f"{MOUNT}/api/health":  # the proxy's own
            continue
        assert path.startswith(f"{MOUNT}/")
        check_allowed(method, path.removeprefix(f"{MOUNT}/"))


_methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"M-SEARCH", b""])
_targets = st.sampled_from(
    b"/ /metrics /-/healthy /-/ready /admin/analytics /admin/analytics/ /admin/analytics/summary /admin/analytics/users"
    b" /admin/analytics/ai /admin/analytics/queues /admin/analytics/workers /admin/analytics/monetization"
    b" /admin/analytics/status /admin/analytics/charts/dau /admin/analytics/charts/ai-requests?format=csv"
    b" /admin/analytics/tables/top-users?limit=9999999999999999999999 /admin/analytics/tables/incidents?limit=%00"
    b" /admin/analytics/login /admin/analytics/logout /admin/analytics/sessions /admin/analytics/sessions/end"
    b" /admin/analytics/static/../../x /admin/analytics/static/x /admin/analytics/openapi.json"
    b" /admin/analytics/grafana/public/x /admin/analytics/grafana/api/ds/query /admin/analytics/grafana/d/x/%2e%2e"
    b" /admin/analytics/grafana/public/../api/admin * http://evil.example/metrics //x /%ff /%00 /\xff".split()
)
_headers = st.sampled_from(
    [
        b"Host: localhost",
        b"Host: localhost",
        b"Host: evil.example",
        b"X-API-Key: <key>",
        b"X-API-Key: <key>",
        b"Authorization: Bearer a.b.c",
        b"Authorization: Basic \xff",
        b"Cookie: hivesync_analytics=" + b"A" * 64,
        b"Content-Length: 5",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Connection: close",
        b"Connection: keep-alive, Upgrade, host",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"Accept: text/html",
        b"Accept: application/openmetrics-text; version=x",
        b"Accept-Encoding: gzip;q=0.0.0",
        b"Range: bytes=0-5,6-",
        b"If-Modified-Since: x",
        b"Content-Type: application/json",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Origin: http://localhost",
        b"X-Forwarded-For: \xff, 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b" folded: x",
        b"X: " + b"x" * 9_000,
        b"No colon",
        b": x",
    ]
)
_bodies = st.sampled_from(
    [
        b"",
        b"12345",
        b'{"api_key":"<key>"}',
        b'{"code":"\\ud800"}',
        b'{"token":[[[]]]}',
        b"session=x&session=%ff",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"[" * 2000,
        b"\xff" * 100,
        b"0;x=" + b"y" * 200 + b"\r\nA: b\r\n\r\n",
    ]
)
_requests = st.builds(
    lambda method, target, version, headers, body: (
        method
        + b" "
        + target
        + b" "
        + version
        + b"\r\n"
        + b"".join(each + b"\r\n" for each in headers)
        + b"\r\n"
        + body
    ),
    _methods,
    _targets,
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b""]),
    st.lists(_headers, max_size=5),
    _bodies,
)
# Well-formed but for the value of one header that a port reads, so that the value reaches its reader.
_media = st.builds(
    lambda kind, parameters: kind + b"".join(b";" + name + b"=" + value for name, value in parameters),
    st.sampled_from(b"application/openmetrics-text text/plain text/html application/json gzip identity */* *".split()),
    st.lists(
        st.tuples(
            st.sampled_from([b"version", b" version", b"q", b"charset", b"escaping"]),
            st.sampled_from([b"1.0.0", b"0.0.4", b"0.5", b"1", b"x", b"", b"-1", b"1.x.0", b'"1"', b"9" * 400, b"nan"]),
        ),
        max_size=3,
    ),
)
_values = st.lists(_media, max_size=4).map(b",".join)
_names = st.sampled_from(
    b"Accept-Language Cookie If-None-Match If-Modified-Since Range Authorization Content-Type Content-Length Origin"
    b" Referer Sec-Fetch-Site X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto Forwarded Connection".split()
)


def _well_formed(targets: st.SearchStrategy[bytes], names: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda target, name, value: (
            b"GET "
            + target
            + b" HTTP/1.1\r\nHost: localhost\r\nX-API-Key: <key>\r\n"
            + name
            + b": "
            + value
            + b"\r\n\r\n"
        ),
        targets,
        names,
        st.one_of(_values, damaged(_values, (b"=", b";", b'"', b"\xff", b"%"))),
    )


_negotiated = _well_formed(st.just(b"/metrics"), st.sampled_from([b"Accept", b"Accept", b"Accept-Encoding"]))
_asked = _well_formed(_targets, _names)

TARGET = ByteTarget(
    name="http-requests",
    promise="Any bytes in any fragments get answers below 500 (505 for another version), the connection ends, the next"
    " client is served, and Grafana gets requests of panels alone.",
    opened=opened,
    inputs=st.one_of(
        _negotiated,
        _asked,
        damaged(
            joined(CUT, _requests, _asked, st.binary(max_size=30), most=3),
            (CUT, CUT, CUT, b"\r", b"\n", b"\0", b"\xff", b" ", b"\t", b":", b"%", b"\x0b", b"\x85"),
        ),
    ),
    seeds=(
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n",
        b"GET /admin/analytics/summary HTTP/1.1\r\nHost: localhost\r\nX-API-Key: <key>\r\n\r\n",
        b"GET /admin/analytics/tables/incidents?limit=5 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: <key>\r\n\r\n",
        (
            b"POST /admin/analytics/login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
            b"Content-Type: application/json\r\n"
            b'Content-Length: 28\r\n\r\n{"api_key":<cut>"not the key at"}'
        ),
        (
            b"POST /admin/analytics/grafana/api/ds/query HTTP/1.1\r\nHost: localhost\r\nX-API-Key: <key>\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n<cut>0\r\n\r\n"
        ),
        b"GET /admin/analytics/grafana/public/build/x.js HTTP/1.1\r\nHost: localhost\r\nX-API-Key: <key>\r\n\r\n",
    ),
    words=(
        CUT,
        b"\r\n\r\n",
        b"\r\n",
        b"HTTP/1.1",
        b"Host: localhost\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
    ),
    examples=250,
)
