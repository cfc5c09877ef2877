"""The real process: closed standard streams, signals, files that are read again, and errors at its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from servers.valkey import ValkeyServer
from tests.admin.access.credentials import ec_key, public_pem, rsa_key, token
from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter, get, seed_database, seed_valkey
from tests.waiting import until

COST = 'hivesync_ai_cost_month_to_date_dollars{component="tokens"}'
TOKENS = 'hivesync_ai_tokens_month_to_date{direction="prompt",model="%s"}'
PRICES = '[models."%s"]\nprompt = %d\ncompletion = 0\n'


class Closed(RunningExporter):
    """The exporter started without standard streams."""

    def command(self) -> Sequence[str]:
        return ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *super().command()]


def nowhere(directory: Path, kind: type[RunningExporter] = RunningExporter) -> RunningExporter:
    return kind(directory, database_url=NO_DATABASE, redis_url=NOWHERE)


def said(exporter: RunningExporter, event: str) -> list[dict[str, Any]]:
    return [found for found in exporter.events() if found["event"] == event]


def test_closed_standard_streams_are_replaced_before_a_socket_takes_their_place(tmp_path: Path) -> None:
    with nowhere(tmp_path, Closed) as exporter:
        streams = [str(Path(f"/proc/{exporter.pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
        exporter.refreshed()
        assert get(exporter.page)[0] == 401
        status, _ = exporter.terminate()
    assert streams == [os.devnull] * 3
    assert status == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_a_signal_of_other_programs_does_not_end_it(tmp_path: Path, number: signal.Signals) -> None:
    with nowhere(tmp_path) as exporter:
        exporter.send(number)
        exporter.refreshed()
        assert exporter.terminate()[0] == 0


def test_sighup_reads_the_prices_again_and_keeps_the_old_ones_if_they_are_wrong(
    database: str, connection: psycopg.Connection, valkey: redis.Redis, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    seed_database(connection)  # 10 tokens of gpt-4.1
    seed_valkey(valkey_server.url)
    exporter = RunningExporter(tmp_path, database_url=database, redis_url=valkey_server.url)
    prices = Path(exporter.variables["HIVESYNC_PRICES_FILE"])
    prices.write_text(PRICES % ("another", 1))
    with exporter:
        exporter.wait_for(lambda samples: samples.get(TOKENS % "other") == 10 and samples[COST] == 0)
        prices.write_text(PRICES % ("gpt-4.1", 7))
        exporter.send(signal.SIGHUP)
        samples = exporter.wait_for(lambda samples: samples.get(TOKENS % "gpt-4.1") == 10)
        assert samples[COST] == pytest.approx(70e-6)
        assert samples[TOKENS % "other"] == 0
        ran = exporter.command_line("verify")
        assert (ran.returncode, "gpt-4.1" in ran.stdout) == (0, True), ran.stdout

        prices.write_text("[models")
        exporter.send(signal.SIGHUP)
        until(lambda: said(exporter, "service.reload_failed"), "the refusal")
        assert exporter.refreshed()[COST] == pytest.approx(70e-6)
    refused = said(exporter, "service.reload_failed")[0]
    assert refused["part"] == "prices"
    assert str(prices) in refused["reason"]


def test_sighup_reads_the_public_key_of_admin_tokens_again(tmp_path: Path) -> None:
    file, (old, new) = tmp_path / "key.pem", (ec_key(), rsa_key())
    file.write_bytes(public_pem(old))
    exporter = RunningExporter(
        tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE, admin_jwt_public_key_file=file, admin_jwt_secret=""
    )

    def status(key: object, algorithm: str) -> int:
        return get(f"{exporter.page}status", {"Authorization": f"Bearer {token(key, algorithm)}"})[0]

    with exporter:
        assert (status(old, "ES256"), status(new, "RS256")) == (200, 401)
        file.write_bytes(public_pem(new))
        exporter.send(signal.SIGHUP)
        until(lambda: status(new, "RS256") == 200, "the new key")
        assert status(old, "ES256") == 401
        file.write_bytes(b"no key")
        exporter.send(signal.SIGHUP)
        until(lambda: said(exporter, "service.reload_failed"), "the refusal")
        assert status(new, "RS256") == 200


def test_sighup_reads_an_api_key_in_a_file_again(tmp_path: Path) -> None:
    file, old, new = tmp_path / "api_key", "k" * 24, "n" * 24
    file.write_text(old)
    exporter = RunningExporter(
        tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE, admin_api_key="", admin_api_key_file=file
    )

    def status(key: str) -> int:
        return get(f"{exporter.page}status", {"X-API-Key": key})[0]

    with exporter:
        assert (status(old), status(new)) == (200, 401)
        file.write_text(new)
        exporter.send(signal.SIGHUP)
        until(lambda: status(new) == 200, "the new key")
        assert status(old) == 401


FAILING_CLOSE = """
import os, socket

close, close_socket = os.close, socket.socket.close

def failing_close(descriptor):
    name = os.readlink(f"/proc/self/fd/{descriptor}")
    close(descriptor)
    if name.endswith("/lock"):
        raise OSError(5, "Input/output error")

def failing_close_socket(listener):
    listening = listener.fileno() >= 0 and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    close_socket(listener)
    if listening:
        raise OSError(5, "Input/output error")

os.close, socket.socket.close = failing_close, failing_close_socket
"""
"""A `sitecustomize` for the exporter: the lock and the listening sockets are closed with an error, as a network file
system may report one."""


def test_an_error_of_a_close_at_the_end_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILING_CLOSE)
    exporter = nowhere(tmp_path)
    path = f"{tmp_path}{os.pathsep}{exporter.environment['PYTHONPATH']}"
    exporter.environment = {**exporter.environment, "PYTHONPATH": path}
    with exporter:
        status, _ = exporter.terminate()
    assert status == 0
    assert exporter.events()[-1]["event"] == "service.stopped"
