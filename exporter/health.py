"""`python -m exporter health`: asks the local exporter for its health, for containers whose image has no curl.

It reads the address of the metrics port alone; other settings, such as a database URL, are not checked. It is a client
of `web.py`; `__main__` turns its result into an exit status. A port with a web configuration may ask for a password or
a certificate that this command does not have: the control socket answers in its place.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from pydantic_settings import SettingsConfigDict

from exporter.addresses import Address, reachable, reachable_host
from exporter.control import ask_for_health, not_running
from exporter.errors import SettingsError, StateError
from exporter.plain_settings import PlainSettings
from exporter.setting_types import Listen
from exporter.settings import PREFIX, Settings, read_settings

TIMEOUT_SECONDS = 2.0
"""The port answers from memory. Longer time limits are set in the container engine."""

HEALTHY, READY = "/-/healthy", "/-/ready"


class _Listener(PlainSettings):
    """The settings that are needed."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    metrics_listen: Listen = Settings.model_fields["metrics_listen"].default
    web_config_file: Path | None = None
    state_dir: Path = Settings.model_fields["state_dir"].default


def check(
    env_file: Path | None = None, *, ready: bool = False, web_config_file: Path | None = None
) -> tuple[bool, str]:
    """Return whether the exporter is healthy and, if `ready`, has completed its first pass; and a line with the
    result."""
    try:
        listener = read_settings(env_file, _Listener)
    except SettingsError as error:
        return False, "; ".join(str(error).splitlines())
    if web_config_file or listener.web_config_file:
        return asyncio.run(_ask_socket(listener.state_dir, ready=ready))
    return ask(listener.metrics_listen, ready=ready)


async def _ask_socket(state_dir: Path, *, ready: bool) -> tuple[bool, str]:
    try:
        has_tried = await ask_for_health(state_dir, TIMEOUT_SECONDS)
    except StateError as error:
        return False, str(error)
    if has_tried is None:
        return False, not_running(state_dir)
    state = "ready" if has_tried else "not ready"
    return has_tried or not ready, f"the exporter on {state_dir} is healthy and {state}"


def ask(address: Address, *, ready: bool = False) -> tuple[bool, str]:
    """Run the check against the exporter at this address."""
    where, host = reachable(address), reachable_host(address)
    try:
        lives, has_tried = (_is_ok(host, address.port, path) for path in (HEALTHY, READY))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return False, f"{where} does not answer: {reason}"
    state = "healthy" if lives else "not healthy"
    return lives and (has_tried or not ready), f"{where} is {state} and {'ready' if has_tried else 'not ready'}"


def _is_ok(host: str, port: int, path: str) -> bool:
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    finally:
        connection.close()
