"""A Unix socket in the state directory, by which `verify` asks the exporter that is running about its own windows.

Only the user it runs as may connect, and there is one question. The ports know nothing of it: no request of theirs
causes a query.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import orjson
import structlog

from exporter.errors import AnalyticsError, CollectionFailed, StateError
from exporter.verify import Comparison

SOCKET = "control.sock"
ANSWER_LIMIT = 16 * 1024 * 1024
DEADLINE_SECONDS = 600.0
"""Counting everything from scratch takes what it takes; it holds a connection, and nothing up."""

_log = structlog.get_logger()

Verify = Callable[[], Awaitable[Sequence[Comparison]]]


async def serve(state_dir: Path, verify: Verify) -> None:
    """Answer until cancelled. Where the socket cannot be made it says so, and the exporter does without."""
    path = state_dir / SOCKET
    one_at_a_time = asyncio.Lock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        verifying = asyncio.ensure_future(_answer(verify, one_at_a_time))
        gone = asyncio.ensure_future(reader.read())  # a client asks by connecting; all it can say is that it left
        gone.add_done_callback(lambda _: verifying.cancel())
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                writer.write(await verifying)
                await writer.drain()
        finally:
            gone.cancel()
            writer.close()

    mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, path)
    except OSError as error:
        _log.warning(
            "no control socket: verify will build windows of its own",
            path=str(path),
            reason=error.strerror or str(error),
        )
        return
    finally:
        os.umask(mask)
    try:
        await server.serve_forever()
    finally:
        path.unlink(missing_ok=True)


async def _answer(verify: Verify, one_at_a_time: asyncio.Lock) -> bytes:
    try:
        async with one_at_a_time, asyncio.timeout(DEADLINE_SECONDS):
            comparisons = await verify()
    except AnalyticsError as error:
        return orjson.dumps({"error": str(error)})
    except TimeoutError:
        return orjson.dumps({"error": f"not done after {DEADLINE_SECONDS:.0f} s"})
    return orjson.dumps({"comparisons": [asdict(comparison) for comparison in comparisons]})


async def ask(state_dir: Path) -> list[Comparison] | None:
    """What the exporter that runs on this state directory says of its windows; None when none runs there.

    Raises StateError when one may run there but is not ours to ask.
    """
    path = state_dir / SOCKET
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_LIMIT)
    except PermissionError:
        raise StateError(f"{path}: permission denied: run this as the user the exporter runs as") from None
    except OSError:
        return None
    try:
        answer = orjson.loads(await reader.read())
    except orjson.JSONDecodeError:
        return None  # it stopped while we asked
    finally:
        writer.close()
    if "error" in answer:
        raise CollectionFailed("postgres", "verify_failed", answer["error"])
    return [Comparison(**comparison) for comparison in answer["comparisons"]]
