"""Reads a published generation back, for the checks: what is there, and a sample of what it holds.

Whether that is right is told by `judgements.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import redis
from numpy.typing import NDArray

from moovitamix.recommend.champion import Champion
from moovitamix.recommend.left_out import LeftOut
from moovitamix.recommend.matrix import UserItemMatrix, in_columns
from moovitamix.serve.catalogue import Catalogue
from moovitamix.serve.codec import DamagedValue, TopN, decode_list, mark_of
from moovitamix.serve.fresh import OwnPlays, similar_anew, some_of, users_anew
from moovitamix.serve.fresh_releases import ReleasesRead, similar_to_releases_anew
from moovitamix.serve.generations import Generation, Kind, key_of, redis_answering
from moovitamix.serve.rankings import Rankings

SAMPLE_SIZE = 1_000
_KEYS_PER_ROUND_TRIP = 1_000


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The lists of one kind.

    Attributes:
        owners: How many should have one.
        found: How many have one that can be read, as far as the sample tells.
        lists: The sample, evenly spread over the owners' ids.
        published: Whose lists of the sample are those of the publication, not replaced since.
    """

    owners: int
    found: int
    lists: dict[int, TopN]
    published: list[int]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A generation as its readers find it, and what it was made from.

    Attributes:
        generation: What it says of itself.
        users: Lists of users with listens.
        repeats: Their lists with what they have heard, of those whom ALS knows.
        tracks: Lists of similar tracks.
        new_tracks: The same of new releases that the champion's model does not know.
        genres: Popular tracks by genre.
        overall: Popular tracks; None when that list is missing or damaged.
        heard: By user of the sample: the tracks heard.
        unheard: By user of the sample whose list is that of the publication: how many tracks it has
            to hold, if N allows.
        fresh: By user, some of these who have hidden nothing: their list computed anew.
        fresh_repeats: The same of lists with what was heard.
        fresh_tracks: By track, some of both kinds: its similar tracks computed anew.
        of_hiders: Lists of both kinds of users who have hidden something, a sample.
        hidden: By user of these: what they have hidden.
        catalogue: The warehouse's.
    """

    generation: Generation
    users: Sample
    repeats: Sample
    tracks: Sample
    new_tracks: Sample
    genres: Sample
    overall: TopN | None
    heard: dict[int, NDArray[np.int64]]
    unheard: dict[int, int]
    fresh: dict[int, TopN]
    fresh_repeats: dict[int, TopN]
    fresh_tracks: dict[int, TopN]
    of_hiders: list[tuple[int, TopN]]
    hidden: dict[int, NDArray[np.int64]]
    catalogue: Catalogue


def was_made_from(generation: Generation, champion: Champion, matrix: UserItemMatrix) -> bool:
    """Whether a generation holds this champion's lists on this matrix."""
    made_from = (generation.model_version, generation.algorithm, generation.matrix_fingerprint)
    return made_from == (champion.version, champion.algorithm, matrix.fingerprint)


def inspect_generation(
    client: redis.Redis,
    prefix: str,
    generation: Generation,
    *,
    champion: Champion,
    matrix: UserItemMatrix,
    catalogue: Catalogue,
    own_plays: Callable[[NDArray[np.int64]], OwnPlays] = lambda users: OwnPlays(users, None),
    releases: ReleasesRead | None = None,
) -> Inspection:
    """Look at a generation from outside.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        generation: Which one.
        champion: Whose lists they are.
        matrix: The one they were made from.
        catalogue: The warehouse's.
        own_plays: Reads those of some users, where they count.
        releases: What has places of its own in the lists, as published; None: nothing.

    Raises:
        StoreUnavailable: When a store does not answer.
    """
    rankings = Rankings(
        champion=champion,
        matrix=matrix,
        catalogue=catalogue,
        releases=None if releases is None else releases.releases,
        list_length=generation.list_length,
    )
    cache = _Reader(client, prefix, generation.name)
    served = np.setdiff1d(matrix.users, catalogue.withdrawn_users)
    users = cache.sample("u", served)
    heard = {user: _heard_by(matrix, user) for user in users.lists}
    by_als = champion.algorithm == "als"
    hides = LeftOut.of(catalogue.hides)
    hiders = np.intersect1d(hides.users, served)
    ranked = np.setdiff1d(champion.model.tracks, catalogue.withdrawn)
    repeats = cache.sample("r", np.intersect1d(served, _known(matrix, champion, ranked, hides)))
    tracks = cache.sample("t", champion.model.tracks)
    new = np.empty(0, np.int64) if releases is None else releases.without_factors(champion.model)
    new_tracks = cache.sample("t", new)
    # What was hidden since the lists were made has been taken out, and nothing put in for it.
    anew, repeated = (
        some_of(np.setdiff1d(np.array(found.published, np.int64), hides.users))
        for found in (users, repeats)
    )
    own = own_plays(repeated)
    return Inspection(
        generation=generation,
        users=users,
        repeats=repeats,
        tracks=tracks,
        new_tracks=new_tracks,
        genres=cache.sample("p", _genres_with_tracks(catalogue)),
        overall=cache.overall(),
        heard=heard,
        unheard={
            user: _least(
                _unheard(tracks, ranked, champion, catalogue)
                if by_als
                else _count_unheard(tracks, catalogue.tracks),
                generation.list_length,
                len(hides.of_user(user)),
            )
            for user, tracks in heard.items()
            if user in users.published
        },
        fresh=users_anew(rankings, anew, "u"),
        fresh_repeats=users_anew(rankings, own.users, "r", own.recent),
        fresh_tracks={
            **similar_anew(rankings, some_of(np.array(tracks.published, dtype=np.int64))),
            **_similar_to_new(rankings, releases, new_tracks),
        },
        of_hiders=[
            *cache.sample("u", hiders).lists.items(),
            *cache.sample("r", hiders).lists.items(),
        ],
        hidden={int(user): hides.of_user(int(user)) for user in hiders},
        catalogue=catalogue,
    )


