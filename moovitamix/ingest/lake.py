"""Named files on any fsspec file system, replaced as a whole or not at all.

What the files mean is told elsewhere: `pulls.py` for raw records, `recommend/` for artifacts.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import fsspec
import polars as pl

from moovitamix.errors import SettingsError

_PARQUET = b"PAR1"

# What file systems tell of a file that is another when it was replaced. A size alone is too little.
_SIGNS = ("mtime", "ino", "created", "LastModified", "last_modified", "updated", "ETag", "etag")

# Footers of our files have some hundred bytes; of one that grew in many parts, more.
_FOOTER_BYTES = 16_384


class LakeStore:
    """A folder of files under a URL. Names are relative, with slashes.

    A file is written under another name and moved into place, so that a reader sees all of it
    or none, also when the writer is killed.

    Args:
        url: Any URL that fsspec knows: `file:///…`, `s3://bucket/prefix`, `memory://…`.

    Raises:
        SettingsError: When fsspec does not know it, or lacks the package for it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:  # a protocol without its package, or none
            raise SettingsError(
                f"The lake cannot be opened: {error}. Mend that or correct MOOVITAMIX_LAKE_URL."
            ) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether a file of this name has been written."""
        return bool(self._files.exists(self._path(name)))

    def read_bytes(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: When there is none of this name.
        """
        return bytes(self._files.cat_file(self._path(name)))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write or replace a file as a whole."""
        self._replace(name, lambda unfinished: self._files.pipe_file(unfinished, content))

    def write_stream(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write or replace a file as a whole, piece by piece: no more than a piece is in memory.

        Args:
            name: Of the file.
            write: Is given the open file; when it raises, the file that was there stays.
        """

        def stream(unfinished: str) -> None:
            with self._files.open(unfinished, "wb") as file:
                write(file)

        self._replace(name, stream)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to be read piece by piece; seekable.

        Raises:
            FileNotFoundError: When there is none of this name.
        """
        opened: AbstractContextManager[IO[bytes]] = self._files.open(self._path(name), "rb")
        return opened

    def write_file(self, name: str, local: Path) -> None:
        """Write or replace a file as a whole, by a copy of a local one of any size."""
        self._replace(name, lambda unfinished: self._files.put_file(str(local), unfinished))

    def fetch(self, name: str, local: Path) -> None:
        """Copy a file of any size to a local one.

        Raises:
            FileNotFoundError: When there is none of this name.
        """
        self._files.get_file(self._path(name), str(local))

    def _replace(self, name: str, write: Callable[[str], object]) -> None:
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        self._files.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.{last}.{uuid.uuid4().hex}"
        write(unfinished)
        self._files.mv(unfinished, path)

    def read_parquet(self, names: Sequence[str], columns: list[str] | None = None) -> pl.DataFrame:
        """The rows of some files, in the order of the names. At least one name."""
        frames = [pl.read_parquet(io.BytesIO(self.read_bytes(n)), columns=columns) for n in names]
        return pl.concat(frames)

    def count_rows(self, name: str) -> int:
        """How many rows a Parquet file holds, from its footer alone.

        Raises:
            FileNotFoundError: When there is none of this name.
            polars.exceptions.ComputeError: When it is no whole Parquet file.
        """
        path = self._path(name)
        end = self._files.cat_file(path, start=-_FOOTER_BYTES)
        # Its length stands before the last four bytes.
        length = int.from_bytes(end[-8:-4], "little") + 8
        if _FOOTER_BYTES < length <= self._files.size(path):
            end = self._files.cat_file(path, start=-length)
        # The count is in the footer: polars looks at the first bytes and there.
        whole = io.BytesIO(_PARQUET + end)
        return int(pl.scan_parquet(whole).select(pl.len()).collect().item())

    def write_parquet(self, name: str, frame: pl.DataFrame) -> None:
        """Write or replace a frame as a zstd-compressed Parquet file."""
        buffer = io.BytesIO()
        # The first level takes half the time of the default third, for 2 % more bytes.
        frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
        self.write_bytes(name, buffer.getvalue())

    def names(self, folder: str) -> list[str]:
        """The names of all files below a folder, sorted; unfinished ones left out."""
        return sorted(name for name in self._found(folder) if not _is_unfinished(name))

    def versions(self, folder: str) -> dict[str, tuple[object, ...] | None]:
        """The same names, each with a value that is another when the file was replaced.

        None where the file system does not tell.
        """
        root, skip = self._path(folder), len(self._path(""))
        if not self._files.exists(self._root):
            return {}
        found = {
            str(path)[skip:]: (told["size"], *signs) if (signs := _signs(told)) else None
            for path, told in self._files.find(root, detail=True).items()
        }
        return {name: found[name] for name in sorted(found) if not _is_unfinished(name)}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """By first folder, how many files are below it and how many bytes they are."""
        root = self._path("")
        found: dict[str, tuple[int, int]] = {}
        if self._files.exists(self._root):
            for path, told in self._files.find(self._root, detail=True).items():
                folder = str(path)[len(root) :].partition("/")[0]
                files, size = found.get(folder, (0, 0))
                found[folder] = files + 1, size + int(told["size"] or 0)
        return found

    def modified(self, name: str) -> datetime:
        """When a file was written last, UTC.

        Raises:
            FileNotFoundError: When there is none of this name.
        """
        return _in_utc(self._files.modified(self._path(name)))

    def sweep(self, folder: str, *, older_than: timedelta) -> None:
        """Remove the unfinished files below a folder that writers who were killed have left.

        Args:
            folder: Where to look; empty for the whole lake.
            older_than: Younger ones may belong to somebody who is still writing.
        """
        before = datetime.now(UTC) - older_than
        for name in filter(_is_unfinished, self._found(folder)):
            if not older_than or self.modified(name) < before:
                self._files.rm(self._path(name))

    def _found(self, folder: str) -> Iterator[str]:
        root = self._path(folder)
        if self._files.exists(root):
            skip = len(self._path(""))
            yield from (str(path)[skip:] for path in self._files.find(root))

    def remove(self, folder: str) -> None:
        """Remove a folder with everything below it, or a file; nothing when there is none."""
        path = self._path(folder)
        if self._files.exists(path):
            self._files.rm(path, recursive=True)

    def move(self, folder: str, target: str) -> None:
        """Move all files below a folder to another one, file by file: it may be repeated.

        Unfinished files are removed.
        """
        for name in self.names(folder):
            path = self._path(target + name.removeprefix(folder))
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.mv(self._path(name), path)
        self.remove(folder)


def _signs(told: Mapping[str, object]) -> list[object]:
    return [told[name] for name in _SIGNS if told.get(name) is not None]


def _is_unfinished(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
