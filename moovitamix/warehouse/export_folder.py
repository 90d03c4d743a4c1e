"""A folder of exported files that is replaced as a whole, with a manifest that says what is whole.

A reader goes by `manifest.json`: where there is one, the files that it names are those of one
export. The steps of a replacement, each of which may be the last one of a killed process:

1. All files are written under unfinished names, and are on the disk.
2. The next manifest is written to `.moovitamix.json`, with the names of the files it replaces.
3. `manifest.json` is removed.
4. The files are renamed; those that only the former export had are removed.
5. `manifest.json` is written, `.moovitamix.json` is removed.

From the second step on, whoever opens the folder next completes it. Before that, the former
export stands, and the unfinished files are removed. Files that are not ours stay.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import msgspec

from moovitamix.errors import NothingToDo, SettingsError, StoreUnavailable
from moovitamix.warehouse.tables import PUBLISHED

MANIFEST = "manifest.json"
FORMATS = ("csv", "parquet")

_REPLACEMENT = ".moovitamix.json"
_LOCK = ".moovitamix.lock"
_UNFINISHED = ".unfinished"

# What a manifest may name, and thus what is ever replaced or removed.
_NAMES = frozenset(f"{table.name}.{form}" for table in PUBLISHED for form in FORMATS)


class ExportedFile(msgspec.Struct, frozen=True):
    """A file of an export. `columns` gives the SQL type by name, in the file's order."""

    name: str
    table: str
    format: str
    rows: int
    bytes: int
    sha256: str
    columns: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, tag_field="kind", tag="moovitamix-export-1"):
    """What an export is.

    `format` is `csv`, `parquet` or `csv+parquet`; `snapshot` the moment that all files show;
    `newest_day` and `newest_pull` are those published by then.
    """

    format: str
    snapshot: datetime
    newest_day: date | None
    newest_pull: str | None
    files: list[ExportedFile]

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return {file.table: file.rows for file in self.files}


class _Replacement(msgspec.Struct, frozen=True):
    manifest: Manifest
    replaces: list[str]


