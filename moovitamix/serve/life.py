"""Which generation is served, and how long it lives: the switch, its renewal, the way back.

How a generation is written is told in `writer.py`; its keys, in `generations.py`. Whoever prolongs
a life goes through the lists first, then the description, then `current`, so that what is described
is there, and what is current is described. Each of the last two is changed only while it still is
as it was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
import numpy as np
import redis

from moovitamix.errors import NothingToDo
from moovitamix.serve.codec import DamagedValue, decode_list
from moovitamix.serve.generations import (
    COUNTED,
    TIME_TO_LIVE,
    Generation,
    added_key,
    current_key,
    keys_matching,
    meta_key,
    read_generation,
    redis_answering,
)

# How long the predecessor can still be made current again, counted from the switch.
ROLLBACK_WINDOW = timedelta(hours=6)

# What is current is renewed when it has less than this left: a third of its life, in which
# somebody who looks every hour, and fails now and then, comes in time.
RENEW_BELOW = TIME_TO_LIVE / 3

# What is left is told in whole seconds.
_LEEWAY = timedelta(seconds=2)

_SAMPLE = 100
_TRIES = 3

_SET_IF_SAME = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EXAT', ARGV[3])
return 1
"""


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What a look at the current generation came to.

    Attributes:
        generation: What is current now; None when nothing is served.
        renewed: Whether its life was prolonged.
        missing: How many of its keys Redis has lost; looked at only when it was renewed.
    """

    generation: Generation | None
    renewed: bool
    missing: int = 0


class NotWhole(NothingToDo):
    """A generation cannot be made current: keys of it are gone or damaged."""


def make_current(client: redis.Redis, prefix: str, generation: Generation) -> None:
    """Serve a generation that is there in full, by one SET.

    The keys of the one served before are then made to live for at least the rollback window.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    with redis_answering():
        before = cast(
            "bytes | None",
            client.set(
                current_key(prefix),
                generation.name,
                exat=int(generation.expires_at.timestamp()),
                get=True,
            ),
        )
        if before is not None and before.decode() != generation.name:
            described = cast("bytes | None", client.get(meta_key(prefix, before.decode())))
            prolong(client, prefix, described, present(client) + ROLLBACK_WINDOW)


def renew(client: redis.Redis, prefix: str, *, below: timedelta = RENEW_BELOW) -> Renewal:
    """Prolong the life of what is current where it is about to end and no successor has come.

    Costs three round trips where there is nothing to do. May be called by any number of processes
    at once, and killed anywhere: the next call goes on.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        below: Renew when it has less than this left.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    with redis_answering():
        for _ in range(_TRIES):
            name, left, described, now = _look(client, prefix)
            current = read_generation(described)
            if name is None or current is None:
                return Renewal(generation=None, renewed=False)
            if current.expires_at - now >= below:
                if now + left + _LEEWAY < current.expires_at:  # somebody was killed in between
                    set_if_same(client, current_key(prefix), name, name, current.expires_at)
                return Renewal(generation=current, renewed=False)
            # From what is described, not from now: all who renew at once come to the same end.
            until = current.expires_at + TIME_TO_LIVE
            renewed = prolong(client, prefix, described, until, while_current=name)
            if renewed is not None:
                set_if_same(client, current_key(prefix), name, name, until)
                kept, found = renewed
                missing = max(0, _expected(client, prefix, kept) - found)
                return Renewal(generation=kept, renewed=True, missing=missing)
    return Renewal(generation=current, renewed=False)  # others are quicker, or it was replaced


def living(client: redis.Redis, prefix: str) -> list[Generation]:
    """All generations that were finished and have not expired, the newest first.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        found = [
            read_generation(cast("bytes | None", client.get(key)))
            for batch in keys_matching(client, meta_key(prefix, "*"))
            for key in batch
        ]
    return sorted(
        {one.name: one for one in found if one is not None}.values(),
        key=lambda one: (one.published_at, one.name),
        reverse=True,
    )


def switch_to(client: redis.Redis, prefix: str, generation: Generation) -> Generation:
    """Serve a former generation again, at once, and let it live as long as a new one.

    Raises:
        NotWhole: When some of it is gone; what is current stays so.
        StoreUnavailable: When Redis does not answer or refuses.
    """
    with redis_answering():
        _refuse_in_part(client, prefix, generation)
        described = cast("bytes | None", client.get(meta_key(prefix, generation.name)))
        whole = read_generation(described)
        until = present(client) + TIME_TO_LIVE
        if whole is not None and whole.expires_at < until:
            prolonged = prolong(client, prefix, described, until)
            whole = prolonged[0] if prolonged else None
    if whole is None:
        raise NotWhole(
            f"{generation.name} has just changed or expired. See what is there: "
            "`moovitamix generations list`."
        )
    make_current(client, prefix, whole)
    return whole


