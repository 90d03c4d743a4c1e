"""Named files on any fsspec file system, replaced as a whole or not at all.

What the files mean is told elsewhere: `pulls.py` for raw records, `recommend/` for artifacts.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import polars as pl


class LakeStore:
    """A folder of files under a URL. Names are relative, with slashes.

    A file is written under another name and moved into place, so that a reader sees all of it
    or none, also when the writer is killed.

    Args:
        url: Any URL that fsspec knows: `file:///…`, `s3://bucket/prefix`, `memory://…`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = fsspec.core.url_to_fs(url)

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

    def write_parquet(self, name: str, frame: pl.DataFrame) -> None:
        """Write or replace a frame as a zstd-compressed Parquet file."""
        buffer = io.BytesIO()
        # The first level takes half the time of the default third, for 2 % more bytes.
        frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
        self.write_bytes(name, buffer.getvalue())

    def names(self, folder: str) -> list[str]:
        """The names of all files below a folder, sorted; unfinished ones left out."""
        root = self._path(folder)
        if not self._files.exists(root):
            return []
        skip = len(self._path(""))
        found = (str(path)[skip:] for path in self._files.find(root))
        return sorted(name for name in found if not name.rpartition("/")[2].startswith("."))

    def remove(self, folder: str) -> None:
        """Remove a folder with everything below it, or a file; nothing when there is none."""
        path = self._path(folder)
        if self._files.exists(path):
            self._files.rm(path, recursive=True)
