"""Makes some of a generation's lists anew, for the checks, by other code than published them.

Users are ranked as those are who are folded in, from one scoring for both kinds of list; similar
tracks by plain products of all factors. What is similar to new releases is made anew in
`fresh_releases.py`. Whether the lists agree is told by `judgements.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.matrix import UserItemMatrix, rows_of, select_users
from moovitamix.recommend.matrix_building import Plays
from moovitamix.recommend.top_n import TopN as Block
from moovitamix.recommend.top_n import rank_scores
from moovitamix.serve.codec import TopN
from moovitamix.serve.fold import Folding, read_known
from moovitamix.serve.rankings import Rankings

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse
    from moovitamix.serve.generations import Kind

RANKED_ANEW = 200

_TRACKS_AT_ONCE = 16
# What single precision loses when rows are weighed alone.
_SAME_VALUE = 1e-4


@dataclass(frozen=True, eq=False, slots=True)
class OwnPlays:
    """What lists with repeats take to rank, beside the matrix.

    Attributes:
        users: int64, ascending: those of whom the warehouse tells what the matrix was made of. What
            came since, late, is not in their lists yet.
        recent: Their plays by the version's blend; None where own plays do not count.
    """

    users: NDArray[np.int64]
    recent: UserItemMatrix | None


def some_of(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """About `RANKED_ANEW` of some ids, evenly spread, in their order."""
    return owners[:: max(1, len(owners) // RANKED_ANEW)]


def read_own_plays(warehouse: Warehouse, folding: Folding, users: NDArray[np.int64]) -> OwnPlays:
    """The own plays of some users of the matrix, up to its day.

    Args:
        warehouse: Knows them.
        folding: Of the version and its matrix.
        users: int64, ascending.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    matrix = folding.matrix
    if not len(users):
        return OwnPlays(users, None)
    with warehouse.connect() as connection:
        known = read_known(connection, users.tolist())
    loaded = Plays(*(column[~known.told] for column in known.plays))
    counted = np.isin(loaded.tracks, matrix.tracks)  # what few users heard may have fallen out
    rows = folding.rows(
        Plays(*(column[counted] for column in loaded)), matrix.as_of, known.feedback
    )
    wanted = select_users(matrix, users).values
    off = abs(rows_of(rows, users, matrix.tracks) - wanted).max(axis=1).toarray().ravel()
    same = off <= _SAME_VALUE * wanted.max(axis=1).toarray().ravel()
    return OwnPlays(users[same], folding.recent(loaded, matrix.as_of, known.feedback))


def users_anew(
    rankings: Rankings, users: NDArray[np.int64], kind: Kind, own: UserItemMatrix | None = None
) -> dict[int, TopN]:
    """The lists of one kind of some users of the matrix, by user.

    Args:
        rankings: Of the generation.
        users: int64, ascending.
        kind: `u` or `r`.
        own: Their own plays by the version's blend; `r` takes them where they count.
    """
    few = replace(rankings.of_users(users), recent=own).of_few()
    return {owner: found for made, block in few if made == kind for owner, found in _each(block)}


def similar_anew(rankings: Rankings, tracks: NDArray[np.int64]) -> dict[int, TopN]:
    """The similar tracks of some tracks of the model, ascending, by track."""
    model = rankings.champion.model
    factors = model.item_factors[np.searchsorted(model.tracks, tracks)]
    return nearest_anew(rankings, tracks, factors)


def nearest_anew(
    rankings: Rankings, tracks: NDArray[np.int64], factors: NDArray[np.float32]
) -> dict[int, TopN]:
    """The tracks of the model that point the way of some tracks most, by track; never itself.

    Args:
        rankings: Of the generation.
        tracks: int64, ascending.
        factors: float32 [tracks, factors], of any length.
    """
    model = rankings.champion.model
    lengths = np.linalg.norm(model.item_factors, axis=1)
    own_lengths = np.linalg.norm(factors, axis=1)
    made: dict[int, TopN] = {}
    for start in range(0, len(tracks), _TRACKS_AT_ONCE):
        part = slice(start, start + _TRACKS_AT_ONCE)
        block = tracks[part]
        with one_thread():
            products = factors[part] @ model.item_factors.T
        products /= np.maximum(own_lengths[part, None] * lengths, np.finfo(np.float32).tiny)
        products[block[:, None] == model.tracks] = -np.inf
        ranked = rank_scores(
            block,
            products,
            model.tracks,
            rankings.list_length,
            exclude=rankings.catalogue.withdrawn,
        )
        made.update(_each(ranked))
    return made


def _each(block: Block) -> list[tuple[int, TopN]]:
    return [
        (int(owner), TopN(tracks[:length], scores[:length]))
        for owner, tracks, scores, length in zip(
            block.ids, block.tracks, block.scores, block.lengths, strict=True
        )
    ]