def _refuse_in_part(client: redis.Redis, prefix: str, generation: Generation) -> None:
    """Count all keys, and decode a sample."""
    keys = [key for batch in _keys(client, prefix, generation.name) for key in batch]
    keys = sorted({key for key in keys if _is_counted(key)})
    expected = _expected(client, prefix, generation)
    sample = [
        keys[place] for place in np.linspace(0, len(keys) - 1, min(_SAMPLE, len(keys))).astype(int)
    ]
    pipeline = client.pipeline(transaction=False)
    for key in sample:
        pipeline.get(key)
    fault = f"{expected - len(keys)} of {expected} keys are gone"
    damaged = sum(not _decodes(value) for value in pipeline.execute())
    if len(keys) >= expected and not damaged:
        return
    if damaged:
        fault = f"{damaged} of {len(sample)} lists that were looked at cannot be read"
    raise NotWhole(
        f"{generation.name} cannot be served again: {fault}. What is current stays so; publish a "
        "new one: `moovitamix run`."
    )


def _decodes(value: bytes | None) -> bool:
    try:
        return value is not None and decode_list(value) is not None
    except DamagedValue:
        return False


def _look(
    client: redis.Redis, prefix: str
) -> tuple[bytes | None, timedelta, bytes | None, datetime]:
    """The name of what is current, how long that is kept, its description, the server's time."""
    name = cast("bytes | None", client.get(current_key(prefix)))
    if name is None:
        return None, timedelta(0), None, datetime.min.replace(tzinfo=UTC)
    pipeline = client.pipeline(transaction=False)
    pipeline.ttl(current_key(prefix))
    pipeline.get(meta_key(prefix, name.decode()))
    left, described = pipeline.execute()
    return name, timedelta(seconds=left), described, present(client)


def prolong(
    client: redis.Redis,
    prefix: str,
    described: bytes | None,
    until: datetime,
    *,
    while_current: bytes | None = None,
) -> tuple[Generation, int] | None:
    """Let a generation live until a moment, if it would not anyway.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        described: Its description as it was read.
        until: The moment.
        while_current: Its name, where it is to be done only while it is current.

    Returns:
        Its new description and how many lists were found; None where nothing was done, or the
        description is another one by now.
    """
    before = read_generation(described)
    if described is None or before is None or before.expires_at >= until:
        return None
    deadline = int(until.timestamp())
    found = 0
    for keys in _keys(client, prefix, before.name):
        if while_current is not None and client.get(current_key(prefix)) != while_current:
            return None
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.expireat(key, deadline)
        answers = zip(keys, pipeline.execute(), strict=True)
        found += sum(bool(there) for key, there in answers if _is_counted(key))
    after = msgspec.structs.replace(before, expires_at=until)
    description = meta_key(prefix, before.name)
    changed = set_if_same(client, description, described, msgspec.json.encode(after), until)
    return (after, found) if changed else None


def set_if_same(
    client: redis.Redis, key: str, before: bytes, after: bytes, until: datetime
) -> bool:
    """Change a key that still is as it was read, and let it live until a moment."""
    deadline = int(until.timestamp())
    return bool(client.eval(_SET_IF_SAME, 1, key, before, after, deadline))


def _keys(client: redis.Redis, prefix: str, name: str) -> Iterator[list[bytes]]:
    """All keys of a generation but its description, in batches; a key may come twice."""
    description = meta_key(prefix, name).encode()
    for keys in keys_matching(client, f"{prefix}:{name}:*"):
        yield [key for key in keys if key != description]


def _is_counted(key: bytes) -> bool:
    """Whether a key is that of a list which the generation counts."""
    return key.split(b":")[-2].decode() in COUNTED


def _expected(client: redis.Redis, prefix: str, generation: Generation) -> int:
    """How many lists there should be: those of the publication, and those added since."""
    added = cast("list[bytes]", client.hvals(added_key(prefix, generation.name)))
    return sum(generation.keys.values()) + sum(map(int, added))


def present(client: redis.Redis) -> datetime:
    """The server's time, UTC."""
    seconds, _ = client.time()
    return datetime.fromtimestamp(seconds, UTC)
