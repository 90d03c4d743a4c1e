"""Heads of GETs that were read before: who asks again sends the same, but for the target.

A client of the app's back end sends the same headers with each request, and to read them takes
longer than to answer from the list that is asked for. What is the same to the byte reads the same.
What is done with a head is told in `protocol.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

# Visible characters alone: what else a target may hold is for the parser to say.
_REQUEST_LINE = re.compile(rb"GET (/[!-~]*) HTTP/1\.1\r\n")
_END = b"\r\n\r\n"

# Heads, bytes of each, and headers of each: some 10 MB at most.
MOST = 1_024
LONGEST = 4_096
MOST_HEADERS = 32


class KnownHeads:
    """Headers by the bytes that they were read from."""

    def __init__(self) -> None:
        self._headers: dict[bytes, Headers] = {}

    def find(self, data: bytes) -> tuple[bytes, Headers] | None:
        """The target and the headers of a request; None where they have to be read.

        Args:
            data: All that has come since the request before.
        """
        line = _REQUEST_LINE.match(data) if len(data) <= LONGEST else None
        if line is None:
            return None
        headers = self._headers.get(data[line.end() :])
        return None if headers is None else (line[1], headers)

    def note(self, data: bytes, headers: Headers) -> None:
        """What was read of a request without a body, which was all that had come."""
        line = _REQUEST_LINE.match(data)
        is_long = len(data) > LONGEST or len(headers) > MOST_HEADERS
        if line is None or is_long or not data.endswith(_END):
            return
        if len(self._headers) >= MOST:  # each has an id of its own in it: none will come again
            self._headers.clear()
        self._headers[data[line.end() :]] = headers
