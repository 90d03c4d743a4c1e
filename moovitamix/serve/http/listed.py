"""The hot path: an answer that is the beginning of a user's list as it was published.

No array is made for it, and no JSON: the ids are unpacked, and texts that are ready are joined.
Whatever this cannot do (filters, lists of another layout or too short, what was removed or hidden
since) is left to `tiers.py`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from operator import itemgetter

import numpy as np

from moovitamix.serve.codec import MARKED, MARKED_HEAD, VERSION
from moovitamix.serve.generations import Generation
from moovitamix.serve.http.answer import Lack, Tier
from moovitamix.serve.http.rendering import Answer, Rendering
from moovitamix.serve.http.serving import Told
from moovitamix.serve.http.world import World

_TIER: Tier = "cached top-N"

# The layout of nearly all lists: ids of 4 bytes, scores of 2. See `codec.py`.
_COMPACT = 4 * 16 + 2
_ENTRY_BYTES = 6
_CRC_BYTES = 4
# Version, layout, and how many entries there are.
_DESCRIBED = 4
_STARTS = {VERSION: _DESCRIBED, MARKED: MARKED_HEAD}
# The CRC-32 of anything that is followed by its own CRC-32, little-endian.
_RESIDUE = 0x2144DF1C


def first_of(value: bytes, count: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The first entries of a compact list.

    Args:
        value: Of any kind, whole or not.
        count: How many entries, at least one.

    Returns:
        Ids, and as many scores as the bits of float16; None when the value is damaged, has another
        layout or fewer entries: `decode_list` tells which.
    """
    start, held, size = _shape(value[:_DESCRIBED])
    if len(value) != size or held < count or zlib.crc32(value) != _RESIDUE:
        return None
    entries = _entries(count).unpack_from(value, start)
    return entries[::2], entries[1::2]


@lru_cache(maxsize=4_096)
def _shape(head: bytes) -> tuple[int, int, int]:
    """Where the entries of a compact list begin, how many it has, and its bytes; else -1 bytes."""
    if len(head) < _DESCRIBED or head[0] not in _STARTS or head[1] != _COMPACT:
        return 0, 0, -1
    start, held = _STARTS[head[0]], head[2] | head[3] << 8
    return start, held, start + held * _ENTRY_BYTES + _CRC_BYTES


@cache
def _entries(count: int) -> struct.Struct:
    return struct.Struct("<" + "iH" * count)


@cache
def _score_texts() -> list[bytes]:
    """What stands between two items: the score of the first and its tier, by the score's bits."""
    scores = np.arange(1 << 16, dtype=np.uint16).view(np.float16).tolist()
    tier = _TIER.encode()
    return [b',"score":%.6g,"tier":"%b"},{' % (score, tier) for score in scores]


class Listed:
    """Answers from lists as they are.

    Args:
        world: Names, and what was removed or hidden since.
        rendering: Of what follows the items.
    """

    def __init__(self, world: World, rendering: Rendering) -> None:
        self._world = world
        self._rendering = rendering
        self._scores = _score_texts()

    def answer(
        self,
        user: int,
        limit: int,
        generation: Generation,
        value: bytes,
        lacks: list[Lack],
        told: Told | None,
    ) -> Answer | None:
        """The answer; None where it takes more than the beginning of the list."""
        found = first_of(value, limit)
        if found is None or not self.may_be_told(user, found[0]):
            return None
        ids, bits = found
        parts = [b""] * (2 * limit)
        parts[::2] = self._world.tracks.members_of(ids)
        # One call looks all of them up; the one more is for a list of one.
        parts[1::2] = itemgetter(*bits, 0)(self._scores)[:-1]
        parts[-1] = parts[-1][:-2]  # no item follows
        end = self._rendering.cached_end(generation, lacks, told)
        body = b'{"user_id":%d,"items":[{%b]%b}' % (user, b"".join(parts), end)
        return Answer(body, _TIER, generation.name)

    def may_be_told(self, user: int, ids: Sequence[int]) -> bool:
        """Whether none of the tracks was removed, or hidden by the user.

        Lists hold no such track, but this process may know of one before Redis does.
        """
        hidden = self._world.hidden.of(user)
        return self._world.removed.isdisjoint(ids) and (not hidden or hidden.isdisjoint(ids))
