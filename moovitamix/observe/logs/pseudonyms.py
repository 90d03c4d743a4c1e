"""What users are called in logs: a keyed hash that changes with the day.

All lines of a user and a UTC day have the same name, in whichever process they were written, and
nobody who lacks the key can count through all ids to find whose they are. Across days they are not
tied together; who has the key can ask for the name of an id and a day. It has nothing in common
with the hashes by which erased users are known (`ingest/erased.py`), so that logs do not tell who
they were.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from datetime import date
from pathlib import Path

from moovitamix.settings import Settings

KEY_FILE = "log-key"
_BYTES = 32


class Pseudonyms:
    """Names of users.

    Args:
        key: Secret; None: one that ends with this object.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = hashlib.blake2b(key or secrets.token_bytes(_BYTES), person=b"mvx log").digest()
        # What all names of a day begin with is hashed once: a line a request adds up.
        self._begun: tuple[date, hashlib.blake2b] | None = None

    def of(self, user_id: int, day: date) -> str:
        """The name of a user on a day: 16 hexadecimal digits."""
        begun = self._begun
        if begun is None or begun[0] != day:
            start = b"%s:" % day.isoformat().encode()
            begun = self._begun = (day, hashlib.blake2b(start, key=self._key, digest_size=8))
        named = begun[1].copy()
        named.update(b"%d" % user_id)
        return named.hexdigest()


def log_key(settings: Settings) -> bytes:
    """The key: as configured, or the one in a file under the home, which is made when missing.

    Raises:
        OSError: When the file can neither be read nor made.
    """
    if settings.log_key is not None:
        return settings.log_key.get_secret_value().encode()
    path = settings.home_path / KEY_FILE
    if not path.exists():
        _make(path)
    return path.read_bytes()


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; whoever comes second leaves the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(_BYTES))
        os.close(handle)
        os.link(unfinished, path)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
