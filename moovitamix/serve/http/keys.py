"""API keys: how they are made, kept, read and recognized.

Which request needs which scope is told in `admission.py`; how many it may make, in `limits.py`.

An entry is `name:scope:hash`, with `:requests-per-second` behind it where a key has a limit of its
own. The hash is the SHA-256 of the key. A key is 256 random bits: nobody can guess one from its
hash, however fast they hash, so a slow hash (argon2) would protect nothing and cost each request
milliseconds. Entries are in `MOOVITAMIX_API_KEYS` itself, or in the file that it names.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from moovitamix.errors import NothingToDo, SettingsError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: never the key itself.

    Attributes:
        name: Of who uses it; shown in logs.
        scope: read: lists and status; write: what is heard and thought of them as well; admin: all.
        digest: SHA-256, in hexadecimal.
        per_second: Requests a second; None: as for all.
    """

    name: str
    scope: Scope
    digest: str
    per_second: float | None = None

    def may(self, needed: Scope) -> bool:
        """Whether its scope covers another."""
        return SCOPES.index(self.scope) >= SCOPES.index(needed)

    def entry(self) -> str:
        """The line that is kept."""
        limit = "" if self.per_second is None else f":{self.per_second:g}"
        return f"{self.name}:{self.scope}:{self.digest}{limit}"


def make_key(name: str, scope: Scope, per_second: float | None = None) -> tuple[str, ApiKey]:
    """A new key, and how it is kept. The key is told once, here.

    Raises:
        SettingsError: When the name cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} is no name of a key: use up to 40 of a-z, 0-9, '.', '_' and '-'."
        )
    secret = f"mvx_{secrets.token_urlsafe(32)}"
    return secret, ApiKey(name, scope, digest_of(secret), per_second)


def digest_of(secret: str) -> str:
    """The SHA-256 of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """The keys of some entries, separated by commas or white space; after # is a comment.

    Raises:
        SettingsError: When an entry cannot be read. It is not repeated in the message.
    """
    found = []
    lines = (line.partition("#")[0] for line in text.splitlines())
    for number, entry in enumerate(" ".join(lines).replace(",", " ").split(), start=1):
        name, _, rest = entry.partition(":")
        scope, _, rest = rest.partition(":")
        digest, _, limit = rest.partition(":")
        try:
            per_second = float(limit) if limit else None
        except ValueError:
            per_second = -1.0
        if (
            not _NAME.fullmatch(name)
            or scope not in SCOPES
            or not _HASH.fullmatch(digest)
            or (per_second is not None and not 0 < per_second < float("inf"))
        ):
            raise SettingsError(
                f"Entry {number} of the API keys is not `name:scope:hash` with a scope of "
                f"{', '.join(SCOPES)}. Make one with `moovitamix keys create NAME`."
            )
        found.append(ApiKey(name, scope, digest, per_second))
    return tuple(found)


def recognize(keys: Sequence[ApiKey], secret: str) -> ApiKey | None:
    """The key that was shown, or None. How long it takes does not tell how near it is."""
    digest = digest_of(secret)
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


class KeyStore:
    """The keys in force: those of a file, read again when it changes, or fixed ones.

    Args:
        configured: What `MOOVITAMIX_API_KEYS` says: entries, or the path of a file of them; None:
            the file `api-keys` under the home, if there is one.
        home: For that.
    """

    def __init__(self, configured: str | None, home: Path) -> None:
        is_path = configured is not None and configured.startswith(("/", "./", "../", "~"))
        self.path: Path | None = None
        if configured is None:
            self.path = home / "api-keys"
        elif is_path:
            self.path = Path(configured).expanduser()
        self._required = configured is not None
        self._seen: tuple[int, int] | None = None
        self._keys: tuple[ApiKey, ...] | None = None
        if self.path is None:
            self._keys = parse_keys(configured or "")
        else:
            self.reload()

    @property
    def keys(self) -> tuple[ApiKey, ...] | None:
        """The keys in force; None: no keys are asked for. An empty file lets nobody in."""
        return self._keys

    def lock(self) -> None:
        """Where nobody is asked for a key yet, let nobody in until there is one.

        Raises:
            SettingsError: When the file of keys cannot be made.
        """
        if self._keys is not None or self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # one that somebody makes meanwhile is left as it is
        except OSError as error:
            raise SettingsError(
                f"The file of API keys, {self.path}, cannot be made: {error}. "
                "Let its folder be written to."
            ) from error
        self.reload()

    def reload(self) -> bool:
        """Read the file again if it has changed; whether it had.

        A file that has gone leaves the keys that were there in force: what was closed stays closed.

        Raises:
            SettingsError: When it cannot be read; the keys in force stay.
        """
        if self.path is None:
            return False
        try:
            stat = self.path.stat()
            if (stat.st_mtime_ns, stat.st_ino) == self._seen:
                return False
            keys = parse_keys(self.path.read_text())
        except FileNotFoundError:
            if self._required and self._keys is None:
                raise SettingsError(
                    f"MOOVITAMIX_API_KEYS names {self.path}, which is not there. "
                    "Make it with `moovitamix keys create NAME`, or unset the variable."
                ) from None
            return False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The API keys in {self.path} cannot be read: {error}. Correct the file."
            ) from error
        self._keys, self._seen = keys, (stat.st_mtime_ns, stat.st_ino)
        return True


def add_key(path: Path, key: ApiKey) -> None:
    """Add a key to a file, which only its owner can read. A name may have several keys.

    Raises:
        SettingsError: When the file holds something else.
    """
    existing = list(parse_keys(path.read_text())) if path.exists() else []
    _write(path, [*existing, key])


def remove_keys(path: Path, name: str, prefix: str | None = None) -> int:
    """Remove the keys of a name, or those of them whose hash begins so; how many.

    Raises:
        NothingToDo: When there is none.
        SettingsError: When the file holds something else.
    """
    existing = parse_keys(path.read_text()) if path.exists() else ()
    left = [key for key in existing if key.name != name or not key.digest.startswith(prefix or "")]
    if len(left) == len(existing):
        raise NothingToDo(f"There is no such key of {name}: `moovitamix keys list` shows all.")
    _write(path, left)
    return len(existing) - len(left)


def _write(path: Path, keys: Sequence[ApiKey]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text("".join(f"{key.entry()}\n" for key in keys))
    unfinished.replace(path)
