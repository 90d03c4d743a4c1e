"""Sessions of the console: who has shown a key of the API, kept in a signed cookie.

Which page needs which scope is told in `pages.py`; from where a form may come, in `origin.py`.

A cookie holds the beginning of the key's hash, when the session ends, and an HMAC-SHA256 of both
and of the whole hash: never the key. It is good as long as its key is in force, so that a key that
is revoked ends its sessions. What signs it is in the lake, for all workers and replicas alike.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from moovitamix.serve.http.keys import ApiKey

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore

COOKIE = "mvx_console"
# A working day.
LASTS = timedelta(hours=12)

_SECRET_FILE = "console/session-secret"  # noqa: S105 - its name
_SHOWN = 16


def session_secret(lake: LakeStore) -> bytes:
    """What sessions are signed with: 32 random bytes, made with the first session.

    Two who make it at once both read the one that was written last; a session that was signed
    with the other in between has to be begun again.

    Raises:
        OSError: When the lake does not answer.
    """
    if not lake.exists(_SECRET_FILE):
        lake.write_bytes(_SECRET_FILE, secrets.token_bytes(32))
    return lake.read_bytes(_SECRET_FILE)


def sign(secret: bytes, key: ApiKey, now: float) -> str:
    """The cookie of a session that begins now.

    Args:
        secret: What it is signed with.
        key: That was shown.
        now: Seconds since 1970.
    """
    until = int(now + LASTS.total_seconds())
    return f"{key.digest[:_SHOWN]}.{until}.{_mac(secret, key, until)}"


def recall(secret: bytes, cookie: str, keys: Sequence[ApiKey], now: float) -> ApiKey | None:
    """The key that a session was begun with; None when it is over, or none of ours.

    Args:
        secret: What it was signed with.
        cookie: As it came.
        keys: Those in force.
        now: Seconds since 1970.
    """
    shown, _, rest = cookie.partition(".")
    end, _, mac = rest.partition(".")
    if not (end.isascii() and end.isdecimal() and len(end) <= 12) or int(end) <= now:
        return None
    for key in keys:
        if key.digest[:_SHOWN] == shown and hmac.compare_digest(
            _mac(secret, key, int(end)).encode(), mac.encode()
        ):
            return key
    return None


def _mac(secret: bytes, key: ApiKey, until: int) -> str:
    return hmac.new(secret, f"console:{key.digest}:{until}".encode(), "sha256").hexdigest()
