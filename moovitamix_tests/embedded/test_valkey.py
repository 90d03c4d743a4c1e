"""The embedded Valkey keeps its keys, and comes back whatever became of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from moovitamix.embedded.detached import ends_within, short_socket_folder
from moovitamix.embedded.valkey import ensure_valkey, valkey_server
from moovitamix.errors import StoreUnavailable

ENSURE = """
import sys
from pathlib import Path
from moovitamix.embedded.valkey import ensure_valkey
print(ensure_valkey(Path(sys.argv[1])))
"""


def in_another_process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def answer_of(calling: subprocess.Popen[str]) -> str:
    with calling:
        told, _ = calling.communicate(timeout=60)
    assert calling.returncode == 0
    return told.strip()


def put(url: str, key: str, value: bytes) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def read(url: str, key: str) -> object:
    with redis.Redis.from_url(url) as client:
        return client.get(key)


def number(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        told = client.info("server")
    assert isinstance(told, dict)
    return int(told["process_id"])


@pytest.fixture(params=["home", "deep in the tree " * 8 + "it's $HOME"], ids=["plain", "long"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / request.param / "valkey"
    yield folder
    valkey_server(folder).stop()
    sockets = short_socket_folder(folder, "valkey.sock")
    if sockets != folder:
        shutil.rmtree(sockets)


@pytest.fixture
def plain_folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "valkey"
    valkey_server(tmp_path / "valkey").stop()


def test_what_was_written_is_there_after_a_stop_and_a_start(folder: Path) -> None:
    put(ensure_valkey(folder), "mvx:current", b"17")
    assert valkey_server(folder).stop() is True
    assert valkey_server(folder).running() is None
    assert read(ensure_valkey(folder), "mvx:current") == b"17"


def test_it_answers_on_a_unix_socket_only(plain_folder: Path) -> None:
    url = ensure_valkey(plain_folder)
    assert url.startswith("unix://")
    assert psutil.Process(number(url)).net_connections(kind="inet") == []


def test_it_outlives_the_command_that_started_it_and_is_found_by_others(
    plain_folder: Path,
) -> None:
    url = answer_of(in_another_process(plain_folder))
    pid = number(url)
    assert ensure_valkey(plain_folder) == url
    assert number(url) == pid


def test_asked_for_by_several_processes_at_once_it_is_started_once(plain_folder: Path) -> None:
    calling = [in_another_process(plain_folder) for _ in range(3)]
    urls = {answer_of(call) for call in calling}
    assert len(urls) == 1
    assert read(urls.pop(), "nothing") is None
    assert valkey_server(plain_folder).log_file.read_text().count("Ready to accept") == 1


def test_one_that_was_killed_is_started_again_with_what_it_had_saved(plain_folder: Path) -> None:
    url = ensure_valkey(plain_folder)
    put(url, "saved", b"1")
    with redis.Redis.from_url(url) as client:
        client.save()
    process = psutil.Process(number(url))
    process.kill()
    assert ends_within(20, process)
    with pytest.raises(redis.ConnectionError):
        read(url, "saved")
    assert read(ensure_valkey(plain_folder), "saved") == b"1"


def test_keys_that_cannot_be_read_back_are_told_with_the_end_of_the_log(
    plain_folder: Path,
) -> None:
    plain_folder.mkdir()
    (plain_folder / "cache.rdb").write_bytes(b"this is no dump" * 100)
    with pytest.raises(StoreUnavailable, match=r"(?s)embedded Valkey did not start.*signature"):
        ensure_valkey(plain_folder)


@pytest.mark.parametrize("in_the_way", ["valkey", "."], ids=["folder", "home"])
def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(
    in_the_way: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    if in_the_way != ".":
        home.mkdir()
    (home / in_the_way).write_text("a file stands where the folder should be")
    with pytest.raises(StoreUnavailable, match="MOOVITAMIX_HOME"):
        ensure_valkey(home / "valkey")
