"""Where the cache names users: found, and erased, in all generations that are alive.

Which keys there are is told in `generations.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import cast

import msgspec
import redis

from moovitamix.serve.generations import (
    keys_matching,
    meta_key,
    read_generation,
    redis_answering,
)

# The kinds of keys that end in a user's id.
KINDS = ("u", "g", "r", "x", "h")


def erase_keys(
    client: redis.Redis, prefix: str, ids: Collection[int], fingerprints: Mapping[str, str]
) -> int:
    """Remove all keys of some users, of unfinished and of former generations too; how many.

    What the generations tell of themselves follows. Nobody may publish meanwhile. May be repeated.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        ids: Of the users.
        fingerprints: Of matrices that were rewritten, from what they were to what they are now.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    wanted = set(ids)
    removed: Counter[tuple[str, str]] = Counter()
    with redis_answering():
        for batch in keys_matching(client, f"{prefix}:*:[{''.join(KINDS)}]:*"):
            theirs = [key for key in batch if _owner(key) in wanted]
            if theirs:
                client.unlink(*theirs)
            for key in theirs:
                _, generation, kind, _ = key.decode().split(":")
                removed[generation, kind] += 1
        for batch in keys_matching(client, meta_key(prefix, "*")):
            for key in batch:
                _amend(client, key, removed, fingerprints)
    return sum(removed.values())


def _amend(
    client: redis.Redis,
    key: bytes,
    removed: Mapping[tuple[str, str], int],
    fingerprints: Mapping[str, str],
) -> None:
    """Let a generation's description say what is there now."""
    before = read_generation(cast("bytes | None", client.get(key)))
    if before is None:
        return
    now = msgspec.structs.replace(
        before,
        matrix_fingerprint=fingerprints.get(before.matrix_fingerprint, before.matrix_fingerprint),
        keys={
            kind: count - removed.get((before.name, kind), 0) for kind, count in before.keys.items()
        },
    )
    if now != before:
        client.set(key, msgspec.json.encode(now), keepttl=True, xx=True)


def _owner(key: bytes) -> int | None:
    owner = key.rpartition(b":")[2]
    return int(owner) if owner.removeprefix(b"-").isdigit() else None
