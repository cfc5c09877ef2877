"""The rate limit of invalid credentials, with bounded memory and log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

import admin.access.rate_limit
from admin.access.rate_limit import FAILURES, LINES_A_MINUTE, WINDOW_SECONDS, RateLimit, client_address
from tests.admin.access.guarded import Clock


def test_an_address_waits_after_ten_failures_in_five_minutes() -> None:
    clock = Clock(0.0)
    attempts = RateLimit(clock)
    for second in range(FAILURES):
        assert attempts.retry_after("a") == 0
        clock.now = float(second)
        attempts.failed("a")
    assert attempts.retry_after("a") == WINDOW_SECONDS - FAILURES + 1
    assert attempts.retry_after("b") == 0


def test_the_oldest_failure_counts_for_five_minutes() -> None:
    clock = Clock(0.0)
    attempts = RateLimit(clock)
    for second in range(FAILURES):
        clock.now = float(second * 10)
        attempts.failed("a")
    clock.now = WINDOW_SECONDS - 0.5
    assert attempts.retry_after("a") == 1
    clock.now = WINDOW_SECONDS
    assert attempts.retry_after("a") == 0
    attempts.failed("a")
    assert attempts.retry_after("a") == 10


def test_the_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.access.rate_limit, "ADDRESSES_AT_MOST", 3)
    attempts = RateLimit(Clock(0.0), failures=1)
    for address in "abcad":
        attempts.failed(address)
    assert [bool(attempts.retry_after(address)) for address in "abcd"] == [True, False, True, True]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_network_of_64_bits_counts_as_one(host: str, expected: str) -> None:
    assert client_address((host, 1)) == expected


def test_a_unix_socket_has_no_address() -> None:
    assert client_address(None) == "unknown"


def test_log_lines_per_minute_are_bounded_and_the_rest_counted() -> None:
    clock = Clock(0.0)
    attempts = RateLimit(clock)
    with capture_logs() as events:
        for _ in range(LINES_A_MINUTE + 7):
            attempts.log("admin.access.refused", "192.0.2.1", "signature")
        clock.now = 60.0
        attempts.log("admin.access.refused", "192.0.2.1", "signature")
    assert len(events) == LINES_A_MINUTE + 1
    assert events[0] == {
        "event": "admin.access.refused",
        "address": "192.0.2.1",
        "reason": "signature",
        "log_level": "warning",
    }
    assert events[-1]["left_out"] == 7
