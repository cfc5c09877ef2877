"""Addresses as people write them into settings: where to listen, origins, networks. Connection URLs are in `urls.py`.

What is wrong with one is said in its ValueError; `settings.py` puts the variable's name to it.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import NamedTuple

from exporter.urls import read_web


class Address(NamedTuple):
    """Where to listen: `127.0.0.1:10177`, `[::1]:10177`, or `:10177` for every interface."""

    host: str
    port: int


WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not listened on
"""Where a listener on every interface is reached from this machine."""


def reachable_host(address: Address) -> str:
    """The host at which this machine reaches who listens there."""
    return WILDCARDS.get(address.host, address.host)


def reachable(address: Address) -> str:
    """`host:port` at which this machine reaches who listens there, as in a URL."""
    host = reachable_host(address)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def parse_address(value: object) -> object:
    """Where to listen, of what stands in the environment; what is no text is left as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    host, colon, port = value.strip().rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("should be host:port, as in 127.0.0.1:10177")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets, as in [::1]:10177")
    return Address(host, int(port))


def check_networks(values: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses and networks, if they are. Raises ValueError."""
    for value in values:
        try:
            ip_network(value)
        except ValueError:
            raise ValueError(f"{value} should be an address or a network, as in 10.0.0.7 or 10.0.0.0/8") from None
    return values


def check_origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """The origins, if they are. Raises ValueError."""
    for value in values:
        if read_web(value).origin != value.lower():
            raise ValueError("each should be an origin, as in https://admin.example, and no more")
    return values
