"""Another Redis in the place of the former one, and answers that are none: one line each, for the source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from structlog.testing import capture_logs

from exporter.collectors import build_collectors
from exporter.errors import SourceUnavailable
from exporter.running import open_sources
from exporter.snapshot import Snapshot
from exporter.sources.redis import Redis
from exporter.state import StateFile
from servers.valkey import ValkeyServer
from tests.exporter.sources.redis_asking import ask, lengths, opened
from tests.exporter.sources.test_redis_failures import answering
from tests.rows import NO_DATABASE
from tests.scenario import settings_for


def changes_of(client: Redis) -> list[str]:
    """The reasons of the changes of the server, from now on."""
    reasons: list[str] = []
    client.reachability.watch(lambda _, reason: reasons.append(reason))
    return reasons


def test_a_restart_of_redis_is_seen_and_said_once(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)

    async def restart(client: Redis) -> list[str]:
        reasons = changes_of(client)
        await asyncio.to_thread(server.start)
        await asyncio.gather(*(lengths(client) for _ in range(3)))
        assert reasons == []
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        for _ in range(4):
            with suppress(SourceUnavailable):
                await asyncio.gather(*(lengths(client) for _ in range(3)))
        assert client.reachability.changes == 1
        return reasons

    try:
        assert ask(server.url, restart) == ["run_id"]
    finally:
        server.stop()


def test_a_user_who_may_not_read_the_servers_id_reads_all_the_rest(
    valkey_server: ValkeyServer, valkey: redis.Redis
) -> None:
    valkey.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+llen", "+client"])
    try:
        assert ask(valkey_server.url_of("reader", "pw"), lengths) == [0]
    finally:
        valkey.acl_deluser("reader")


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_connection_lost_before_a_command_is_lost_on_every_loop(runner: Callable[..., Any], url: str) -> None:
    """uvloop raises a RuntimeError for a write to a connection that was closed."""

    async def lose() -> str:
        async with opened(url) as client:
            with pytest.raises(SourceUnavailable) as raised:
                await abort(client)
            return raised.value.kind

    async def abort(client: Redis) -> None:
        async with client._connection() as connection:
            assert connection._writer is not None  # redis-py's
            connection._writer.transport.abort()
            await asyncio.sleep(0)
            await connection.send(b"*1\r\n$4\r\nTIME\r\n")
            await connection.receive(1)

    assert runner(lose()) == "connection_lost"


ANSWERS = {
    "a word": b"+OK\r\n",
    "a string": b"$5\r\nhello\r\n",
    "a number": b":7\r\n",
    "a list of numbers": b"*2\r\n:1\r\n:2\r\n",
    "an empty list": b"*0\r\n",
    "nothing": b"$-1\r\n",
    "a scan of numbers": b"*2\r\n$1\r\n0\r\n*1\r\n:5\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_to_other_questions_cost_one_line(answer: str, tmp_path: Path) -> None:
    async def refresh() -> None:
        async with answering(ANSWERS[answer], b"") as url:
            await refresh_of(url, tmp_path)

    assert degraded(refresh) == [("redis", None, "not_understood" if answer == "a word" else "connection_lost")]


@pytest.mark.parametrize("answer", ANSWERS)
def test_such_answers_once_connected_cost_one_line_too(answer: str, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(10_000):
            is_ours = any(command in asked for command in (b"SCAN", b"HMGET", b"LLEN", b"TIME"))
            writer.write((ANSWERS[answer] if is_ours else b"+OK\r\n") * asked.count(b"*"))
        writer.close()

    assert degraded(lambda: serving(serve, tmp_path)) == [("redis", None, "not_understood")]


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_half_closed_server_costs_one_line(runner: Callable[..., Any], tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(10_000)
        writer.write(b"+OK\r\n" * asked.count(b"*"))
        writer.write_eof()
        while await reader.read(10_000):
            pass
        writer.close()

    assert degraded(lambda: serving(serve, tmp_path), runner) == [("redis", None, "connection_lost")]


async def serving(serve: Any, folder: Path) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await refresh_of(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", folder)


async def refresh_of(url: str, folder: Path) -> None:
    """Refresh the collectors of Redis alone, together, three times."""
    settings = settings_for(NO_DATABASE, url, folder, collectors=["queues", "workers"])
    async with open_sources(settings) as sources:
        collectors = build_collectors(settings, lambda name: StateFile(folder, name))
        snapshot = Snapshot(collectors, sources, 1)
        for _ in range(3):
            await asyncio.gather(*(snapshot._refresh(entry) for entry in snapshot._entries))


def degraded(work: Callable[[], Any], runner: Callable[..., Any] = asyncio.run) -> Sequence[tuple[Any, ...]]:
    """(source, collector, kind) of the lines about failures."""
    with capture_logs() as logged:
        runner(work())
    lines = [line for line in logged if line["event"] == "system.analytics.degraded"]
    return [(line["source"], line.get("collector"), line["kind"]) for line in lines]
