"""A Unix socket in the state directory, for commands to the running exporter: `verify` compares the exporter's own
windows, `login-link` asks for a login link to its Analytics page, `sessions` lists and ends logins in browsers.

Only the user of the exporter's process may connect. The ports are separate from it: no request to them causes a query.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import structlog

from exporter import disk
from exporter.errors import AnalyticsError, CollectionFailed, StateError
from exporter.state_lock import holder
from exporter.verify import Comparison

SOCKET = "control.sock"
ANSWER_LIMIT = 16 * 1024 * 1024
DEADLINE_SECONDS = 600.0
"""Time limit of an answer. Counting from scratch holds a connection and blocks nothing else. The wait for the answer to
an earlier question is included."""

ANSWER_SECONDS = DEADLINE_SECONDS + 30.0
"""Time without an answer after which the exporter is assumed to hang."""

QUESTION_SECONDS = 5.0

PULSE_SECONDS = 1.0
"""Time between the blanks sent while an answer is prepared, as signs of life: JSON may begin with any number of
them."""

SILENCE_SECONDS = 5.0
"""Time without a sign of life after which the exporter is assumed to hang."""

LINK_SECONDS = 60.0
"""Time limit of answers that need the Analytics section, which may still be loading."""

LOOK_SECONDS = 1.0
"""Time between two looks for the socket, which is made again after it was removed."""

_log = structlog.get_logger()

Answer = Callable[[], Awaitable[object]]
"""The handler of one question; its result must be serialisable as JSON. Raises AnalyticsError."""

VERIFY, LOGIN_LINK, HEALTH = "verify", "login-link", "health"
SESSIONS, END_SESSION, END_SESSIONS = "sessions", "end-session", "end-sessions"

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

WithArgument = Callable[[str], Awaitable[object]]
"""The handler of a question with a word behind it."""


async def serve(
    state_dir: Path,
    answers: Mapping[str, Answer],
    with_argument: Mapping[str, WithArgument] | None = None,
    is_ours: Callable[[], bool] = lambda: True,
) -> None:
    """Answer until cancelled, each question once at a time. Without a usable socket, log a warning and return.

    A socket that was removed is made again, while the state directory `is_ours`.
    """
    path = state_dir / SOCKET
    handlers: Mapping[str, WithArgument] = {**_without_argument(answers), **(with_argument or {})}
    locks = {question: asyncio.Lock() for question in handlers}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.CancelledError, TimeoutError, ValueError):
                async with asyncio.timeout(QUESTION_SECONDS):
                    line = (await reader.readline()).decode("ascii", "replace").strip()
                question, _, argument = line.partition(" ")
                if question in handlers:
                    handler = partial(handlers[question], argument)
                    await _answer_while_there(reader, writer, _answer(handler, locks[question]))
        finally:
            writer.close()

    while (server := await _listen(path, answer)) is not None:
        made = _identity(path)
        try:
            await _until_removed(path, is_ours)
        finally:
            server.close()
            with suppress(OSError):  # a disk that hangs or fails (TimeoutError is one)
                await disk.Step(disk.run(_remove, path, made)).wait(PULSE_SECONDS)


async def _listen(path: Path, answer: Connected) -> asyncio.Server | None:
    mask = os.umask(0o177)
    try:
        _remove(path, _identity(path))
        return await asyncio.start_unix_server(answer, path)
    except OSError as error:
        _log.warning("control.no_socket", path=str(path), reason=error.strerror or str(error))
        return None
    finally:
        os.umask(mask)


async def _until_removed(path: Path, is_ours: Callable[[], bool]) -> None:
    def is_removed() -> bool:
        ours = is_ours()  # at each look: a lock that is lost is reported without a save
        return ours and _is_gone(path)

    while not await disk.run(is_removed):  # noqa: ASYNC110 - the file system sends no event
        await asyncio.sleep(LOOK_SECONDS)
    _log.warning("control.socket_removed", path=str(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_gone(path: Path) -> bool:
    """Return whether there is no such file; False where a disk that fails hides it."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _remove(path: Path, made: tuple[int, int] | None) -> None:
    """Remove the socket, unless it is another exporter's by now."""
    if made is not None and _identity(path) == made:
        path.unlink(missing_ok=True)


def _without_argument(answers: Mapping[str, Answer]) -> Mapping[str, WithArgument]:
    return {question: lambda _, answer=answer: answer() for question, answer in answers.items()}  # type: ignore[misc]


async def _answer_while_there(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: Coroutine[None, None, bytes]
) -> None:
    """Send the answer. Cancel the work when the client disconnects."""
    task = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(reader.read())  # after the question, the only possible event is a disconnect
    gone.add_done_callback(lambda _: task.cancel())
    try:
        writer.write(b" ")
        while not (await asyncio.wait([task], timeout=PULSE_SECONDS))[0]:
            writer.write(b" ")
        writer.write(await task)
        await writer.drain()
    finally:
        task.cancel()
        gone.cancel()


