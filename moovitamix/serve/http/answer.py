"""An answer on its way: tracks picked so far, by which tier, and the JSON that is made of them.

Which tiers are asked, and in what order, is told in `tiers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from moovitamix.serve.http.live import Ranked
from moovitamix.serve.http.serving import Told
from moovitamix.serve.http.tracks import Tracks

Tier = Literal[
    "cached top-N",
    "cached similar",
    "live fold-in",
    "live factors",
    "popular in favourite genres",
    "popular in genre",
    "popular",
    "nothing yet",
]

# What an answer may lack, told in `degraded` when it does.
Lack = Literal["redis", "postgres", "model", "names", "challenger"]


class Source(NamedTuple):
    """Where the lists of an answer come from.

    Attributes:
        model_version: Of the registry; None when nothing was ever published.
        generation: Its name.
        generated_at: When it was published.
        experiment: Of the experiment that runs, for a user's answer.
    """

    model_version: int | None
    generation: str | None
    generated_at: datetime | None
    experiment: Told | None = None


class Picker:
    """Picks tracks, each once, that may be served and pass the filters.

    Args:
        tracks: The name table.
        limit: How many.
        left_out: Tracks that may not be in the answer.
        removed: Further ones, of the whole catalogue.
        allowed: By place in the name table; None: all. Under a filter, tracks that the table does
            not know are not picked: nobody can tell their genre.
        per_artist: At most so many tracks of an artist, where the artist is known.
    """

    def __init__(
        self,
        tracks: Tracks,
        limit: int,
        left_out: frozenset[int],
        removed: frozenset[int],
        allowed: NDArray[np.bool_] | None,
        per_artist: int | None,
    ) -> None:
        self._tracks = tracks
        self._limit = limit
        self._left_out = left_out
        self._removed = removed
        self._allowed = allowed
        self._per_artist = per_artist
        self._picked: set[int] = set()
        self._by_artist: dict[int, int] = {}
        self.ids: list[int] = []
        self.scores: list[float] = []
        self.tiers: list[Tier] = []

    def copy(self) -> Picker:
        """Another one that has picked the same so far, and goes on alone."""
        other = Picker(
            self._tracks,
            self._limit,
            self._left_out,
            self._removed,
            self._allowed,
            self._per_artist,
        )
        other._picked, other._by_artist = set(self._picked), dict(self._by_artist)
        other.ids, other.scores, other.tiers = [*self.ids], [*self.scores], [*self.tiers]
        return other

    @property
    def wanting(self) -> int:
        """How many tracks are still to be picked."""
        return self._limit - len(self.ids)

    def take(self, ids: NDArray[np.int64], scores: NDArray[np.float32], tier: Tier) -> None:
        """Pick from a list, best first, until there are enough."""
        if self.wanting <= 0:
            return
        places = self._tracks.places(ids)
        if self._allowed is not None:
            kept = places >= 0
            kept[kept] = self._allowed[places[kept]]
            ids, scores, places = ids[kept], scores[kept], places[kept]
        each = zip(ids.tolist(), scores.tolist(), places.tolist(), strict=True)
        for track, score, place in each:
            if track in self._picked or track in self._removed or track in self._left_out:
                continue
            if self._per_artist is not None and place >= 0:
                artist = int(self._tracks.artists[place])
                if self._by_artist.get(artist, 0) >= self._per_artist:
                    continue
                self._by_artist[artist] = self._by_artist.get(artist, 0) + 1
            self._picked.add(track)
            self.ids.append(track)
            self.scores.append(score)
            self.tiers.append(tier)
            if self.wanting <= 0:
                return


def render(
    head: bytes,
    tracks: Tracks,
    ids: list[int],
    scores: list[float],
    tiers: list[Tier],
    source: Source,
    degraded: list[Lack],
    because: Mapping[int, Ranked] | None = None,
) -> bytes:
    """The JSON of an answer.

    Args:
        head: What comes first within the object, as JSON members: `"user_id":1`; may be empty.
        tracks: The name table.
        ids: Of the tracks, best first.
        scores: One for each.
        tiers: One for each.
        source: Where the lists come from.
        degraded: What the answer lacks.
        because: By track: the listens that weigh most, and what each adds to the score.
    """
    members = tracks.members(np.array(ids, dtype=np.int64))
    if because:
        items = [
            b'{%b,"score":%.6g,"tier":"%b","because":[%b]}'
            % (told, score, tier.encode(), _because(because.get(track), tracks))
            for told, score, tier, track in zip(members, scores, tiers, ids, strict=True)
        ]
    else:
        items = [
            b'{%b,"score":%.6g,"tier":"%b"}' % (told, score, tier.encode())
            for told, score, tier in zip(members, scores, tiers, strict=True)
        ]
    return b"{%b%b%b}" % (
        head + b"," if head else b"",
        b'"items":[%b]' % b",".join(items),
        tail(tiers[0] if tiers else "nothing yet", source, degraded),
    )


def render_uniform(
    head: bytes, members: Sequence[bytes], scores: list[float], tier: bytes, end: bytes
) -> bytes:
    """The same where all items are of one tier: the hot path.

    Args:
        head: As in `render`, not empty.
        members: As the name table tells them.
        scores: One for each.
        tier: Of all items.
        end: As `tail` makes it.
    """
    between = b',"tier":"%b"},{' % tier
    parts = [b'%b,"score":%.6g' % pair for pair in zip(members, scores, strict=True)]
    return b'{%b,"items":[{%b,"tier":"%b"}]%b}' % (head, between.join(parts), tier, end)


def tail(tier: Tier, source: Source, degraded: list[Lack]) -> bytes:
    """The members of an answer that follow its items."""
    told: dict[str, object] = {
        "tier": tier,
        "model_version": source.model_version,
        "generation": source.generation,
        "generated_at": source.generated_at,
    }
    if source.experiment is not None:
        told["experiment"] = source.experiment
    if degraded:
        told["degraded"] = degraded
    return b"," + msgspec.json.encode(told)[1:-1]


def _because(ranked: Ranked | None, tracks: Tracks) -> bytes:
    if ranked is None:
        return b""
    told = zip(tracks.members(ranked.ids), ranked.scores.tolist(), strict=True)
    return b",".join(b'{%b,"adds":%.6g}' % pair for pair in told)
