"""The embedded Postgres keeps its data, and comes back whatever became of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from moovitamix.embedded.detached import ends_within, short_socket_folder
from moovitamix.embedded.postgres import ensure_postgres, is_running, stop_postgres
from moovitamix.errors import StoreUnavailable

CALL = """
import sys
from pathlib import Path
from moovitamix.embedded import postgres
print(getattr(postgres, sys.argv[1])(Path(sys.argv[2])))
"""


def in_another_process(function: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CALL, function, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def answer_of(calling: subprocess.Popen[str]) -> str:
    with calling:
        told, _ = calling.communicate(timeout=60)
    assert calling.returncode == 0
    return told.strip()


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def kill(folder: Path) -> None:
    process = postmaster(folder)
    children = process.children()
    process.kill()
    assert ends_within(20, process)
    assert all(ends_within(20, child) for child in children)


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in it: making one takes most of a first start."""
    folder = tmp_path_factory.mktemp("home") / "postgres"
    ensure_postgres(folder)
    stop_postgres(folder)
    return folder


@pytest.fixture
def folder(initialized: Path) -> Iterator[Path]:
    """The folder, its server stopped before and after."""
    yield initialized
    stop_postgres(initialized)


def _plain(folder: Path) -> Path:
    return folder / "home" / "postgres"


def _long(folder: Path) -> Path:
    return folder / ("deep in the tree " * 8) / "it's" / "postgres"


@pytest.mark.parametrize("place", [_plain, _long], ids=["plain", "long, with spaces and signs"])
def test_what_was_written_is_there_after_a_stop_and_a_start(
    place: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = place(tmp_path)
    assert not is_running(folder)
    try:
        with psycopg.connect(ensure_postgres(folder)) as connection:
            connection.execute("CREATE TABLE heard AS SELECT 42 AS track")
        assert is_running(folder)
        assert stop_postgres(folder) is True
        assert not is_running(folder)
        assert ask(ensure_postgres(folder), "SELECT track FROM heard") == 42
    finally:
        stop_postgres(folder)
        sockets = short_socket_folder(folder.resolve(), ".s.PGSQL.5432")
        if sockets != folder.resolve():
            shutil.rmtree(sockets)


def test_it_answers_on_a_unix_socket_only(folder: Path) -> None:
    assert ask(ensure_postgres(folder), "SHOW listen_addresses") == ""
    assert postmaster(folder).net_connections(kind="inet") == []


def test_it_outlives_the_command_that_started_it_and_is_found_by_others(folder: Path) -> None:
    url = answer_of(in_another_process("ensure_postgres", folder))
    process = postmaster(folder)
    assert process.parent() != psutil.Process()
    assert os.getsid(process.pid) == process.pid  # Ctrl-C in the terminal does not reach it
    assert ensure_postgres(folder) == url
    assert ask(url, "SELECT 1") == 1
    assert postmaster(folder) == process


def test_asked_for_by_several_processes_at_once_it_is_started_once(folder: Path) -> None:
    calling = [in_another_process("ensure_postgres", folder) for _ in range(3)]
    urls = {answer_of(call) for call in calling}
    assert len(urls) == 1
    assert ask(urls.pop(), "SELECT 1") == 1
    assert (folder / "log").read_text().count("ready to accept connections") >= 1


def test_one_that_was_killed_is_noticed_and_started_again_by_the_same_process(
    folder: Path,
) -> None:
    ask(ensure_postgres(folder), "SELECT 1")
    kill(folder)
    assert not is_running(folder)
    assert stop_postgres(folder) is False
    assert ask(ensure_postgres(folder), "SELECT 1") == 1


def test_one_that_another_process_stopped_is_started_again_by_the_same_process(
    folder: Path,
) -> None:
    ensure_postgres(folder)
    assert answer_of(in_another_process("stop_postgres", folder)) == "True"
    assert not is_running(folder)
    assert ask(ensure_postgres(folder), "SELECT 1") == 1


def test_one_that_others_stopped_and_started_is_found_by_the_same_process(folder: Path) -> None:
    ensure_postgres(folder)
    answer_of(in_another_process("stop_postgres", folder))
    answer_of(in_another_process("ensure_postgres", folder))
    process = postmaster(folder)
    assert ask(ensure_postgres(folder), "SELECT 1") == 1
    assert postmaster(folder) == process


def test_a_process_that_got_its_number_later_is_not_taken_for_it(folder: Path) -> None:
    ensure_postgres(folder)
    left_behind = (folder / "postmaster.pid").read_text().splitlines()
    kill(folder)
    for pid_file in (folder / "postmaster.pid", folder / ".s.PGSQL.5432.lock"):
        pid_file.write_text("\n".join([str(os.getpid()), *left_behind[1:], ""]))
    assert not is_running(folder)
    assert stop_postgres(folder) is False  # we would have been the victim
    assert ask(ensure_postgres(folder), "SELECT 1") == 1
    assert postmaster(folder) != psutil.Process()


def test_stop_ends_open_connections_and_says_whether_there_was_a_server(folder: Path) -> None:
    with psycopg.connect(ensure_postgres(folder)) as connection:
        connection.execute("SELECT 1")
        assert stop_postgres(folder) is True
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert stop_postgres(folder) is False


def test_a_start_that_failed_is_told_with_what_to_do_and_can_be_repeated(folder: Path) -> None:
    configuration = folder / "postgresql.conf"
    right = configuration.read_text()
    configuration.write_text(f"{right}\nshared_buffers = nonsense\n")
    with pytest.raises(StoreUnavailable, match="MOOVITAMIX_DATABASE_URL"):
        ensure_postgres(folder)
    configuration.write_text(right)
    assert ask(ensure_postgres(folder), "SELECT 1") == 1


@pytest.mark.parametrize("in_the_way", ["postgres", "."], ids=["folder", "home"])
def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(
    in_the_way: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    if in_the_way != ".":
        home.mkdir()
    (home / in_the_way).write_text("a file stands where the folder should be")
    with pytest.raises(StoreUnavailable, match="MOOVITAMIX_DATABASE_URL"):
        ensure_postgres(home / "postgres")
    assert not is_running(home / "postgres")
    assert stop_postgres(home / "postgres") is False


def test_a_stop_by_the_system_is_a_stop_like_any_other(folder: Path) -> None:
    ensure_postgres(folder)
    process = postmaster(folder)
    process.send_signal(signal.SIGTERM)
    assert ends_within(20, process)
    assert ask(ensure_postgres(folder), "SELECT 1") == 1
