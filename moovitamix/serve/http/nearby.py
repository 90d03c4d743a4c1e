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

    Browsers name the page in `Origin` with all that they send to elsewhere or with a body; other
    clients send none.

    Args:
        headers: As ASGI has them.
    """
    asked = False
    for name, value in headers:
        if name == b"host":
            asked = True
            if not _names_this_machine(b"//" + value):
                return False
        elif name == b"origin" and not _names_this_machine(value):
            return False
    return asked


@lru_cache(maxsize=64)
def _names_this_machine(address: bytes) -> bool:
    try:
        name = urlsplit(address.decode("latin-1")).hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
