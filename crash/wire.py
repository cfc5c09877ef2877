"""A proxy between the roll-up and PostgreSQL that counts statements, and kills the roll-up at one of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock, Thread
from typing import Self

from servers.ports import LOOPBACK

QUERY, PARSE, SYNC = b"Q", b"P", b"S"
_HEADER = 5
_PIECE = 65_536


class KillingProxy:
    """The proxy on a free port within a `with` block, for connections without TLS. `statements` are those seen."""

    def __init__(self, target: int, kill: Callable[[], None], *, at: int = 0) -> None:
        """Call `kill` as soon as PostgreSQL has statement number `at`, from 1, whose answer is withheld; never with
        0."""
        self.statements: list[str] = []
        self._target, self._kill, self._at = target, kill, at
        self._listener = socket.create_server((LOOPBACK, 0))
        self._threads: list[Thread] = []
        self._counting = Lock()
        self._is_over = False

    @property
    def port(self) -> int:
        """The port for the client."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until PostgreSQL has ended every session: the statements that reached it have then had their effect."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._threads:
            self._threads.pop().join()

    def _begin(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, name="wire", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((LOOPBACK, self._target))
                self._begin(partial(self._ask, client, server))
                self._begin(partial(self._answer, server, client))

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """Pass the client's messages on, up to the kill."""
        with suppress(OSError):
            server.sendall(_exactly(client, struct.unpack("!i", head := _exactly(client, 4))[0] - 4, head))
            is_last, kind = False, b""
            while not (is_last and kind in (QUERY, SYNC)):
                message = _message(client)
                kind = message[:1]
                if kind in (QUERY, PARSE):
                    is_last = self._count(kind, message)
                server.sendall(message)
            self._kill()
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _count(self, kind: bytes, message: bytes) -> bool:
        """Note a statement. Return whether it is the last one."""
        content = message[_HEADER:]
        text = content if kind == QUERY else content.partition(b"\0")[2]
        with self._counting:
            if self._is_over:
                raise OSError("killed")
            self.statements.append(" ".join(text.partition(b"\0")[0].decode().split()))
            self._is_over = len(self.statements) == self._at
            return self._is_over

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        """Pass PostgreSQL's answers on until the kill; read them to the end of the session."""
        with suppress(OSError):
            while piece := server.recv(_PIECE):
                if not self._is_over:
                    with suppress(OSError):
                        client.sendall(piece)
        server.close()
        client.close()


def _message(client: socket.socket) -> bytes:
    head = _exactly(client, _HEADER)
    return _exactly(client, struct.unpack("!i", head[1:])[0] - 4, head)


def _exactly(client: socket.socket, length: int, before: bytes = b"") -> bytes:
    """Return `before` and that many bytes more. Raises OSError at the end of the stream."""
    wanted = len(before) + length
    content = bytearray(before)
    while len(content) < wanted:
        piece = client.recv(wanted - len(content))
        if not piece:
            raise ConnectionError("ended")
        content += piece
    return bytes(content)
