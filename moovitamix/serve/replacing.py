"""Replaces lists of users in a living generation, never a newer one by an older.

What the new lists hold is told in `fold.py`. Whole generations are written by `writer.py`.

A list tells by its mark (`codec.py`) how much was known of its user when it was made. It replaces
the one that is there unless that one knows more; both are looked at by the server in one step. Each
step touches one key, so that it is the same on a cluster. `known_marks` looks at one list of a
user: it is written when all others have been.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import redis

from moovitamix.serve.codec import MARKED, MARKED_HEAD, mark_of, with_mark
from moovitamix.serve.generations import (
    COUNTED,
    TIME_TO_LIVE,
    Generation,
    Kind,
    added_key,
    key_of,
    redis_answering,
)

_AT_ONCE = 500
# The list whose mark tells how much all lists of its user know.
_TELLS: Kind = "u"

# Answers 0: what is there knows more; 1: replaced; 2: there was none, and there is one now.
_REPLACE = f"""
local head = redis.call('GETRANGE', KEYS[1], 0, {MARKED_HEAD - 1})
if #head == {MARKED_HEAD} and string.byte(head, 1) == {MARKED} then
  local mark = 0
  for i = {MARKED_HEAD}, 5, -1 do mark = mark * 256 + string.byte(head, i) end
  if mark > tonumber(ARGV[2]) then return 0 end
end
if #head > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  return 1
end
redis.call('SET', KEYS[1], ARGV[1], 'EXAT', ARGV[3])
return 2
"""


class NewList(NamedTuple):
    """A list to be put in the place of another.

    Attributes:
        kind: Of list.
        user: Whose.
        value: As `codec.py` encodes it, without a mark.
        mark: How much it knows of the user.
    """

    kind: Kind
    user: int
    value: bytes
    mark: int


class Replaced(NamedTuple):
    """What became of some lists.

    Attributes:
        written: So many are there now.
        older: So many were left out, for what is there knows more.
    """

    written: int
    older: int


def replace_lists(
    client: redis.Redis, prefix: str, generation: Generation, lists: Sequence[NewList]
) -> Replaced:
    """Put lists into a generation, each unless the one that is there knows more of its user.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        generation: By whose factors they were made. It need not be current, nor finished.
        lists: Of any users; may be given again.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses; some may have been replaced.
    """
    # One life longer: a renewal that passed before the key was there prolongs it the next time.
    deadline = int((generation.expires_at + TIME_TO_LIVE).timestamp())
    added: Counter[Kind] = Counter()
    outcomes: list[int] = []
    with redis_answering():
        for part in _parts(lists):
            found = _run(
                client,
                [
                    (
                        key_of(prefix, generation.name, one.kind, one.user),
                        with_mark(one.value, one.mark),
                        one.mark,
                        deadline,
                    )
                    for one in part
                ],
            )
            added.update(one.kind for one, outcome in zip(part, found, strict=True) if outcome == 2)
            outcomes += found
        _count(client, prefix, generation, added)
    return Replaced(sum(outcome > 0 for outcome in outcomes), outcomes.count(0))


def _parts(lists: Sequence[NewList]) -> Iterator[Sequence[NewList]]:
    """The lists in the order in which they are written; no part holds what another waits for."""
    telling = [one for one in lists if one.kind == _TELLS]
    others = [one for one in lists if one.kind != _TELLS]
    for some in (others, telling):
        yield from (some[start : start + _AT_ONCE] for start in range(0, len(some), _AT_ONCE))


def known_marks(
    client: redis.Redis, prefix: str, generation: Generation, users: Iterable[int]
) -> dict[int, int]:
    """How much the users' lists know of them; 0 for one of the publication; no list: not there.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    asked = list(users)
    marks: dict[int, int] = {}
    with redis_answering():
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            pipeline = client.pipeline(transaction=False)
            for user in part:
                pipeline.getrange(
                    key_of(prefix, generation.name, _TELLS, user).decode(), 0, MARKED_HEAD - 1
                )
            heads = cast("list[bytes]", pipeline.execute())
            marks |= {user: mark_of(head) for user, head in zip(part, heads, strict=True) if head}
    return marks


def _run(client: redis.Redis, calls: Sequence[tuple[bytes, bytes, int, int]]) -> list[int]:
    # Its pipelines take no scripts. To the type checker it is no `Redis`: see `connection.py`.
    if isinstance(cast("object", client), redis.RedisCluster):
        return [int(client.eval(_REPLACE, 1, *call)) for call in calls]
    pipeline = client.pipeline(transaction=False)
    for call in calls:
        pipeline.eval(_REPLACE, 1, *call)
    return [int(outcome) for outcome in pipeline.execute()]


def _count(client: redis.Redis, prefix: str, generation: Generation, added: Counter[Kind]) -> None:
    """Note how many lists have come to those that were published.

    Killed before that, a generation has more lists than it says, which nobody minds.
    """
    counted = {kind: count for kind, count in added.items() if kind in COUNTED}
    if not counted:
        return
    key = added_key(prefix, generation.name)
    pipeline = client.pipeline(transaction=False)
    for kind, count in counted.items():
        pipeline.hincrby(key, kind, count)
    pipeline.expireat(key, generation.expires_at + TIME_TO_LIVE)
    pipeline.execute()
