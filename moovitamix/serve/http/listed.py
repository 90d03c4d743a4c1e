"""The hot path: an answer that is the beginning of a user's list as it was published.

No array is made for it, and no JSON: the ids are unpacked, and texts that are ready are joined.
Whatever this cannot do (filters, lists of another layout or too short, what was removed or hidden
since) is left to `tiers.py`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache

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
_STARTS = {VERSION: 4, MARKED: MARKED_HEAD}
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
    if len(value) < MARKED_HEAD or value[1] != _COMPACT:
        return None
    start, held = _STARTS.get(value[0]), value[2] | value[3] << 8
    if start is None or len(value) != start + held * _ENTRY_BYTES + _CRC_BYTES:
        return None
    if held < count or zlib.crc32(value) != _RESIDUE:
        return None
    entries = _entries(count).unpack_from(value, start)
    return entries[::2], entries[1::2]


@cache
def _entries(count: int) -> struct.Struct:
    return struct.Struct("<" + "iH" * count)


class _ScoreTexts(dict[int, bytes]):
    """What stands between two items: the score of the first and its tier, by the score's bits.

    Made when it is first needed. A float16 has 65,536 values: so large it gets, at most.
    """

    def __missing__(self, bits: int) -> bytes:
        (score,) = struct.unpack("<e", bits.to_bytes(2, "little"))
        made = self[bits] = b',"score":%.6g,"tier":"%b"},{' % (score, _TIER.encode())
        return made


class Listed:
    """Answers from lists as they are.

    Args:
        world: Names, and what was removed or hidden since.
        rendering: Of what follows the items.
    """

    def __init__(self, world: World, rendering: Rendering) -> None:
        self._world = world
        self._rendering = rendering
        self._scores = _ScoreTexts()

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
        scores = self._scores
        parts = [b""] * (2 * limit)
        parts[::2] = self._world.tracks.members_of(ids)
        parts[1::2] = [scores[score] for score in bits]
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