def _similar_to_new(
    rankings: Rankings, releases: ReleasesRead | None, found: Sample
) -> dict[int, TopN]:
    if releases is None:
        return {}
    some = some_of(np.array(found.published, dtype=np.int64))
    return similar_to_releases_anew(rankings, releases.features, some)


class _Reader:
    def __init__(self, client: redis.Redis, prefix: str, generation: str) -> None:
        self._client = client
        self._prefix = prefix
        self._generation = generation

    def sample(self, kind: Kind, owners: NDArray[np.int64]) -> Sample:
        places = np.linspace(0, len(owners) - 1, min(SAMPLE_SIZE, len(owners))).astype(int)
        chosen = owners[places].tolist()
        with redis_answering():
            existing = self._count(kind, owners.tolist())
            values = self._values(kind, chosen)
        lists = {owner: found for owner, value in values if (found := _decoded(value)) is not None}
        damaged = sum(value is not None for _, value in values) - len(lists)
        published = [owner for owner, value in values if value is not None and not mark_of(value)]
        return Sample(
            owners=len(owners),
            found=existing - damaged,
            lists=lists,
            published=[owner for owner in published if owner in lists],
        )

    def overall(self) -> TopN | None:
        with redis_answering():
            return _decoded(
                cast(
                    "bytes | None",
                    self._client.get(key_of(self._prefix, self._generation, "p", "all")),
                )
            )

    def _count(self, kind: Kind, owners: list[int]) -> int:
        return sum(
            int(
                self._client.exists(*self._keys(kind, owners[start : start + _KEYS_PER_ROUND_TRIP]))
            )
            for start in range(0, len(owners), _KEYS_PER_ROUND_TRIP)
        )

    def _values(self, kind: Kind, owners: list[int]) -> list[tuple[int, bytes | None]]:
        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys(kind, owners):
            pipeline.get(key)
        return list(zip(owners, cast("list[bytes | None]", pipeline.execute()), strict=True))

    def _keys(self, kind: Kind, owners: Iterable[int]) -> list[bytes]:
        return [key_of(self._prefix, self._generation, kind, owner) for owner in owners]


def _decoded(value: bytes | None) -> TopN | None:
    try:
        return None if value is None else decode_list(value)
    except DamagedValue:
        return None


def _known(
    matrix: UserItemMatrix, champion: Champion, ranked: NDArray[np.int64], hides: LeftOut
) -> NDArray[np.int64]:
    """The users who have a list with what they have heard: whom ALS knows, with tracks to rank."""
    if champion.algorithm != "als" or not len(ranked):
        return np.empty(0, np.int64)
    known = matrix.users[np.diff(in_columns(matrix, champion.model.tracks).indptr) > 0]
    hiders, hidden = np.unique(hides.users, return_counts=True)
    return np.setdiff1d(known, hiders[hidden >= len(ranked)])


def _heard_by(matrix: UserItemMatrix, user: int) -> NDArray[np.int64]:
    row = int(np.searchsorted(matrix.users, user))
    indptr = matrix.values.indptr
    heard: NDArray[np.int64] = matrix.tracks[matrix.values.indices[indptr[row] : indptr[row + 1]]]
    return heard


def _genres_with_tracks(catalogue: Catalogue) -> NDArray[np.int64]:
    tracks = catalogue.track_genres["track_id"].to_numpy()
    genres: NDArray[np.int64] = np.unique(
        catalogue.track_genres["genre_id"].to_numpy()[np.isin(tracks, catalogue.tracks)]
    )
    return genres


def _unheard(
    heard: NDArray[np.int64],
    ranked: NDArray[np.int64],
    champion: Champion,
    catalogue: Catalogue,
) -> int:
    """How many tracks a list by ALS can choose from; by popularity where ALS has none."""
    known = np.isin(heard, champion.model.tracks).any()
    by_als = _count_unheard(heard, ranked) if known else 0
    return by_als or _count_unheard(heard, catalogue.tracks)


def _least(unheard: int, list_length: int, hidden: int) -> int:
    """How many entries a list has at least from which hidden tracks may have been taken out."""
    return max(min(unheard, list_length) - hidden, 0) if hidden else unheard


def _count_unheard(heard: NDArray[np.int64], candidates: NDArray[np.int64]) -> int:
    return len(candidates) - int(np.isin(heard, candidates).sum())
