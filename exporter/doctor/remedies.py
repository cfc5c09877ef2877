"""The remedy for each kind of failure to reach a source."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.settings import PREFIX

URLS = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "prometheus": "PROMETHEUS_URL"}
SERVERS = {"postgres": "PostgreSQL", "redis": "Redis", "prometheus": "Prometheus"}

_REMEDIES: Mapping[str, str] = {
    "refused": "start {server}, or correct host and port in {url}",
    "timeout": "open the firewall to {server}, or correct host and port in {url}",
    "unknown_host": "correct the host in {url}",
    "unknown_database": "correct the database in {url}",
    "authentication": "correct user and password in {url}",
    "invalid_password": "correct user and password in {url}",
    "tls": "correct the certificates, or the scheme and the TLS options in {url}",
    "too_many_connections": "end clients that hold connections, or raise the limit of {server}",
    "refused_by_server": "see the log of {server}; correct the parameters after ? in {url}",
    "missing": "correct the path of the socket in {url}",
    "connection_lost": "correct scheme and port in {url}: a port with TLS needs the scheme for it",
    "loading": "wait until {server} has loaded its data",
    "starting_up": "wait until {server} has started",
}

EXPLAINED = ("undefined_table", "undefined_column", "undefined_function", "insufficient_privilege")
"""Kinds of failures for which the checks of rights and columns have the mend."""


def remedy(source: str, kind: str) -> str:
    """Return the remedy for a failure of a source."""
    url, server = f"{PREFIX}{URLS.get(source, '')}", SERVERS.get(source, source)
    known = _REMEDIES.get(kind, "see 'Kinds of failure' in docs/operating.md for `{kind}`")
    return known.format(url=url, server=server, kind=kind)
