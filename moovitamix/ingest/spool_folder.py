"""A folder of the spool for one who works there: nobody else uses it, or removes it meanwhile.

Locks of Postgres say who may pull. But whoever has lost one goes on until it asks, and another may
have begun on the same disk by then. What is kept in such a folder is told in `spool.py`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def own_folder(spool: Path) -> Iterator[Path]:
    """A new folder, locked while this process has it, and removed at the end.

    What others have left there without coming to their end is removed.

    Args:
        spool: A folder on a local disk, made when needed and removed when it is empty.

    Raises:
        OSError: When it cannot be made.
    """
    remove_left(spool)
    folder, lock = _new(spool)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        _remove_empty(spool)


def remove_left(spool: Path) -> None:
    """Remove what was left by who was killed; folders in use stay."""
    with suppress(FileNotFoundError):
        for left in list(spool.iterdir()):
            if not left.is_dir():
                left.unlink(missing_ok=True)
            elif (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
    _remove_empty(spool)


def _new(spool: Path) -> tuple[Path, int]:
    while True:
        try:
            spool.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = Path(tempfile.mkdtemp(dir=spool))
        except (FileExistsError, FileNotFoundError):
            if spool.is_file():
                raise
            continue  # who left meanwhile has removed what was empty
        lock = _locked(folder)
        # Until it is locked, it looks like one that was left.
        if lock is not None and folder.exists():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A handle that locks a folder until it is closed, or its process ends; None: it is locked."""
    try:
        # A file: folders cannot be locked on every disk.
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _remove_empty(spool: Path) -> None:
    with suppress(OSError):
        spool.rmdir()
