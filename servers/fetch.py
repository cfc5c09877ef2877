"""One HTTP GET to a local server, by `http.client`: urllib would use a proxy from the environment."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


def fetch(url: str, timeout: float = 2.0) -> tuple[int, str]:
    """Return status and body. Raises OSError or http.client.HTTPException when there is no answer."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def is_ready(url: str) -> bool:
    """Return whether the server there answers `/-/ready` with 200."""
    try:
        return fetch(f"{url}/-/ready")[0] == 200
    except (OSError, HTTPException):
        return False
