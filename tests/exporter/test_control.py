"""The control socket, by which `verify` queries the running exporter."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter import control
from exporter.control import LOGIN_LINK, SOCKET, VERIFY, Answer, ask_for_login_link, ask_to_verify, serve
from exporter.errors import AnalyticsError, CollectionFailed, SourceUnavailable, StateError
from exporter.verify import Comparison
from tests.accounts import masked
from tests.waiting import bounded, until_async

FOUND = [
    Comparison('hivesync_users{plan="paid"}', 3.0, 3.0, served=2.0, age=80.5, promised_age=75.0),
    Comparison("hivesync_projects", 7.25, None),
    Comparison("collector online", error="redis: refused"),
]


async def found() -> Sequence[Comparison]:
    return FOUND


async def link() -> str:
    return "http://127.0.0.1:10178/admin/analytics/login#code=x"


@asynccontextmanager
async def exporter(directory: Path, verify: Answer = found) -> AsyncIterator[asyncio.Task[None]]:
    """The exporter's side of the socket, listening for the duration of the context."""
    task = asyncio.create_task(serve(directory, {VERIFY: verify, LOGIN_LINK: link}))
    await asyncio.sleep(0)  # an old socket has been removed by then
    await until_async((directory / SOCKET).is_socket, "it listens", poll=0)
    await asyncio.sleep(0)  # the server serves by then
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_the_answer_is_what_the_running_exporter_found(tmp_path: Path) -> None:
    async def asked() -> object:
        async with exporter(tmp_path):
            return await ask_to_verify(tmp_path), await ask_to_verify(tmp_path)

    assert asyncio.run(asked()) == (FOUND, FOUND)


def test_an_exporter_that_found_nothing_says_so(tmp_path: Path) -> None:
    async def nothing() -> Sequence[Comparison]:
        return []

    async def asked() -> object:
        async with exporter(tmp_path, nothing):
            return await ask_to_verify(tmp_path)

    assert asyncio.run(asked()) == []


def test_a_long_answer_comes_whole(tmp_path: Path) -> None:
    many = [Comparison(f"hivesync_metric_{number}", float(number), float(number)) for number in range(5_000)]

    async def verify() -> Sequence[Comparison]:
        return many

    async def asked() -> object:
        async with exporter(tmp_path, verify):
            return await ask_to_verify(tmp_path)

    assert asyncio.run(asked()) == many


@pytest.mark.parametrize(
    "error", [SourceUnavailable("postgres", "refused"), CollectionFailed("postgres", "undefined_table", "users")]
)
def test_what_keeps_it_from_looking_is_passed_on(error: AnalyticsError, tmp_path: Path) -> None:
    async def verify() -> Sequence[Comparison]:
        raise error

    async def asked() -> str:
        async with exporter(tmp_path, verify):
            with pytest.raises(CollectionFailed) as raised:
                await ask_to_verify(tmp_path)
            return str(raised.value)

    assert str(error) in asyncio.run(asked())


def test_without_an_exporter_there_is_no_answer(tmp_path: Path) -> None:
    assert asyncio.run(ask_to_verify(tmp_path)) is None
    assert asyncio.run(ask_to_verify(tmp_path / "missing")) is None
    assert asyncio.run(ask_to_verify(tmp_path / ("long" * 60))) is None


def test_a_socket_that_a_killed_exporter_left_is_no_exporter_and_no_hindrance(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET))
    assert (tmp_path / SOCKET).exists()
    assert asyncio.run(ask_to_verify(tmp_path)) is None

    async def asked() -> object:
        async with exporter(tmp_path):
            return await ask_to_verify(tmp_path)

    assert asyncio.run(asked()) == FOUND
    assert not (tmp_path / SOCKET).exists()


def test_an_exporter_that_stops_while_it_is_asked_is_not_taken_for_none(tmp_path: Path) -> None:
    def exporter_that_stops() -> None:
        async def verify() -> Sequence[Comparison]:
            stopping.set()
            await asyncio.Event().wait()
            return FOUND

        async def until_asked() -> None:
            async with exporter(tmp_path, verify):
                listening.set()
                await stopping.wait()

        stopping = asyncio.Event()
        asyncio.run(until_asked())

    async def asked() -> None:
        stopped = asyncio.create_task(asyncio.to_thread(exporter_that_stops))
        await asyncio.to_thread(listening.wait)
        async with bounded():
            with pytest.raises(StateError, match="no whole answer"):
                await ask_to_verify(tmp_path)
        await stopped

    listening = threading.Event()
    asyncio.run(asked())


def test_an_exporter_that_fails_at_it_for_a_reason_of_its_own_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def verify() -> Sequence[Comparison]:
        raise ZeroDivisionError

    async def asked() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        async with exporter(tmp_path, verify), bounded():
            with pytest.raises(StateError, match="look at its log"):
                await ask_to_verify(tmp_path)

    failures: list[object] = []
    asyncio.run(asked())
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


def test_it_does_not_look_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DEADLINE_SECONDS", 0.01)

    async def verify() -> Sequence[Comparison]:
        await asyncio.Event().wait()
        return FOUND

    async def asked() -> str:
        async with exporter(tmp_path, verify), bounded():
            with pytest.raises(CollectionFailed) as raised:
                await ask_to_verify(tmp_path)
            return raised.value.detail

    assert "not done" in asyncio.run(asked())


def test_it_does_not_wait_for_another_answer_for_ever_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DEADLINE_SECONDS", 0.01)

    async def asked() -> str:
        one_at_a_time = asyncio.Lock()
        async with one_at_a_time, bounded():
            return (await control._answer(found, one_at_a_time)).decode()

    assert "not done" in asyncio.run(asked())


