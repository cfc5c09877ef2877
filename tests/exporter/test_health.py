"""`python -m exporter health`: the answers to a container's health check, and its few prerequisites."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.exporting import PROJECT
from exporter.addresses import WILDCARDS, Address
from exporter.health import ask
from servers.ports import LOOPBACK, free_port
from tests.serving import serving
from tests.waiting import patience


def site(*ok: str) -> ASGIApp:
    """A site with 200 for these paths, and 503 for all others."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(status_code=200 if scope["path"] in ok else 503)(scope, receive, send)

    return answer


def health(directory: Path, *options: str, **variables: str) -> tuple[int, str]:
    """Exit status and output of `python -m exporter` with these options and settings only."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HIVESYNC_")}
    ended = subprocess.run(
        [sys.executable, "-m", "exporter", *options],
        cwd=directory,
        env=inherited | {"PYTHONPATH": str(PROJECT)} | variables,
        capture_output=True,
        text=True,
        timeout=patience(),
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.count("\n") == 1
    return ended.returncode, ended.stdout.rstrip("\n")


def test_one_that_lives_is_healthy_before_it_is_ready(tmp_path: Path) -> None:
    """Without database settings, and with an invalid one."""
    with serving(site("/-/healthy")) as server:
        host, port = server.address
        variables = {"HIVESYNC_METRICS_LISTEN": f"0.0.0.0:{port}", "HIVESYNC_PRICES_FILE": "/nowhere"}
        assert health(tmp_path, "health", **variables) == (0, f"{host}:{port} is healthy and not ready")
        assert health(tmp_path, "health", "--ready", **variables) == (1, f"{host}:{port} is healthy and not ready")


def test_the_address_may_stand_in_a_file(tmp_path: Path) -> None:
    with serving(site("/-/healthy", "/-/ready")) as server:
        host, port = server.address
        file = tmp_path / "settings.env"
        file.write_text(f"HIVESYNC_METRICS_LISTEN={host}:{port}\n")
        assert health(tmp_path, "--env-file", str(file), "health", "--ready") == (
            0,
            f"{host}:{port} is healthy and ready",
        )


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.env"
    assert health(tmp_path, "--env-file", str(missing), "health") == (1, f"--env-file: {missing} is not there")
    (tmp_path / ".env").write_bytes(b"HIVESYNC_METRICS_LISTEN=\xff\n")
    assert health(tmp_path, "health") == (1, ".env: cannot be read: not UTF-8")
    written = tmp_path / "latin.env"
    written.write_bytes(b"HIVESYNC_METRICS_LISTEN=\xff\n")
    expected = f"--env-file: {written}: cannot be read: not UTF-8"
    assert health(tmp_path, "--env-file", str(written), "health") == (1, expected)


def test_nobody_there_is_not_healthy(tmp_path: Path) -> None:
    port = free_port()
    status, line = health(tmp_path, "health", HIVESYNC_METRICS_LISTEN=f":{port}")
    assert (status, line) == (1, f"{LOOPBACK}:{port} does not answer: Connection refused")


def test_an_address_that_is_none_is_said(tmp_path: Path) -> None:
    status, line = health(tmp_path, "health", HIVESYNC_METRICS_LISTEN="somewhere")
    assert (status, line) == (
        1,
        "HIVESYNC_METRICS_LISTEN: should be host:port, as in 127.0.0.1:10177 (it is 'somewhere')",
    )


def test_one_that_answers_with_an_error_is_not_healthy() -> None:
    with serving(site()) as server:
        lives, line = ask(Address(*server.address))
    assert not lives
    assert line.endswith(" is not healthy and not ready")


@pytest.mark.parametrize("host", sorted(WILDCARDS))
def test_every_interface_is_asked_on_this_machine(host: str) -> None:
    lives, line = ask(Address(host, free_port()))
    assert not lives
    assert line.startswith(("127.0.0.1:", "[::1]:"))
