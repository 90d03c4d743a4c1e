"""Tells the process that folds in of whom something new is known: a named pipe of user ids.

What that process does with them is told in `fold_process.py`, who begins it in
`fold_supervision.py`. Nothing depends on it that every id arrives: whoever is missed is found by
marks (`catch_up.py`).
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from pathlib import Path

import numpy as np

# A write of no more bytes is one piece, whoever else writes: ids of several processes do not mix.
_AT_ONCE = select.PIPE_BUF // 8 * 8
_READ = 1 << 16


def pipe_in(folder: Path) -> Path:
    """The path of the pipe in a folder of the processes of one host."""
    return folder / "told"


class Telling:
    """The end of a process that tells; may be used by several threads.

    Args:
        pipe: Its path. It need not be there yet, nor anybody who reads.
    """

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe
        self._end: int | None = None

    def start(self) -> None:
        """As `Freshener.start`: nothing goes on in the background."""

    def stop(self) -> None:
        """Let go of the pipe."""
        end, self._end = self._end, None
        if end is not None:
            os.close(end)

    def told(self, users: Iterable[int]) -> None:
        """Something new of these users is in Postgres. Never waits: what does not fit is lost."""
        ids = np.fromiter(users, dtype=np.int64).tobytes()
        try:
            if self._end is None:
                self._end = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            for start in range(0, len(ids), _AT_ONCE):
                os.write(self._end, ids[start : start + _AT_ONCE])
        except OSError:  # full, or nobody is there: they are found by their marks
            return


def open_pipe(pipe: Path) -> int:
    """The end that reads, which does not wait for anything.

    Whoever holds this open keeps what is in the pipe, and lets others write, while nobody reads.
    """
    return os.open(pipe, os.O_RDWR | os.O_NONBLOCK)


def read_told(end: int) -> list[int]:
    """The ids that have come; none where nothing has."""
    try:
        found = os.read(end, _READ)
    except BlockingIOError:
        return []
    return [int(user) for user in np.frombuffer(found, dtype=np.int64)]
