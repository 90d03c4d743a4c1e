"""The access log: a line of JSON a request, written in the background, without personal values.

Ids of users are hashed with a secret of the process: lines of one user can be told to be of one
user until it ends, and nobody can count through all ids to find whose they are. Queries are not
logged.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
import threading
from collections import deque
from typing import TextIO

import msgspec

_EVERY = 0.25
_WAITING = 100_000


class Line(msgspec.Struct, omit_defaults=True):
    """What is logged of a request; `at` in seconds since 1970."""

    at: float
    request_id: str
    method: str
    route: str
    status: int
    tier: str
    milliseconds: float
    key: str
    user: int | str | None = None


class AccessLog:
    """Takes lines without waiting, and writes them from a thread of its own.

    Args:
        stream: Where they go.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._encoder = msgspec.json.Encoder()
        self._secret = secrets.token_bytes(32)
        self._lines: deque[Line] = deque(maxlen=_WAITING)  # who reads too slowly loses the oldest
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def add(self, line: Line) -> None:
        """Log a request."""
        self._lines.append(line)

    def close(self) -> None:
        """Write what is left."""
        self._stopping.set()
        self._thread.join(timeout=2)

    def _loop(self) -> None:
        ended = False
        while not ended:
            ended = self._stopping.wait(_EVERY)
            lines = [self._hashed(self._lines.popleft()) for _ in range(len(self._lines))]
            if lines:
                try:
                    self._stream.write(self._encoder.encode_lines(lines).decode())
                    self._stream.flush()
                except (OSError, ValueError):
                    return  # nobody reads the log any more

    def _hashed(self, line: Line) -> Line:
        if isinstance(line.user, int):
            keyed = hashlib.blake2b(b"%d" % line.user, key=self._secret, digest_size=8)
            line.user = keyed.hexdigest()
        return line
