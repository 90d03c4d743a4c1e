"""A file of the lake is all of the old content or all of the new, on any file system."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import polars as pl
import pytest

from moovitamix.ingest.lake import LakeStore


@pytest.fixture(params=["file", "memory"])
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> LakeStore:
    if request.param == "memory":
        return LakeStore(f"memory://{uuid.uuid4().hex}/lake")
    return LakeStore((tmp_path / "a lake, with blanks").as_uri())


def test_a_file_is_read_as_written_and_replaced_as_a_whole(any_lake: LakeStore) -> None:
    any_lake.write_bytes("a/b/file", b"long content")
    any_lake.write_bytes("a/b/file", b"short")
    assert any_lake.read_bytes("a/b/file") == b"short"
    assert any_lake.exists("a/b/file")
    assert any_lake.names("a") == ["a/b/file"]


def test_a_version_is_another_when_a_file_was_replaced_and_else_the_same(
    any_lake: LakeStore,
) -> None:
    assert any_lake.versions("a") == {}
    any_lake.write_bytes("a/one", b"same")
    any_lake.write_bytes("a/two", b"same")
    before = any_lake.versions("a")
    assert None not in before.values()
    any_lake.write_bytes("a/one", b"size")
    after = any_lake.versions("a")
    assert list(after) == list(before) == any_lake.names("a")
    assert after["a/one"] != before["a/one"]
    assert after["a/two"] == before["a/two"]


def test_a_file_is_written_and_read_piece_by_piece(any_lake: LakeStore) -> None:
    any_lake.write_stream("a/file", lambda stream: [stream.write(b"one "), stream.write(b"two")])
    with any_lake.open("a/file") as stream:
        stream.seek(4)
        assert stream.read() == b"two"
    assert any_lake.read_bytes("a/file") == b"one two"


def test_a_writer_that_fails_between_two_pieces_leaves_the_old_content(
    any_lake: LakeStore,
) -> None:
    def fail(stream: IO[bytes]) -> None:
        stream.write(b"new")
        raise OSError("the disk is full")

    any_lake.write_bytes("a/file", b"old")
    with pytest.raises(OSError, match="full"):
        any_lake.write_stream("a/file", fail)
    assert any_lake.read_bytes("a/file") == b"old"
    assert any_lake.names("a") == ["a/file"]


def test_what_was_never_written_is_not_there(any_lake: LakeStore) -> None:
    assert not any_lake.exists("a")
    assert any_lake.names("a") == []
    any_lake.remove("a")
    with pytest.raises(FileNotFoundError):
        any_lake.read_bytes("a")
    with pytest.raises(FileNotFoundError), any_lake.open("a"):
        pass


def test_names_are_sorted_and_relative_and_of_all_depths(any_lake: LakeStore) -> None:
    for name in ("raw/b", "raw/a/z", "raw/a/b/c", "rawer/x"):
        any_lake.write_bytes(name, b"")
    assert any_lake.names("raw") == ["raw/a/b/c", "raw/a/z", "raw/b"]


def test_a_folder_or_a_file_is_removed_and_nothing_beside_it(any_lake: LakeStore) -> None:
    for name in ("a/b/c", "a/b/d", "a/e", "f"):
        any_lake.write_bytes(name, b"")
    any_lake.remove("a/b")
    any_lake.remove("f")
    assert any_lake.names("a") == ["a/e"]
    assert not any_lake.exists("f")


def test_a_writer_that_is_killed_leaves_the_old_content(
    any_lake: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_lake.write_bytes("a/file", b"old")
    monkeypatch.setattr(any_lake._files, "mv", _die)
    with pytest.raises(KeyboardInterrupt):
        any_lake.write_bytes("a/file", b"new")
    with pytest.raises(KeyboardInterrupt):
        any_lake.write_bytes("a/never", b"new")
    assert any_lake.read_bytes("a/file") == b"old"
    assert any_lake.names("a") == ["a/file"], "what is unfinished is nobody's file"


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_file_is_never_written_under_its_own_name(
    any_lake: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = any_lake._files.pipe_file

    def note_and_write(path: str, content: bytes) -> None:
        written.append(path)
        write(path, content)

    monkeypatch.setattr(any_lake._files, "pipe_file", note_and_write)
    any_lake.write_bytes("a/file", b"content")
    assert len(written) == 1
    assert not written[0].endswith("/a/file")


def test_frames_come_back_in_the_order_of_the_names(any_lake: LakeStore) -> None:
    for number in (1, 2):
        any_lake.write_parquet(f"f{number}.parquet", pl.DataFrame({"n": [number], "s": ["é"]}))
    found = any_lake.read_parquet(["f2.parquet", "f1.parquet"])
    assert found.rows() == [(2, "é"), (1, "é")]
    assert any_lake.read_parquet(["f1.parquet"], columns=["n"]).columns == ["n"]


def test_a_sweep_removes_what_killed_writers_left_and_nothing_else(lake: LakeStore) -> None:
    lake.write_bytes("raw/tracks/day=2026-11-01/pull=P.parquet", b"whole")
    folder = Path(urlsplit(lake.url).path)
    left = folder / "raw/tracks/day=2026-11-01/.pull=Q.parquet.0123"
    elsewhere = folder / "recommend/.model.npz.0123"
    elsewhere.parent.mkdir()
    for file in (left, elsewhere):
        file.write_bytes(b"hal")
    lake.sweep("", older_than=timedelta(days=1))
    assert left.exists()
    lake.sweep("raw", older_than=timedelta(0))
    assert not left.exists()
    assert elsewhere.exists()
    assert lake.names("raw") == ["raw/tracks/day=2026-11-01/pull=P.parquet"]


def test_files_and_bytes_are_counted_by_the_first_folder(any_lake: LakeStore) -> None:
    assert any_lake.sizes() == {}
    for name, content in (("raw/a/1", b"abc"), ("raw/2", b"d"), ("reports/day=1/3", b"")):
        any_lake.write_bytes(name, content)
    assert any_lake.sizes() == {"raw": (2, 4), "reports": (1, 0)}
