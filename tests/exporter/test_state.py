"""State outlives the process, whole or not at all, and is never shared by two exporters."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from exporter.errors import SettingsError, StateError
from exporter.state import StateDirectory, StateFile
from tests.accounts import IS_ROOT, NOBODY, as_nobody


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    StateFile(tmp_path, "counts").save({"read": 1})
    StateFile(tmp_path, "counts").save({"read": 2, "more": ["ü", None]})
    assert StateFile(tmp_path, "counts").load() == {"read": 2, "more": ["ü", None]}
    assert [path.name for path in tmp_path.iterdir()] == ["counts"]


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert StateFile(tmp_path, "counts").load() is None


@pytest.mark.parametrize("content", [b"", b'{"read":', b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b"\0" * 100])
def test_a_file_that_makes_no_sense_is_said_and_set_aside_once(tmp_path: Path, content: bytes) -> None:
    file = StateFile(tmp_path, "counts")
    file.path.write_bytes(content)
    with capture_logs() as logged:
        assert file.load() is None
        assert file.load() is None
    aside = tmp_path / "counts.corrupt"
    assert aside.read_bytes() == content
    assert logged == [
        {
            "event": "state.corrupt",
            "file": str(file.path),
            "kept_as": str(aside),
            "reason": "not a JSON object",
            "log_level": "warning",
        }
    ]
    file.save({"read": 1})
    assert file.load() == {"read": 1}


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "counts").mkdir()
    with pytest.raises(StateError, match=r"/counts: cannot be read: Is a directory"):
        StateFile(tmp_path, "counts").load()


def test_a_directory_that_is_gone_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"/gone/counts: cannot be written: No such file or directory"):
        StateFile(tmp_path / "gone", "counts").save({})
    file = StateFile(tmp_path, "counts")
    with pytest.raises(StateError, match=r"/counts: cannot be set aside"):
        file.set_aside("gone")


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_save_that_fails_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    file = StateFile(tmp_path, "counts")
    file.save({"read": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "replace":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr(os, "open" if step == "write" else "fsync", full)
        with pytest.raises(StateError, match=r"/counts: cannot be written: No space left on device"):
            file.save({"read": 2})
    assert file.load() == {"read": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["counts"]


def test_what_a_kill_left_half_written_does_not_matter(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "counts")
    (tmp_path / ".counts.new").write_bytes(b'{"read":')
    assert file.load() is None
    file.save({"read": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["counts"]


def test_the_content_is_on_disk_before_the_name_and_the_name_before_save_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        steps.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)  # noqa: PTH115
        sync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append(f"{self.name} -> {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    StateFile(tmp_path, "counts").save({})
    assert steps == [".counts.new", ".counts.new -> counts", tmp_path.name]


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_only_a_file_system_that_cannot_sync_directories_may_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    sync = os.fsync

    def refusing(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path):  # noqa: PTH115
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    if fails:
        with pytest.raises(StateError):
            StateFile(tmp_path, "counts").save({"read": 1})
    else:
        StateFile(tmp_path, "counts").save({"read": 1})
    assert StateFile(tmp_path, "counts").load() == {"read": 1}


# The directory ---------------------------------------------------------------------------------------------------


def test_the_directory_is_made_where_it_is_missing(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "a" / "b") as directory:
        directory.file("counts").save({"read": 1})
    assert orjson.loads((tmp_path / "a" / "b" / "counts").read_bytes()) == {"read": 1}


def test_a_directory_that_is_in_use_is_refused_and_free_again_after(tmp_path: Path) -> None:
    with StateDirectory(tmp_path), pytest.raises(SettingsError) as error:
        StateDirectory(tmp_path)
    assert str(error.value) == (f"HIVESYNC_STATE_DIR: {tmp_path} is in use by another exporter (process {os.getpid()})")
    for _ in range(2):
        StateDirectory(tmp_path).close()


def test_a_killed_exporter_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, exporter.state\n"
        "held = exporter.state.StateDirectory(pathlib.Path(sys.argv[1]))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        with pytest.raises(SettingsError, match=rf"process {child.pid}\)"):
            StateDirectory(tmp_path)
        child.send_signal(signal.SIGKILL)
    StateDirectory(tmp_path).close()


# Other users -----------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def flocked(file: Path) -> list[str | Path]:
    """A command that holds the lock of a file for as long as it runs; fails where the file cannot be opened."""
    return ["flock", "--exclusive", "--nonblock", file, "true"]


@pytest.mark.usefixtures("umask")
def test_a_new_directory_and_its_files_are_closed_to_other_users(tmp_path: Path) -> None:
    with capture_logs() as logged, StateDirectory(tmp_path / "parent" / "state") as directory:
        directory.file("counts").save({})
        assert logged == []  # it was never open
        assert mode(directory.path) == 0o700
        assert mode(directory.path.parent) & 0o022 == 0
        assert {path.name: mode(path) for path in directory.path.iterdir()} == {"lock": 0o600, "counts": 0o600}


@pytest.mark.usefixtures("umask")
def test_an_open_directory_of_a_former_version_is_closed_with_its_lock(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    for path, wide in ((state, 0o2777), (state / "lock", 0o666), (state / ".counts.new", 0o644)):
        path.touch()
        path.chmod(wide)
    with capture_logs() as logged, StateDirectory(state) as directory:
        directory.file("counts").save({})
        assert {path.name: mode(path) for path in state.iterdir()} == {"lock": 0o600, "counts": 0o600}
    assert mode(state) == 0o700
    expected = {"event": "state.directory_closed", "path": str(state), "mode": "2777", "log_level": "warning"}
    assert logged == [expected]
    with capture_logs() as logged:
        StateDirectory(state).close()
    assert logged == []


def test_an_open_directory_with_files_of_other_programs_is_refused_and_left_open(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "other").touch()
    shared.chmod(0o1777)
    refused(shared, "1777", pwd.getpwuid(os.geteuid()).pw_name)
    assert mode(shared) == 0o1777
    StateDirectory(shared / "state").close()  # the remedy


def refused(path: Path, wide: str, owner: str) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    with pytest.raises(SettingsError) as error:
        StateDirectory(path)
    assert str(error.value) == (
        f"HIVESYNC_STATE_DIR: {path} is open to other users (mode {wide}, owner {owner}): make it a directory of {user}"
        f" alone (chown {user}, chmod 700), or set one in it that does not exist"
    )
    assert not (path / "lock").exists()


if IS_ROOT:

    def test_an_open_directory_of_another_user_is_refused(tmp_path: Path) -> None:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        theirs.chmod(0o755)
        os.chown(theirs, NOBODY, NOBODY)
        refused(theirs, "0755", "nobody")
        os.chown(theirs, 4_000_000_000, NOBODY)
        refused(theirs, "0755", "4000000000")

    @pytest.mark.usefixtures("umask")
    def test_another_user_cannot_hold_the_lock_nor_read_a_file(tmp_path: Path) -> None:
        state = tmp_path / "state"
        with StateDirectory(state) as directory:
            directory.file("counts").save({})
        beside = tmp_path / "lock"
        beside.touch()
        beside.chmod(0o644)
        assert as_nobody(state, flocked(beside)).returncode == 0
        for file in ("lock", "counts"):
            assert "Permission denied" in as_nobody(state, flocked(state / file)).stderr
            assert "Permission denied" in as_nobody(state, ["cat", state / file]).stderr


def in_a_file(path: Path) -> Path:
    (path / "file").write_text("")
    return path / "file" / "state"


def is_a_file(path: Path) -> Path:
    (path / "file").write_text("")
    return path / "file"


@pytest.mark.parametrize("place", [in_a_file, is_a_file, lambda _: Path("/proc/self"), lambda _: Path("/proc/state")])
def test_a_directory_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    path = place(tmp_path)
    with pytest.raises(SettingsError, match=f"HIVESYNC_STATE_DIR: {path} cannot be written: "):
        StateDirectory(path)


def test_a_directory_that_has_become_read_only_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    StateDirectory(tmp_path).close()
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(SettingsError, match="cannot be written: Read-only file system"):
        StateDirectory(tmp_path)


def test_a_directory_that_cannot_be_locked_is_a_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlockable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr("fcntl.flock", unlockable)
    with pytest.raises(SettingsError, match="cannot be locked: No locks available"):
        StateDirectory(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("call", ["pathlib.Path.stat", "os.fstat"])
def test_a_disk_that_fails_is_not_taken_for_a_replaced_directory(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with StateDirectory(tmp_path / "state") as directory:
        file = directory.file("counts")
        with monkeypatch.context() as patch, capture_logs() as logged:
            patch.setattr(call, fail)
            with pytest.raises(StateError, match="cannot be examined: Input/output error"):
                file.save({"a": 1})
        assert logged == []
        file.save({"a": 2})
        assert file.load() == {"a": 2}
