"""Takes hidden tracks out of what is served, at once: out of a user's lists in every generation.

What is hidden is in Postgres (`warehouse/feedback.py`); published lists leave it out by themselves
(`rankings.py`). Here is what happens between a hide and the next publication.

A generation's `x:{user_id}` holds, as ids alone, the tracks that no answer to this user may hold
although the generation's matrix does not know it: whoever answers by more than the user's own list
leaves them out. Keys are changed one at a time, each only while it still is as it was read, so that
a newer list is never put back, and a cluster does as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import cast

import numpy as np
import polars as pl
import redis
from numpy.typing import NDArray

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.codec import MAX_ENTRIES, DamagedValue, decode_list, encode_ids, without_ids
from moovitamix.serve.generations import (
    TIME_TO_LIVE,
    Generation,
    key_of,
    redis_answering,
)
from moovitamix.serve.roll import finished

# Somebody who writes the same key between reading and writing is waited for so many times.
_TRIES = 20

# Of one key, so that it works on a cluster. An empty first argument: there was no such key.
_SWAP = """
local found = redis.call('GET', KEYS[1])
if (found or '') ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else
    redis.call('SET', KEYS[1], ARGV[2], 'EXAT', ARGV[3])
end
return 1
"""


def hide_in_cache(
    client: redis.Redis, prefix: str, user: int, tracks: Collection[int]
) -> list[Generation]:
    """Take tracks out of a user's lists in all generations that can be served, and note them there.

    To be called after the hide has been committed: a generation that is being published reads what
    is hidden once more before it is served. May be repeated.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        user: Whose lists.
        tracks: What is hidden from them.

    Returns:
        The generations that were looked at.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    generations = finished(client, prefix)
    for generation in generations:
        hide_in_generation(client, prefix, generation, user, tracks)
    return generations


def hide_in_generation(
    client: redis.Redis, prefix: str, generation: Generation, user: int, tracks: Collection[int]
) -> None:
    """The same in one generation; see `hide_in_cache`."""
    hidden = np.fromiter(tracks, dtype=np.int64, count=len(tracks))
    with redis_answering():
        # First what is to be left out, so that whoever finds the list short fills it rightly.
        _note(client, key_of(prefix, generation.name, "x", user), hidden, generation.expires_at)
        for kind in ("u", "r"):
            _drop(client, key_of(prefix, generation.name, kind, user), hidden)


def hide_since(
    client: redis.Redis,
    prefix: str,
    generation: Generation,
    *,
    known: pl.DataFrame,
    now: pl.DataFrame,
) -> int:
    """Hide in a generation what was hidden since its lists were made; from how many users.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        generation: In full, its description written, not served yet.
        known: `user_id`, `track_id`: what its lists leave out.
        now: The same, as it is now.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    fresh = by_user(now.join(known, on=["user_id", "track_id"], how="anti").rows())
    for user, tracks in fresh.items():
        hide_in_generation(client, prefix, generation, user, tracks)
    return len(fresh)


def forget_in_cache(client: redis.Redis, prefix: str, user: int) -> None:
    """Remove what is noted of a user who was erased meanwhile.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    for generation in finished(client, prefix):
        with redis_answering():
            client.unlink(key_of(prefix, generation.name, "x", user))


def hidden_ids(value: bytes | None) -> frozenset[int]:
    """The tracks that a value of kind `x` holds; none where it is missing or damaged."""
    if value is None:
        return frozenset()
    try:
        return frozenset(decode_list(value).ids.tolist())
    except DamagedValue:
        return frozenset()


def by_user(pairs: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    """Pairs of user and track as the tracks of each user."""
    found: dict[int, set[int]] = {}
    for user, track in pairs:
        found.setdefault(user, set()).add(track)
    return found


def _note(client: redis.Redis, key: bytes, tracks: NDArray[np.int64], expires_at: datetime) -> None:
    # One life longer: a renewal that passed before the key was there prolongs it the next time.
    deadline = int((expires_at + TIME_TO_LIVE).timestamp())
    for _ in range(_TRIES):
        before = cast("bytes | None", client.get(key))
        held = np.fromiter(hidden_ids(before), dtype=np.int64)
        after = encode_ids(np.union1d(held, tracks)[:MAX_ENTRIES])  # nobody hides more by hand
        if after == before or _swap(client, key, before, after, deadline):
            return
    raise _too_busy()


def _drop(client: redis.Redis, key: bytes, tracks: NDArray[np.int64]) -> None:
    for _ in range(_TRIES):
        before = cast("bytes | None", client.get(key))
        if before is None:
            return
        try:
            after = without_ids(before, tracks)
        except DamagedValue:  # readers take it for missing
            return
        if after == before or _swap(client, key, before, after, None):
            return
    raise _too_busy()


def _swap(
    client: redis.Redis, key: bytes, before: bytes | None, after: bytes, deadline: int | None
) -> bool:
    until = "" if deadline is None else deadline
    return bool(client.eval(_SWAP, 1, key, before or b"", after, until))


def _too_busy() -> StoreUnavailable:
    return StoreUnavailable(
        f"A list was changed {_TRIES} times while a track was to be hidden in it. Try again."
    )
