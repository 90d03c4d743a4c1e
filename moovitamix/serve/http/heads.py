"""The headers of a request that are looked at before its route, and the id that it is given.

What follows from them is decided in `admission.py`.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Head(NamedTuple):
    """The headers that are looked at, as they came.

    Attributes:
        bearer: `Authorization`.
        api_key: `X-API-Key`.
        request_id: `X-Request-Id`.
        length: `Content-Length`.
        chunked: `Transfer-Encoding`.
    """

    bearer: bytes | None
    api_key: bytes | None
    request_id: bytes | None
    length: bytes | None
    chunked: bytes | None

    @property
    def shown(self) -> bytes | None:
        """The key that was sent."""
        if self.api_key is None and self.bearer is not None:
            if self.bearer[:7].lower() == b"bearer ":
                return self.bearer[7:].strip()
            return None
        return self.api_key


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Pick the headers that are looked at.

    Args:
        headers: As ASGI has them: names in lower case.
    """
    bearer = api_key = request_id = length = chunked = None
    for name, value in headers:
        if name == b"authorization":
            bearer = value
        elif name == b"x-api-key":
            api_key = value
        elif name == b"x-request-id":
            request_id = value
        elif name == b"content-length":
            length = value
        elif name == b"transfer-encoding":
            chunked = value
    return Head(bearer, api_key, request_id, length, chunked)


class RequestIds:
    """Names requests: as they call themselves where that is harmless, else by a number."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._prefix = secrets.token_hex(4).encode()

    def of(self, sent: bytes | None) -> bytes:
        """The id of a request that sent this one."""
        if sent is not None and _REQUEST_ID.fullmatch(sent):
            return sent
        return b"%b-%x" % (self._prefix, next(self._numbers))
