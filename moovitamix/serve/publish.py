"""Fills a generation: every user's top-N, similar tracks, popular tracks, stated favourite genres.

How lists are ranked is told in `recommend/`, how a generation is written safely in `writer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import redis
from numpy.typing import NDArray

from moovitamix.errors import NothingToDo
from moovitamix.recommend.blend import score_repeats
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.recommend.top_n import TopN, score_users, similar_tracks
from moovitamix.serve.catalogue import Catalogue
from moovitamix.serve.codec import encode_block, encode_groups, encode_list
from moovitamix.serve.generations import Generation, Kind
from moovitamix.serve.popular import rank_by_listeners, top_of_genres, top_unheard
from moovitamix.serve.writer import GenerationWriter

LIST_LENGTH = 100

# Scores of a block in memory at once, at some 12 bytes each: about a quarter of a gigabyte.
_SCORES_AT_ONCE = 20_000_000
_TELL_FROM = 20_000

Tell = Callable[[str], None]


@dataclass(kw_only=True)
class Written:
    """What was written for one asset.

    Attributes:
        keys: How many lists.
        entries: How many entries they hold together.
        bytes: Of the values, keys not counted.
        seconds: Ranking, encoding and writing.
    """

    keys: int = 0
    entries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    began: float = field(default_factory=perf_counter, repr=False)

    def add(self, keys: int, entries: int) -> None:
        """Count some lists."""
        self.keys += keys
        self.entries += entries

    def per_second(self) -> float:
        """Lists a second, so far."""
        return self.keys / max(perf_counter() - self.began, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What a publication has put in the cache.

    Attributes:
        generation: Now current.
        users: Lists of users with listens.
        repeats: Lists of the users whom ALS knows, with what they have heard.
        tracks: Lists of similar tracks.
        popular: Lists by genre, and the one over all.
        users_by_tier: How many users are answered by ALS, by popularity (with what they heard left
            out), and by the genres they have stated.
    """

    generation: Generation
    users: Written
    repeats: Written
    tracks: Written
    popular: Written
    users_by_tier: dict[str, int]


def publish_generation(
    client: redis.Redis,
    prefix: str,
    *,
    champion: Champion,
    matrix: UserItemMatrix,
    catalogue: Catalogue,
    tell: Tell,
    recent: UserItemMatrix | None = None,
    releases: NewReleases | None = None,
    list_length: int = LIST_LENGTH,
) -> Publication:
    """Write a generation in full, verify it, make it current.

    Users with listens in the matrix get their own list: by ALS, their factors folded in from the
    matrix as it is now; by popularity, what they heard left out, where the champion's algorithm
    says so or the model knows none of their tracks. Those whom ALS knows also get a list that may
    repeat what they have heard, by the version's blend. Users without get their stated genres,
    which readers follow to the popular tracks. Withdrawn tracks are in no list, and withdrawn users
    have none of their own.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        champion: Whose lists they are.
        matrix: The current one.
        catalogue: The warehouse's.
        tell: Takes a line of progress; called only when there are many users.
        recent: The users' late plays, by `champion.blend.recent`; None where they do not count.
        releases: What has places of its own in the lists by ALS, nothing withdrawn; None: nothing.
        list_length: N.

    Raises:
        NothingToDo: When the matrix was not made as the champion needs it.
        StoreUnavailable: When Redis does not answer or refuses; the old generation stays current.
        IncompleteGeneration: When Redis lost what was written; the old generation stays current.
    """
    if matrix.parameters != champion.matrix_parameters:
        raise NothingToDo(
            f"The current matrix was made with {matrix.parameters}, v{champion.version} needs "
            f"{champion.matrix_parameters}. Materialize `user_item_matrix` again: `moovitamix run`."
        )
    with GenerationWriter(
        client,
        prefix,
        model_version=champion.version,
        algorithm=champion.algorithm,
        as_of=matrix.as_of,
        matrix_fingerprint=matrix.fingerprint,
        list_length=list_length,
    ) as writer:
        lists = _Lists(writer, champion, matrix, catalogue, releases, list_length)
        popular = lists.write_popular()
        tracks = lists.write_similar()
        users, by_tier = lists.write_users(tell)
        repeats = lists.write_repeats(recent)
        by_tier["stated genres"] = lists.write_stated_genres()
        generation = writer.make_current()
    return Publication(
        generation=generation,
        users=users,
        repeats=repeats,
        tracks=tracks,
        popular=popular,
        users_by_tier=by_tier,
    )