class ExportFolder:
    """A folder that this process alone writes to. See `opened`.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Manifest | None:
        """What the folder holds, or None."""
        return read_manifest(self.path)

    def unfinished(self, name: str) -> Path:
        """Where to write a file on its way."""
        return self.path / f".{name}{_UNFINISHED}"

    def spool(self, name: str) -> Path:
        """A folder, not made yet, for what a file is made from."""
        return self.path / f".{name}.rows{_UNFINISHED}"

    def finished(
        self, name: str, table: str, rows: int, columns: Mapping[str, str]
    ) -> ExportedFile:
        """Put an unfinished file on the disk for good, and describe it."""
        with self.unfinished(name).open("rb+") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        form = name.rpartition(".")[2]
        return ExportedFile(name, table, form, rows, size, digest, dict(columns))

    def replace(self, manifest: Manifest) -> None:
        """Make the unfinished files the folder's export.

        Args:
            manifest: Names them, and files that stay as they are.
        """
        former = self.manifest
        replaces = [file.name for file in former.files] if former else []
        self._write(_REPLACEMENT, msgspec.json.encode(_Replacement(manifest, replaces)))
        self._complete()

    def remove(self) -> None:
        """Remove the export, and the folder if nothing else is in it."""
        manifest = self.manifest
        for file in manifest.files if manifest else []:
            (self.path / file.name).unlink(missing_ok=True)
        (self.path / MANIFEST).unlink(missing_ok=True)
        self._sync()

    def recover(self) -> None:
        """Complete the replacement of a killed process, or remove what it left unfinished."""
        self._complete()
        self.sweep()

    def sweep(self) -> None:
        """Remove unfinished files."""
        for name in (*_NAMES, MANIFEST, _REPLACEMENT):
            self.unfinished(name).unlink(missing_ok=True)
        for name in _NAMES:
            if self.spool(name).exists():
                shutil.rmtree(self.spool(name))

    def _complete(self) -> None:
        path = self.path / _REPLACEMENT
        if not path.exists():
            return
        replacement = msgspec.json.decode(path.read_bytes(), type=_Replacement)
        (self.path / MANIFEST).unlink(missing_ok=True)
        self._sync()
        names = {file.name for file in replacement.manifest.files}
        for name in _checked(names):
            if self.unfinished(name).exists():
                self.unfinished(name).replace(self.path / name)
        for name in _checked(set(replacement.replaces) - names):
            (self.path / name).unlink(missing_ok=True)
        self._sync()
        content = msgspec.json.format(msgspec.json.encode(replacement.manifest), indent=2)
        self._write(MANIFEST, content + b"\n")
        path.unlink()

    def _write(self, name: str, content: bytes) -> None:
        with self.unfinished(name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.unfinished(name).replace(self.path / name)
        self._sync()

    def _sync(self) -> None:
        """Have the disk know the names that were changed."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def opened(
    path: Path, *, make: bool = False, on_wait: Callable[[], None] = lambda: None
) -> Iterator[ExportFolder]:
    """A folder of exports, held for writing: whoever comes meanwhile waits.

    What a killed process left is completed or removed first. A folder that is empty at the end is
    removed.

    Args:
        path: Which one.
        make: Make it when it is missing.
        on_wait: Called once when another process holds it.

    Raises:
        NothingToDo: When it is missing and not to be made.
        SettingsError: When its `manifest.json` is not of an export.
        StoreUnavailable: When it cannot be read or written.
    """
    try:
        folder = ExportFolder(path)
        descriptor = _locked(path, make, on_wait)
        try:
            folder.recover()
            yield folder
        finally:
            try:
                folder.sweep()
                (path / _LOCK).unlink()
                if not any(path.iterdir()):
                    path.rmdir()
            finally:
                os.close(descriptor)
    except OSError as error:
        raise StoreUnavailable(
            f"The export in {path} failed: {error.strerror or error}. "
            "Make room or choose another folder."
        ) from error


def _locked(path: Path, make: bool, on_wait: Callable[[], None]) -> int:
    """The descriptor of the lock file, held. A kill lets go of it."""
    waited = False
    while True:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            raise NothingToDo(f"There is no folder {path} on this machine.")
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    on_wait()
                    waited = True
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held it has removed the file: then this one is nobody's lock any more.
            if _is_at(descriptor, path / _LOCK):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is none.

    Raises:
        SettingsError: When the folder's `manifest.json` is not of an export.
    """
    try:
        content = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
        _checked({file.name for file in manifest.files})
    except (msgspec.DecodeError, ValueError):
        raise SettingsError(
            f"{path / MANIFEST} is not of an export of ours: it stays as it is. "
            "Choose another folder."
        ) from None
    return manifest


def _checked(names: set[str]) -> Sequence[str]:
    """Names of ours, sorted: nothing else is touched, whatever a manifest says."""
    if not names <= _NAMES:
        raise ValueError(names - _NAMES)
    return sorted(names)


def verify_export(path: Path) -> list[str]:
    """What is wrong with a folder's export, a sentence each; nothing when it is whole.

    Reads all files, holds no lock and writes nothing.

    Raises:
        SettingsError: When the folder's `manifest.json` is not of an export.
    """
    manifest = read_manifest(path)
    if manifest is None:
        return [f"There is no {MANIFEST}: an export was not finished, or there is none."]
    faults = []
    for file in manifest.files:
        try:
            with (path / file.name).open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            faults.append(f"{file.name} cannot be read: {error.strerror}.")
        else:
            if digest != file.sha256:
                faults.append(f"{file.name} is not as it was exported.")
    if faults and read_manifest(path) != manifest:
        return ["The export was replaced while it was being read: look again."]
    return faults
