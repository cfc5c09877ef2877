"""Addresses in settings: listening addresses, origins, networks. `urls.py` has connection URLs.

A ValueError states the problem; `settings.py` adds the variable's name.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import NamedTuple

from exporter.urls import read_web


class Address(NamedTuple):
    """A listening address: `127.0.0.1:10177`, `[::1]:10177`, or `:10177` for every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        """The address as it is written in the settings; `parse_address` reads it back."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not listened on
"""The local address of a listener on every interface."""


def reachable_host(address: Address) -> str:
    """Return the host by which this machine reaches a listener."""
    return WILDCARDS.get(address.host, address.host)


def reachable(address: Address) -> str:
    """Return the `host:port` by which this machine reaches a listener, in the form used in a URL."""
    return str(address._replace(host=reachable_host(address)))


def parse_address(value: object) -> object:
    """Parse a listening address from the environment; return a value that is not text unchanged. Raises ValueError."""
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
    """Return the addresses and networks if all are valid. Raises ValueError."""
    for value in values:
        try:
            ip_network(value)
        except ValueError:
            raise ValueError(f"{value} should be an address or a network, as in 10.0.0.7 or 10.0.0.0/8") from None
    return values


def check_origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins if all are valid. Raises ValueError."""
    for value in values:
        if read_web(value).origin != value.lower():
            raise ValueError("each should be an origin, as in https://admin.example, and no more")
    return values


def read_origin(value: str) -> str:
    """Return an origin in lower case, without a slash at its end. Raises ValueError."""
    origin = value.strip().removesuffix("/").lower()
    if read_web(origin).origin != origin:
        raise ValueError("should be an origin, as in https://admin.example, without a path")
    return origin