class _Lists:
    """Ranks and writes the lists of one generation."""

    def __init__(
        self,
        writer: GenerationWriter,
        champion: Champion,
        matrix: UserItemMatrix,
        catalogue: Catalogue,
        releases: NewReleases | None,
        n: int,
    ) -> None:
        self._writer = writer
        self._champion = champion
        self._matrix = matrix
        self._catalogue = catalogue
        self._releases = releases
        self._n = n
        self._ranked = rank_by_listeners(matrix, catalogue)
        self._ranked_ids = self._ranked["track_id"].to_numpy()
        self._ranked_listeners = self._ranked["listeners"].to_numpy()
        tracks = max(1, len(champion.model.tracks))
        self._block_rows = int(np.clip(_SCORES_AT_ONCE // tracks, 16, 4_096))

    def write_popular(self) -> Written:
        """The most heard tracks, over all and of each genre."""
        with self._measured() as written:
            if len(self._ranked):
                overall = encode_list(
                    self._ranked_ids[: self._n], self._ranked_listeners[: self._n], exact=True
                )
                self._writer.write_popular_overall(overall)
                written.add(1, min(self._n, len(self._ranked)))
            top = top_of_genres(self._ranked, self._catalogue.track_genres, self._n)
            genres, values = encode_groups(
                top["genre_id"].to_numpy(), top["track_id"].to_numpy(), top["listeners"].to_numpy()
            )
            self._writer.write("p", genres, values)
            written.add(len(genres), len(top))
        return written

    def write_similar(self) -> Written:
        """The nearest tracks of the model: of each of its tracks, and of each new release."""
        with self._measured() as written:
            for block in similar_tracks(
                self._champion.model,
                self._n,
                exclude=self._catalogue.withdrawn,
                block_rows=self._block_rows,
            ):
                self._write_block("t", block, written)
            if self._releases is not None:
                model, withdrawn = self._champion.model, self._catalogue.withdrawn
                block = self._releases.similar(model, self._n, exclude=withdrawn)
                self._write_block("t", block, written)
        return written

    def write_users(self, tell: Tell) -> tuple[Written, dict[str, int]]:
        """The top-N of each user of the matrix; how many by which algorithm."""
        by_als = self._champion.algorithm == "als"
        blocks = self._blocks_by_als() if by_als else self._blocks_of_nothing()
        users, by_popularity = len(self._matrix.users), 0
        with self._measured() as written:
            for scored in blocks:
                block = _rows(scored, np.flatnonzero(~self._are_withdrawn(scored.ids)))
                cold = np.flatnonzero(block.lengths == 0)
                self._write_block("u", _rows(block, np.flatnonzero(block.lengths)), written)
                if len(cold):
                    self._write_block("u", self._by_popularity(block.ids[cold]), written)
                    by_popularity += len(cold)
                tenths_before = 10 * (written.keys - len(block.ids)) // users
                if users >= _TELL_FROM and 10 * written.keys // users > tenths_before:
                    rate = written.per_second()
                    tell(f"{written.keys:,} of {users:,} users written, {rate:,.0f} a second")
        return written, {"als": written.keys - by_popularity, "popularity": by_popularity}

    def write_repeats(self, recent: UserItemMatrix | None) -> Written:
        """The top-N of each user whom ALS knows, with what they have heard; none by popularity."""
        with self._measured() as written:
            if self._champion.algorithm == "als":
                for scored in score_repeats(
                    self._champion.model,
                    self._matrix,
                    self._champion.blend,
                    recent,
                    self._n,
                    exclude=self._catalogue.withdrawn,
                    releases=self._releases,
                    block_rows=self._block_rows,
                ):
                    kept = (scored.lengths > 0) & ~self._are_withdrawn(scored.ids)
                    self._write_block("r", _rows(scored, np.flatnonzero(kept)), written)
        return written

    def write_stated_genres(self) -> int:
        """The stated genres of users without listens in the matrix; how many such users."""
        stated = self._catalogue.favorite_genres
        everyone = stated["user_id"].to_numpy()
        without = ~np.isin(everyone, self._matrix.users) & ~self._are_withdrawn(everyone)
        owners = everyone[without]
        genres = stated["genre_id"].to_numpy()[without]
        users, values = encode_groups(owners, genres)
        self._writer.write("g", users, values)
        return len(users)

    def _are_withdrawn(self, users: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(users, self._catalogue.withdrawn_users)

    def _blocks_by_als(self) -> Iterator[TopN]:
        return score_users(
            self._champion.model,
            self._matrix,
            self._n,
            exclude=self._catalogue.withdrawn,
            releases=self._releases,
            block_rows=self._block_rows,
        )

    def _blocks_of_nothing(self) -> Iterator[TopN]:
        """Empty lists, to be filled by popularity as those of users whom ALS does not know."""
        for start in range(0, len(self._matrix.users), self._block_rows):
            users = self._matrix.users[start : start + self._block_rows]
            nothing = np.zeros((len(users), 0))
            yield TopN(
                users,
                nothing.astype(np.int64),
                nothing.astype(np.float32),
                np.zeros(len(users), np.int64),
            )

    def _by_popularity(self, users: NDArray[np.int64]) -> TopN:
        """What most users heard and these did not; their own listens count too."""
        n = min(self._n, len(self._ranked))
        tracks = np.zeros((len(users), n), dtype=np.int64)
        scores = np.zeros((len(users), n), dtype=np.float32)
        lengths = np.zeros(len(users), dtype=np.int64)
        indptr, indices = self._matrix.values.indptr, self._matrix.values.indices
        for place, row in enumerate(np.searchsorted(self._matrix.users, users)):
            heard = self._matrix.tracks[indices[indptr[row] : indptr[row + 1]]]
            best = top_unheard(self._ranked_ids, heard, n)
            lengths[place] = len(best)
            tracks[place, : len(best)] = self._ranked_ids[best]
            scores[place, : len(best)] = self._ranked_listeners[best]
        return TopN(users, tracks, scores, lengths)

    def _write_block(self, kind: Kind, block: TopN, written: Written) -> None:
        values = encode_block(block.tracks, block.scores, block.lengths)
        self._writer.write(kind, block.ids, values)
        written.add(len(block.ids), int(block.lengths.sum()))

    @contextmanager
    def _measured(self) -> Iterator[Written]:
        written = Written()
        bytes_before = self._writer.bytes_written
        yield written
        written.seconds = perf_counter() - written.began
        written.bytes = self._writer.bytes_written - bytes_before


def _rows(block: TopN, rows: NDArray[np.intp]) -> TopN:
    return TopN(block.ids[rows], block.tracks[rows], block.scores[rows], block.lengths[rows])