async def _answer(answer: Answer, one_at_a_time: asyncio.Lock) -> bytes:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), one_at_a_time:
            return orjson.dumps({"answer": await answer()})
    except AnalyticsError as error:
        return orjson.dumps({"error": str(error)})
    except TimeoutError:
        return orjson.dumps({"error": f"not done after {DEADLINE_SECONDS:.0f} s"})


def not_running(state_dir: Path) -> str:
    """Return the message for a state directory on which no exporter runs."""
    return (
        f"no exporter is running on {state_dir}: start it (python -m exporter), or name the state directory of the one"
        " that runs in HIVESYNC_STATE_DIR or in the settings of --env-file"
    )


async def ask_to_verify(state_dir: Path) -> list[Comparison] | None:
    """Return the comparisons of the exporter that runs on this state directory; None where no exporter runs there.

    Raises StateError where an exporter may run there but access is denied or no answer comes, CollectionFailed where it
    could not verify.
    """
    answer = await _ask(state_dir, VERIFY)
    if answer is None:
        return None
    if "error" in answer:
        raise CollectionFailed("postgres", "verify_failed", answer["error"])
    try:
        return [Comparison(**comparison) for comparison in answer["answer"]]
    except TypeError:
        raise StateError(f"{state_dir / SOCKET}: an exporter of another version runs there: restart it") from None


async def ask_for_login_link(state_dir: Path) -> str | None:
    """Return a one-time login link to the Analytics page; None where no exporter runs there.

    Raises StateError where an exporter may run there but access is denied, no answer comes, or it gives no links.
    """
    return await _ask_for_text(state_dir, LOGIN_LINK)


async def ask_about_sessions(state_dir: Path, *, end: str | None = None, end_all: bool = False) -> str | None:
    """Return the list of open sessions, or the outcome of ending one or all; None where no exporter runs there.

    Raises StateError where an exporter may run there but access is denied, no answer comes, or no session is named so.
    """
    if end_all:
        return await _ask_for_text(state_dir, END_SESSIONS)
    return await _ask_for_text(state_dir, SESSIONS if end is None else f"{END_SESSION} {' '.join(end.split())}")


async def _ask_for_text(state_dir: Path, question: str) -> str | None:
    answer = await _ask(state_dir, question, LINK_SECONDS)
    if answer is None:
        return None
    if "error" in answer:
        raise StateError(answer["error"])
    return str(answer["answer"])


async def ask_for_health(state_dir: Path, within: float) -> bool | None:
    """Return whether the exporter that runs there has completed its first pass; None where no exporter runs there.

    Raises StateError where an exporter may run there but access is denied, or no answer comes within that many seconds.
    """
    answer = await _ask(state_dir, HEALTH, within)
    return None if answer is None else bool(answer.get("answer"))


async def _ask(state_dir: Path, question: str, within: float | None = None) -> dict[str, Any] | None:
    path = state_dir / SOCKET
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_LIMIT)
    except PermissionError:
        raise StateError(f"{path}: permission denied: run this as the user the exporter runs as") from None
    except BlockingIOError:
        raise _hangs(path, "accepts no more connections") from None
    except OSError:
        running = holder(state_dir)
        if running is None or not running.answers:
            return None
        raise StateError(
            f"{state_dir}: the exporter runs as process {running.process}, but its socket is gone ({SOCKET}): it is"
            " made again within seconds; ask again, and look at the exporter's log"
        ) from None
    limit = ANSWER_SECONDS if within is None else within
    try:
        writer.write(f"{question}\n".encode())
        async with asyncio.timeout(limit):
            answer: dict[str, Any] = orjson.loads(await _read(reader))
    except _Silent:
        raise _hangs(path, f"does not answer: no sign of life for {SILENCE_SECONDS:g} s") from None
    except TimeoutError:
        raise _hangs(path, f"does not answer within {limit:g} s") from None
    except (orjson.JSONDecodeError, ConnectionError):
        raise StateError(
            f"{path}: no whole answer: the exporter that runs there stopped, or failed: look at its log, and ask again"
        ) from None
    finally:
        writer.close()
    return answer


class _Silent(Exception):
    """No sign of life came in time."""


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Read the answer behind the signs of life. Raises _Silent when neither comes."""
    answer = b""
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as silence:
                read = await reader.read(ANSWER_LIMIT)
        except TimeoutError:
            if silence.expired():
                raise _Silent from None
            raise
        if not read:
            return answer
        answer += read


def _hangs(path: Path, how: str) -> StateError:
    running = holder(path.parent)
    process = "" if running is None else f" as process {running.process}"
    return StateError(f"{path}: the exporter that runs there{process} {how}: restart it")
