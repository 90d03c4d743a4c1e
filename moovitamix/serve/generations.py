"""Generations of lists in Redis: their keys, their description, and which one is served.

How one is written is told in `writer.py`, what goes into it in `publish.py`, which one is served
and how long it lives in `life.py`, the bytes of a value in `codec.py`, how lists are read in
`recommender.py`.

The keys of a generation, behind `{prefix}:{generation}:`, are::

    u:{user_id}          top-N of a user with listens, of what is new to them
    r:{user_id}          the same with what they have heard
    g:{user_id}          stated favourite genres of a user without listens, as genre ids alone
    t:{track_id}         similar tracks
    p:{genre_id|all}     popular tracks of a genre, or of all
    x:{user_id}          what no answer to this user may hold, for they have hidden it (`hides.py`)
    h:{user_id}          what they have heard since the matrix (`fold.py`); like x: track ids alone,
                         which come and go, so that they are counted nowhere
    added                how many lists of each kind have come since it was published
    meta                 the `Generation` as JSON, written last: where it is, all the rest is

`{prefix}:current` names the generation that is served, `{prefix}:sequence` counts them,
`{prefix}:generations` is the set of those that have a description: some may have expired. All keys
of a generation, and `current` while it names it, expire at the same second of the server's clock,
so that a generation is never there in part, however long the writing took. Whoever prolongs its
life prolongs that of the lists first, then the description's, then that of `current`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Literal, cast

import msgspec
import redis

from moovitamix.errors import StoreUnavailable

TIME_TO_LIVE = timedelta(hours=24)

_KEYS_A_SCAN = 5_000

Kind = Literal["u", "r", "g", "t", "p", "x", "h"]

# The kinds of lists that a generation says how many it has of.
COUNTED: tuple[Kind, ...] = ("u", "r", "g", "t", "p")


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One model version on one day's matrix, published once.

    Attributes:
        name: `v{model_version}-{as_of}-{sequence}`, unique per prefix.
        model_version: Of the registry.
        algorithm: What made the users' lists: `als` or `popularity`.
        as_of: The last day of the matrix.
        matrix_fingerprint: Which matrix users' factors were folded in from.
        list_length: N: the longest that a list can be.
        keys: How many keys there are of each kind (`u`, `r`, `g`, `t`, `p`), as it was published.
        published_at: When the writing began, by the server's clock, UTC.
        expires_at: When all its keys expire, UTC.
    """

    name: str
    model_version: int
    algorithm: str
    as_of: date
    matrix_fingerprint: str
    list_length: int
    keys: dict[str, int]
    published_at: datetime
    expires_at: datetime


def current_key(prefix: str) -> str:
    """The key that names the generation being served."""
    return f"{prefix}:current"


def sequence_key(prefix: str) -> str:
    """The key that counts the publications of a prefix."""
    return f"{prefix}:sequence"


def roll_key(prefix: str) -> str:
    """The key of the set of generations that can be served."""
    return f"{prefix}:generations"


def key_of(prefix: str, generation: str, kind: Kind, item: int | Literal["all"]) -> bytes:
    """The key of one list of a generation."""
    return f"{prefix}:{generation}:{kind}:{item}".encode()


def meta_key(prefix: str, generation: str) -> str:
    """The key of a generation's own description."""
    return f"{prefix}:{generation}:meta"


def added_key(prefix: str, generation: str) -> str:
    """The key that counts the lists that have come to a generation since it was published."""
    return f"{prefix}:{generation}:added"


def with_added(client: redis.Redis, prefix: str, generation: Generation) -> Generation:
    """A generation whose `keys` are as many as there are by now, with those added since.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        added = cast("dict[bytes, bytes]", client.hgetall(added_key(prefix, generation.name)))
    keys = Counter(generation.keys)
    keys.update({kind.decode(): int(count) for kind, count in added.items()})
    return msgspec.structs.replace(generation, keys=dict(keys))


def read_generation(value: bytes | None) -> Generation | None:
    """The description that a `meta` value holds; None when it is missing or damaged."""
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=Generation)
    except msgspec.MsgspecError:
        return None


def keys_matching(client: redis.Redis, pattern: str) -> Iterator[list[bytes]]:
    """All keys that match a pattern, in batches, each key once a batch.

    Raises:
        redis.RedisError: When Redis does not answer.
    """
    found = client.scan_iter(pattern, count=_KEYS_A_SCAN)  # of all nodes, on a cluster
    while batch := list(islice(found, _KEYS_A_SCAN)):
        yield list(dict.fromkeys(batch))  # SCAN may name a key twice


def genres_of(client: redis.Redis, prefix: str, generation: str) -> Iterator[int]:
    """The genres that have a list, when nothing else tells them: goes through all keys.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        for batch in keys_matching(client, f"{prefix}:{generation}:p:*"):
            for key in batch:
                genre = key.rpartition(b":")[2]
                if genre.isdigit():
                    yield int(genre)


def living_names(client: redis.Redis, prefix: str) -> set[str]:
    """The names of all generations of which there is any key, unfinished ones too.

    Raises:
        redis.RedisError: When Redis does not answer.
    """
    return {
        key.decode().removeprefix(f"{prefix}:").partition(":")[0]
        for batch in keys_matching(client, f"{prefix}:v*-*-*-*-*:*")
        for key in batch
    }


def read_current(client: redis.Redis, prefix: str) -> Generation | None:
    """The generation being served; None when nothing was published or all has expired.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        name = cast("bytes | None", client.get(current_key(prefix)))
        if name is None:
            return None
        return read_generation(cast("bytes | None", client.get(meta_key(prefix, name.decode()))))


@contextmanager
def redis_answering() -> Iterator[None]:
    """Turn what redis-py raises into the error that says what to do.

    Raises:
        StoreUnavailable: When Redis does not answer, or refuses (full, read-only, no access).
    """
    try:
        yield
    except redis.exceptions.OutOfMemoryError as error:
        raise StoreUnavailable(
            f"Redis is full: {error}. Raise its maxmemory: three generations have to fit."
        ) from error
    except (redis.RedisError, redis.RedisClusterException) as error:  # not one a kind of the other
        raise StoreUnavailable(
            f"Redis did not do as asked: {error}. `moovitamix doctor` tests it."
        ) from error
