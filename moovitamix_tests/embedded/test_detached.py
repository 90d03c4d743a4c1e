"""A detached server runs once per folder, outlives who started it, and is found by everybody."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.embedded.detached import DetachedServer, ends_within, short_socket_folder
from moovitamix.errors import StoreUnavailable

# Notes each start, and ends by itself, so that a failing test leaves nothing behind for long.
SERVER = """
import os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with (folder / "starts").open("a") as starts:
    starts.write(f"{os.getpid()}\\n")
(folder / "ready.new").write_text(str(os.getpid()))
(folder / "ready.new").replace(folder / "ready")
time.sleep(60)
"""

# A command of its own that starts the server, tells its number, and ends or stays.
STARTER = """
import sys, time
from pathlib import Path
from moovitamix.embedded.detached import DetachedServer
folder, server, stays = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
ready = folder / "ready"
notes = DetachedServer("The test server", folder).ensure(
    lambda: [sys.executable, "-c", server, str(folder)],
    lambda: {"pid": int(ready.read_text())} if ready.exists() else None,
)
print(notes["pid"], flush=True)
time.sleep(60 if stays == "stays" else 0)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DetachedServer]:
    server = DetachedServer("The test server", tmp_path / "deep" / "server")
    yield server
    server.stop(timeout_seconds=0.1)


def starter(server: DetachedServer, *, stays: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", STARTER, str(server.folder), SERVER),
            "stays" if stays else "ends",
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def number_told_by(starting: subprocess.Popen[str]) -> int:
    with starting:
        told, _ = starting.communicate(timeout=60)
    assert starting.returncode == 0
    return int(told)


def ensure(server: DetachedServer, *arguments: str) -> int:
    """Start it from this process; its number."""
    ready = server.folder / "ready"

    def command() -> list[str]:
        ready.unlink(missing_ok=True)
        return [sys.executable, "-c", SERVER, str(server.folder), *arguments]

    def notes() -> dict[str, int] | None:
        return {"pid": int(ready.read_text())} if ready.exists() else None

    pid = server.ensure(command, notes)["pid"]
    assert isinstance(pid, int)
    return pid


def starts(server: DetachedServer) -> list[int]:
    return [int(line) for line in (server.folder / "starts").read_text().splitlines()]


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    assert ends_within(20, process)


def test_it_outlives_the_command_that_started_it_and_is_found_by_others(
    server: DetachedServer,
) -> None:
    pid = number_told_by(starter(server))
    assert psutil.pid_exists(pid)
    assert server.running() == {"pid": pid}
    assert number_told_by(starter(server)) == pid
    assert ensure(server) == pid
    assert starts(server) == [pid]


def test_asked_for_twice_it_is_started_once(server: DetachedServer) -> None:
    assert ensure(server) == ensure(server)
    assert len(starts(server)) == 1


def test_asked_for_by_several_processes_at_once_it_is_started_once(server: DetachedServer) -> None:
    starting = [starter(server) for _ in range(4)]
    assert {number_told_by(one) for one in starting} == set(starts(server))
    assert len(starts(server)) == 1


def test_one_that_was_killed_is_noticed_and_replaced(server: DetachedServer) -> None:
    first = ensure(server)
    kill(first)
    assert server.running() is None
    second = ensure(server)
    assert second != first
    assert server.running() == {"pid": second}


def test_one_that_was_killed_is_noticed_though_its_starter_has_not_collected_it(
    server: DetachedServer,
) -> None:
    pid = ensure(server)
    os.kill(pid, signal.SIGKILL)  # ours: it stays a zombie until we wait for it
    process = psutil.Process(pid)
    deadline = time.monotonic() + 20
    while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert psutil.pid_exists(pid)
    assert server.running() is None
    assert server.stop() is False


def test_a_process_that_got_its_number_later_is_not_taken_for_it(server: DetachedServer) -> None:
    first = ensure(server)
    state_file = server.folder / "server.json"
    state = json.loads(state_file.read_text())
    kill(first)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        state_file.write_text(json.dumps(state | {"pid": bystander.pid, "created": 1_000_000}))
        assert server.running() is None
        assert server.stop() is False
        assert ensure(server) != bystander.pid
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"x"', "{}", '{"pid": "1"}', "\x00"])
def test_a_state_file_that_makes_no_sense_is_no_running_server(
    content: str, server: DetachedServer
) -> None:
    server.folder.mkdir(parents=True)
    (server.folder / "server.json").write_text(content)
    assert server.running() is None


def test_one_that_fails_to_start_is_told_with_the_end_of_its_log(server: DetachedServer) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no room on the disk')"]
    with pytest.raises(StoreUnavailable, match=r"(?s)The test server.*no room on the disk.*again"):
        server.ensure(lambda: command, lambda: None)
    assert server.running() is None
    assert ensure(server)


def test_one_that_is_not_ready_in_time_is_ended(server: DetachedServer) -> None:
    command = [sys.executable, "-c", SERVER, str(server.folder)]
    with pytest.raises(StoreUnavailable, match="did not start"):
        server.ensure(lambda: command, lambda: None, timeout_seconds=0.3)
    assert not [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and str(server.folder) in child.cmdline()
    ]


def test_a_command_that_does_not_exist_is_told_with_what_to_do(server: DetachedServer) -> None:
    with pytest.raises(StoreUnavailable, match=r"no-such-program.*Mend the cause"):
        server.ensure(lambda: [str(server.folder / "no-such-program")], lambda: None)


def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(server: DetachedServer) -> None:
    server.folder.parent.mkdir()
    server.folder.write_text("a file stands where the folder should be")
    with pytest.raises(StoreUnavailable, match="MOOVITAMIX_HOME"):
        ensure(server)
    assert server.running() is None
    assert server.stop() is False


def test_ctrl_c_does_not_reach_it(server: DetachedServer) -> None:
    starting = starter(server, stays=True)
    with starting:
        assert starting.stdout is not None
        pid = int(starting.stdout.readline())
        os.killpg(starting.pid, signal.SIGINT)
        starting.wait(20)
    assert os.getpgid(pid) != starting.pid
    assert not ends_within(0.2, psutil.Process(pid))
    assert server.running() == {"pid": pid}


def test_ctrl_c_while_it_starts_leaves_no_process_behind(server: DetachedServer) -> None:
    def interrupted() -> None:
        if (server.folder / "ready").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.ensure(
            lambda: [sys.executable, "-c", SERVER, str(server.folder)],
            interrupted,
        )
    assert server.running() is None
    assert not any(psutil.pid_exists(pid) for pid in starts(server))


def test_stop_stops_it_and_says_whether_there_was_one(server: DetachedServer) -> None:
    assert server.stop() is False
    pid = ensure(server)
    assert server.stop() is True
    assert not psutil.pid_exists(pid)
    assert server.running() is None
    assert server.stop() is False


def test_stop_from_another_process_than_the_starter_stops_it(server: DetachedServer) -> None:
    pid = number_told_by(starter(server))
    process = psutil.Process(pid)
    assert server.stop() is True
    assert ends_within(0, process)


def test_one_that_ignores_a_gentle_stop_is_stopped_anyway(server: DetachedServer) -> None:
    pid = ensure(server, "deaf")
    assert server.stop(timeout_seconds=0.2) is True
    assert not psutil.pid_exists(pid)


def test_its_output_is_kept_from_one_start_to_the_next(server: DetachedServer) -> None:
    for line in ("first words", "second words"):
        command = [sys.executable, "-c", f"print('{line}')"]
        with pytest.raises(StoreUnavailable):
            server.ensure(command.copy, lambda: None)
    assert server.log_file.read_text() == "first words\nsecond words\n"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder of the system's whose own path is short."""
    with (
        tempfile.TemporaryDirectory(prefix="mvx") as folder,
        patch.object(tempfile, "tempdir", folder),
    ):
        yield Path(folder)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=60,
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)


