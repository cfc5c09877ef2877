"""A TCP proxy in front of a server, in a thread of its own: its target can be switched, like a virtual address that
moves to another server, and its behaviour, like a network that fails.

    with Proxy(server.port) as proxy:
        proxy.behave(Behaviour.BLACK_HOLE)
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum, auto
from threading import Thread
from typing import Any, Self

from servers.ports import LOOPBACK, free_port

SLOW_SECONDS = 0.05
"""Delay of each piece of data, in both directions, of a slow network."""

GARBAGE_SEED = 7
_LINGER = struct.pack("ii", 1, 0)  # a close sends RST


class Behaviour(Enum):
    """The treatment of connections, present and new ones."""

    FORWARD = auto()
    REFUSE = auto()
    """New connections are refused, present ones reset."""
    RESET = auto()
    """Every connection is reset, as soon as it is made."""
    HALF_CLOSE = auto()
    """The server's side of every connection is closed; the client's side is read and not answered."""
    SLOW = auto()
    BLACK_HOLE = auto()
    """Connections are accepted and stay; no data passes until another behaviour."""
    GARBAGE = auto()
    """Random bytes in place of every answer."""


_CUTS = {Behaviour.REFUSE, Behaviour.RESET, Behaviour.HALF_CLOSE}


class Proxy:
    """A proxy on a free port. Connections made before a switch stay with their target unless they are cut."""

    def __init__(self, target: int) -> None:
        """`target` is a port of this machine."""
        self.target = target
        self.port = free_port()
        self._behaviour = Behaviour.FORWARD
        self._garbage = random.Random(GARBAGE_SEED)  # noqa: S311 - no secret
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._wrong: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        self._passing.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def switch(self, target: int, *, cut: bool = True) -> None:
        """Connect new clients to another port of this machine."""
        self._run(self._switch(target, cut=cut))

    def behave(self, behaviour: Behaviour) -> None:
        """Treat connections in this way from now on. Those whose bytes were not the server's end with the behaviour."""
        self._run(self._behave(behaviour))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    async def _switch(self, target: int, *, cut: bool) -> None:
        self.target = target
        if cut:
            self._reset(self._clients)

    async def _behave(self, behaviour: Behaviour) -> None:
        before, self._behaviour = self._behaviour, behaviour
        if behaviour is Behaviour.REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        elif behaviour is not Behaviour.REFUSE and self._server is None:
            await self._listen()
        if behaviour in {Behaviour.REFUSE, Behaviour.RESET}:
            self._reset(self._clients)
        elif behaviour is Behaviour.HALF_CLOSE:
            for client in self._clients:
                with suppress(OSError):
                    client.write_eof()
        if before in _CUTS or before is Behaviour.GARBAGE:
            self._reset(self._wrong)
        self._wrong = set(self._clients) if behaviour in _CUTS else set()
        if behaviour is Behaviour.BLACK_HOLE:
            self._passing.clear()
        else:
            self._passing.set()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._reset(self._clients)
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients.add(client)
        try:
            with suppress(OSError):
                if self._behaviour is Behaviour.RESET:
                    return
                if self._behaviour is Behaviour.HALF_CLOSE:
                    self._wrong.add(client)
                    client.write_eof()
                    while await reader.read(65_536):
                        pass
                    return
                await self._passing.wait()
                await self._forward(reader, client)
        finally:
            self._clients.discard(client)
            self._wrong.discard(client)
            self._reset({client})

    async def _forward(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        from_server, server = await asyncio.open_connection(LOOPBACK, self.target)
        copies = [
            self._loop.create_task(self._copy(reader, server, client)),
            self._loop.create_task(self._copy(from_server, client, client)),
        ]
        try:
            await asyncio.wait(copies)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            server.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passing.wait()
                if self._behaviour is Behaviour.SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                elif self._behaviour is Behaviour.GARBAGE and writer is client:
                    self._wrong.add(client)
                    data = self._garbage.randbytes(len(data))
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def _reset(self, clients: set[asyncio.StreamWriter]) -> None:
        for client in clients:
            connection = client.get_extra_info("socket")
            with suppress(OSError):
                if connection is not None:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            client.transport.abort()
