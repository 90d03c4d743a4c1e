"""Offers of another protocol (`Upgrade`), which some clients make with each connection.

Nobody is obliged to take one (RFC 9110, 7.8). How a head that makes one is read is told in
`protocol.py`.
"""

from __future__ import annotations

from collections.abc import Sequence


def without_offer(
    method: bytes, url: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """A head as it would be without the offer.

    Args:
        method: As it came.
        url: As it came.
        version: Of HTTP: `1.1`.
        headers: Names in lower case, with their values.
    """
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            kept = [part for part in value.split(b",") if part.strip().lower() != b"upgrade"]
            lines.append(b"connection: " + b",".join(kept))
        elif name != b"upgrade":
            lines.append(name + b": " + value)
    return b"\r\n".join((*lines, b"", b""))
