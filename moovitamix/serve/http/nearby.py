"""Whether a request to an API without keys comes from this machine alone, as its headers tell.

Such an API listens on loopback, where a browser reaches it too, with any page that is open in it: a
page may send it what needs no consent (a `POST` of plain text), and, its own name having been made
to lead here (DNS rebinding), read what it answers. The console has pages of its own to look after
(`console/origin.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from moovitamix.serve.http.server import is_loopback


def is_nearby(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether what was asked, and the page that asks, have names of this machine.

    Browsers send `Host` with everything, and name the page in `Origin` with what they send to
    elsewhere or with a body. Who sends neither is none.

    Args:
        headers: As ASGI has them.
    """
    for name, value in headers:
        if name == b"host" and not _names_this_machine(b"//" + value):
            return False
        if name == b"origin" and not _names_this_machine(value):
            return False
    return True


@lru_cache(maxsize=64)
def _names_this_machine(address: bytes) -> bool:
    try:
        name = urlsplit(address.decode("latin-1")).hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
