"""The lists of a generation, in blocks: what is ranked for whom, by which rule.

The rules themselves are `recommend/`'s and `popular.py`'s; where lists go is told in `publish.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.blend import score_repeats
from moovitamix.recommend.both_lists import score_both
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.left_out import LeftOut
from moovitamix.recommend.matrix import UserItemMatrix, select_users
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.recommend.top_n import TopN, score_users, similar_tracks
from moovitamix.serve.catalogue import Catalogue
from moovitamix.serve.popular import rank_by_listeners, top_of_genres, top_unheard

if TYPE_CHECKING:
    from moovitamix.serve.generations import Kind

# Scores of a block in memory at once, at some 12 bytes each: about a quarter of a gigabyte.
_SCORES_AT_ONCE = 20_000_000

RankedBy = Literal["als", "popularity"]


@dataclass(frozen=True, kw_only=True)
class Rankings:
    """What is in the lists of a generation; computed when asked for, a block at a time.

    Attributes:
        champion: Whose lists they are.
        matrix: Whom lists are for, and what they have heard.
        catalogue: What can be played.
        recent: The users' late plays, by `champion.blend.recent`; None where they do not count.
        releases: What has places of its own in the lists by ALS, nothing withdrawn; None: nothing.
        list_length: N.
        ranked: As `rank_by_listeners` returns it; of the whole matrix, also for some of its users.
    """

    champion: Champion
    matrix: UserItemMatrix
    catalogue: Catalogue
    recent: UserItemMatrix | None = None
    releases: NewReleases | None = None
    list_length: int
    ranked: pl.DataFrame = field(default_factory=pl.DataFrame)
    _hidden: LeftOut = field(init=False)

    def __post_init__(self) -> None:
        if self.ranked.is_empty():
            object.__setattr__(self, "ranked", rank_by_listeners(self.matrix, self.catalogue))
        object.__setattr__(self, "_hidden", LeftOut.of(self.catalogue.hides))

    def of_users(self, users: NDArray[np.int64]) -> Rankings:
        """The same for some users of the matrix alone, int64 ascending."""
        return replace(self, matrix=select_users(self.matrix, users))

    def users(self) -> Iterator[tuple[RankedBy, TopN]]:
        """The lists of what is new to its user, and what ranks them.

        By ALS where that is the champion's algorithm and the model knows some of the user's tracks;
        else by popularity, without what they heard. Withdrawn users have none.
        """
        for scored in self._by_als() if self._als else self._nothing():
            yield from self._or_popular(scored)

    def repeats(self) -> Iterator[TopN]:
        """The lists that may repeat what was heard, of users whom ALS knows."""
        if not self._als:
            return
        for scored in score_repeats(
            self.champion.model,
            self.matrix,
            self.champion.blend,
            self.recent,
            self.list_length,
            exclude=self.catalogue.withdrawn,
            releases=self.releases,
            left_out=self._hidden,
            block_rows=self._block_rows,
        ):
            yield self._of_known(scored)

    def of_few(self) -> Iterator[tuple[Kind, TopN]]:
        """The lists of `users` and of `repeats`, for users that are folded in: scored once."""
        if not self._als:
            yield from (("u", block) for _, block in self.users())
            return
        for fresh, repeated in score_both(
            self.champion.model,
            self.matrix,
            self.champion.blend,
            self.recent,
            self.list_length,
            exclude=self.catalogue.withdrawn,
            releases=self.releases,
            left_out=self._hidden,
            block_rows=self._block_rows,
        ):
            yield from (("u", block) for _, block in self._or_popular(fresh))
            yield "r", self._of_known(repeated)

    def similar(self) -> Iterator[TopN]:
        """The nearest tracks of the model: of each of its tracks, and of each new release."""
        model, withdrawn = self.champion.model, self.catalogue.withdrawn
        yield from similar_tracks(
            model, self.list_length, exclude=withdrawn, block_rows=self._block_rows
        )
        if self.releases is not None:
            yield self.releases.similar(model, self.list_length, exclude=withdrawn)

    def popular(self) -> pl.DataFrame:
        """The most heard tracks: `track_id`, `listeners`."""
        return self.ranked.head(self.list_length)

    def popular_of_genres(self) -> pl.DataFrame:
        """The same of each genre; see `top_of_genres`."""
        return top_of_genres(self.ranked, self.catalogue.track_genres, self.list_length)

    def stated_genres(self) -> pl.DataFrame:
        """`user_id`, `genre_id`, ascending: what users have stated who have no listens here."""
        stated = self.catalogue.favorite_genres
        users = stated["user_id"].to_numpy()
        without = ~np.isin(users, self.matrix.users) & ~self._withdrawn(users)
        return stated.filter(pl.Series(without, dtype=pl.Boolean))

    def hides(self) -> pl.DataFrame:
        """`user_id`, `track_id`, ascending: what no answer to a user may hold, whoever they are."""
        return self.catalogue.hides

    @property
    def _als(self) -> bool:
        return self.champion.algorithm == "als"

    @property
    def _block_rows(self) -> int:
        tracks = max(1, len(self.champion.model.tracks))
        return int(np.clip(_SCORES_AT_ONCE // tracks, 16, 4_096))

    def _withdrawn(self, users: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(users, self.catalogue.withdrawn_users)

    def _or_popular(self, scored: TopN) -> Iterator[tuple[RankedBy, TopN]]:
        """Scored lists, and in the place of empty ones those by popularity."""
        block = _rows(scored, np.flatnonzero(~self._withdrawn(scored.ids)))
        cold = np.flatnonzero(block.lengths == 0)
        yield "als", _rows(block, np.flatnonzero(block.lengths))
        if len(cold):
            yield "popularity", self._by_popularity(block.ids[cold])

    def _of_known(self, scored: TopN) -> TopN:
        kept = (scored.lengths > 0) & ~self._withdrawn(scored.ids)
        return _rows(scored, np.flatnonzero(kept))

    def _by_als(self) -> Iterator[TopN]:
        return score_users(
            self.champion.model,
            self.matrix,
            self.list_length,
            exclude=self.catalogue.withdrawn,
            releases=self.releases,
            left_out=self._hidden,
            block_rows=self._block_rows,
        )

    def _nothing(self) -> Iterator[TopN]:
        """Empty lists, to be filled by popularity as those of users whom ALS does not know."""
        for start in range(0, len(self.matrix.users), self._block_rows):
            users = self.matrix.users[start : start + self._block_rows]
            nothing = np.zeros((len(users), 0))
            yield TopN(
                users,
                nothing.astype(np.int64),
                nothing.astype(np.float32),
                np.zeros(len(users), np.int64),
            )

    def _by_popularity(self, users: NDArray[np.int64]) -> TopN:
        """What most users heard and these neither did nor hid; their own listens count too."""
        ranked = self.ranked["track_id"].to_numpy()
        listeners = self.ranked["listeners"].to_numpy()
        n = min(self.list_length, len(ranked))
        tracks = np.zeros((len(users), n), dtype=np.int64)
        scores = np.zeros((len(users), n), dtype=np.float32)
        lengths = np.zeros(len(users), dtype=np.int64)
        indptr, indices = self.matrix.values.indptr, self.matrix.values.indices
        for place, row in enumerate(np.searchsorted(self.matrix.users, users)):
            heard = self.matrix.tracks[indices[indptr[row] : indptr[row + 1]]]
            unwanted = np.union1d(heard, self._hidden.of_user(int(users[place])))
            best = top_unheard(ranked, unwanted, n)
            lengths[place] = len(best)
            tracks[place, : len(best)] = ranked[best]
            scores[place, : len(best)] = listeners[best]
        return TopN(users, tracks, scores, lengths)


def _rows(block: TopN, rows: NDArray[np.intp]) -> TopN:
    return TopN(block.ids[rows], block.tracks[rows], block.scores[rows], block.lengths[rows])