def stand_in(answer: bytes) -> Callable[[Path], Coroutine[None, None, object]]:
    """A function that queries a stand-in at the exporter's socket; the stand-in sends this answer, or hangs if it is
    empty."""

    async def ask(directory: Path) -> object:
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            if answer:
                writer.write(answer)
                writer.close()
            else:
                await gone.wait()
                writer.close()

        gone = asyncio.Event()
        async with await asyncio.start_unix_server(send, directory / SOCKET), bounded():
            try:
                return await ask_to_verify(directory)
            finally:
                gone.set()

    return ask


def test_an_exporter_that_hangs_is_waited_for_until_its_own_deadline_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control.ANSWER_SECONDS > control.DEADLINE_SECONDS
    monkeypatch.setattr(control, "ANSWER_SECONDS", 0.01)
    with pytest.raises(StateError, match="does not answer"):
        asyncio.run(stand_in(b"")(tmp_path))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"answer": [{"metric": "hivesync_projects", "fresh": 1', "no whole answer"),
        (b'{"answer": [{"metric": "hivesync_projects", "incremental": 1}]}', "another version"),
    ],
    ids=["half of one", "of another version"],
)
def test_an_answer_that_is_not_understood_is_an_error(answer: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=said):
        asyncio.run(stand_in(answer)(tmp_path))


def test_it_looks_no_further_for_somebody_who_left(tmp_path: Path) -> None:
    async def left() -> object:
        looking, stopped = asyncio.Event(), asyncio.Event()

        async def verify() -> Sequence[Comparison]:
            if not looking.is_set():
                looking.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    stopped.set()
            return FOUND

        async with exporter(tmp_path, verify), bounded():
            _, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
            writer.write(b"verify\n")
            await looking.wait()
            writer.close()
            await writer.wait_closed()
            await stopped.wait()
            return await ask_to_verify(tmp_path)

    assert asyncio.run(left()) == FOUND


def test_only_its_owner_may_ask(tmp_path: Path) -> None:
    async def mode() -> int:
        async with exporter(tmp_path):
            return stat.S_IMODE((tmp_path / SOCKET).stat().st_mode)

    with masked(0o022):
        assert asyncio.run(mode()) == 0o600
        assert os.umask(0o022) == 0o022  # no other file gets the mode of the socket


def test_an_exporter_that_is_somebody_elses_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the kernel's refusal to another user, as root may connect to every socket."""

    async def denied(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", denied)
    with pytest.raises(StateError, match="run this as the user the exporter runs as"):
        asyncio.run(ask_to_verify(tmp_path))


def test_two_who_ask_at_once_are_answered_one_after_the_other(tmp_path: Path) -> None:
    async def asked() -> object:
        looking = 0

        async def verify() -> Sequence[Comparison]:
            nonlocal looking
            looking += 1
            assert looking == 1
            for _ in range(20):
                await asyncio.sleep(0)
            looking -= 1
            return FOUND

        async with exporter(tmp_path, verify):
            return await asyncio.gather(*(ask_to_verify(tmp_path) for _ in range(4)))

    assert asyncio.run(asked()) == [FOUND] * 4


def test_somebody_who_hangs_up_disturbs_nobody(tmp_path: Path) -> None:
    many = [Comparison(f"hivesync_metric_{number}") for number in range(5_000)]

    async def verify() -> Sequence[Comparison]:
        return many

    async def asked() -> object:
        async with exporter(tmp_path, verify) as task:
            for _ in range(3):
                _, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
                writer.close()
                await writer.wait_closed()
            answer = await ask_to_verify(tmp_path)
            assert not task.done()
            return answer

    assert asyncio.run(asked()) == many


@pytest.mark.parametrize("obstacle", ["missing", "long", "a directory"])
def test_where_there_can_be_no_socket_the_exporter_says_so_and_does_without(obstacle: str, tmp_path: Path) -> None:
    directory = tmp_path
    if obstacle == "missing":
        directory = tmp_path / "missing"
    elif obstacle == "long":
        directory = tmp_path / ("x" * 120)
        directory.mkdir()
    else:
        (tmp_path / SOCKET / "full").mkdir(parents=True)
    with capture_logs() as logs:
        asyncio.run(serve(directory, {VERIFY: found}))
    assert [(entry["log_level"], entry["path"]) for entry in logs] == [("warning", str(directory / SOCKET))]
    assert logs[0]["event"] == "control.no_socket"


def test_it_gives_a_login_link(tmp_path: Path) -> None:
    async def asked() -> object:
        async with exporter(tmp_path):
            return await ask_for_login_link(tmp_path), await ask_for_login_link(tmp_path / "none")

    assert asyncio.run(asked()) == (await_link(), None)


def await_link() -> str:
    return asyncio.run(link())


def test_a_question_it_does_not_know_has_no_answer(tmp_path: Path) -> None:
    async def asked(question: bytes) -> bytes:
        async with exporter(tmp_path), bounded():
            reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
            writer.write(question)
            answer = await reader.read()
            writer.close()
            return answer

    for question in (b"shutdown\n", b"\n", b"\xff\xfe\n", b"x" * 100_000):
        assert asyncio.run(asked(question)) == b""


def test_who_asks_nothing_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "QUESTION_SECONDS", 0.01)

    async def asked() -> bytes:
        async with exporter(tmp_path), bounded():
            reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(asked()) == b""


def test_a_disk_that_fails_is_not_taken_for_a_removed_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EIO, "Input/output error"), FileNotFoundError(errno.ENOENT, "No such file")]

    def look(_: Path) -> None:
        raise failures.pop(0)

    monkeypatch.setattr("exporter.control.LOOK_SECONDS", 0)
    monkeypatch.setattr(Path, "lstat", look)
    asyncio.run(control._until_removed(tmp_path / "control.sock", lambda: True))
    assert failures == []
