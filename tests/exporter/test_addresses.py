"""Listening addresses: read, written, and as this machine reaches them."""

from __future__ import annotations

import pytest

from exporter.addresses import Address, parse_address, reachable


@pytest.mark.parametrize("written", ["127.0.0.1:10177", "[::1]:10177", "[::]:0", ":10177", "metrics.internal:80"])
def test_an_address_is_written_as_it_is_read(written: str) -> None:
    address = parse_address(written)
    assert isinstance(address, Address)
    assert str(address) == written


@pytest.mark.parametrize(
    ("written", "reached"),
    [
        (":80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
        ("[fd00::7]:80", "[fd00::7]:80"),
    ],
)
def test_a_listener_on_every_interface_is_reached_on_this_machine(written: str, reached: str) -> None:
    address = parse_address(written)
    assert isinstance(address, Address)
    assert reachable(address) == reached