@given(names=st.lists(NAMES, max_size=4))
@settings(max_examples=50)
def test_a_socket_can_be_bound_whatever_the_folder_is_called(names: list[str]) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mvx") as temporary,
        patch.object(tempfile, "tempdir", temporary),
    ):
        folder = Path(temporary, *names)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = short_socket_folder(folder, "server.sock")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(chosen / "server.sock"))
        assert short_socket_folder(folder, "server.sock") == chosen


@pytest.mark.usefixtures("temporary")
def test_a_short_and_plain_folder_holds_its_socket_itself() -> None:
    assert short_socket_folder(Path("/srv/music/valkey"), "s.sock") == Path("/srv/music/valkey")


@pytest.mark.parametrize("name", ["a b", "it's", "x?y", "50%", "a&b", "$HOME", "n" * 120])
def test_another_folder_is_private_and_of_this_folder_alone(name: str, temporary: Path) -> None:
    chosen = short_socket_folder(Path("/srv") / name, "s.sock")
    assert chosen.parent == temporary
    assert chosen.stat().st_mode & 0o077 == 0
    assert short_socket_folder(Path("/srv/other") / name, "s.sock") != chosen


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
@pytest.mark.usefixtures("temporary")
def test_a_socket_folder_of_somebody_else_is_not_used() -> None:
    folder = Path("/srv/a b")
    chosen = short_socket_folder(folder, "s.sock")
    os.chown(chosen, 12345, -1)
    with pytest.raises(StoreUnavailable, match="TMPDIR"):
        short_socket_folder(folder, "s.sock")
