"""Fills a generation: every user's top-N, similar tracks, popular tracks, stated favourite genres.

What the lists hold is told in `rankings.py`, how a generation is written safely in `writer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import polars as pl
import redis

from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.recommend.top_n import TopN
from moovitamix.serve.catalogue import Catalogue
from moovitamix.serve.codec import MAX_ENTRIES, encode_block, encode_groups, encode_list
from moovitamix.serve.generations import Generation, Kind
from moovitamix.serve.hides import hide_since
from moovitamix.serve.rankings import Rankings
from moovitamix.serve.writer import GenerationWriter

LIST_LENGTH = 100

_TELL_FROM = 20_000

Tell = Callable[[str], None]


@dataclass(kw_only=True)
class Written:
    """What was written for one asset.

    Attributes:
        keys: How many lists.
        entries: How many entries they hold together.
        bytes: Of the values, keys not counted.
        seconds: Ranking, encoding and writing; the last blocks may still be on their way.
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
        generation: Now current, where that was asked for.
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
    replay: Callable[[Generation], None] = lambda _: None,
    hides_now: Callable[[], pl.DataFrame] | None = None,
    current: bool = True,
) -> Publication:
    """Write a generation in full, verify it, make it current.

    Users with listens in the matrix get their own list: by ALS, their factors folded in from the
    matrix as it is now; by popularity, what they heard left out, where the champion's algorithm
    says so or the model knows none of their tracks. Those whom ALS knows also get a list that may
    repeat what they have heard, by the version's blend. Users without get their stated genres,
    which readers follow to the popular tracks. Withdrawn tracks are in no list, and withdrawn users
    have none of their own. What a user has hidden is in no list of theirs, and noted for those who
    answer by other lists.

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
        replay: Brings lists up to what was told since the matrix was made (`catch_up.py`): called
            before the switch, and again after it, for what was told meanwhile.
        hides_now: Reads what is hidden once all is written: `catalogue` may be older than that.
        current: Whether it is made current; else it is there beside what is, for an experiment.

    Raises:
        NothingToDo: When the matrix was not made as the champion needs it.
        StoreUnavailable: When Redis does not answer or refuses; the old generation stays current.
        IncompleteGeneration: When Redis lost what was written; the old generation stays current.
    """
    if matrix.parameters != champion.matrix_parameters:
        raise NothingToDo(
            f"The matrix was made with {matrix.parameters}, v{champion.version} needs "
            f"{champion.matrix_parameters}. Materialize `user_item_matrix` again: `moovitamix run`."
        )
    rankings = Rankings(
        champion=champion,
        matrix=matrix,
        catalogue=catalogue,
        recent=recent,
        releases=releases,
        list_length=list_length,
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
        lists = _Lists(writer, rankings)
        popular = lists.write_popular()
        tracks = lists.write_similar()
        users, by_tier = lists.write_users(tell)
        repeats = lists.write_repeats()
        by_tier["stated genres"] = lists.write_stated_genres()
        lists.write_hides()

        def bring_up_to_date(generation: Generation) -> None:
            if hides_now is not None:
                hide_since(client, prefix, generation, known=catalogue.hides, now=hides_now())
            replay(generation)

        finish = writer.make_current if current else writer.finish
        generation = finish(bring_up_to_date)
    try:
        replay(generation)
    except StoreUnavailable as error:  # it is there; the API looks for what was missed
        tell(f"Listens told while {generation.name} was finished may be missing: {error}")
    return Publication(
        generation=generation,
        users=users,
        repeats=repeats,
        tracks=tracks,
        popular=popular,
        users_by_tier=by_tier,
    )


class _Lists:
    """Writes the lists of one generation."""

    def __init__(self, writer: GenerationWriter, rankings: Rankings) -> None:
        self._writer = writer
        self._rankings = rankings

    def write_popular(self) -> Written:
        """The most heard tracks, over all and of each genre."""
        with self._measured() as written:
            overall = self._rankings.popular()
            if len(overall):
                tracks, listeners = overall["track_id"].to_numpy(), overall["listeners"].to_numpy()
                self._writer.write_popular_overall(encode_list(tracks, listeners, exact=True))
                written.add(1, len(overall))
            top = self._rankings.popular_of_genres()
            genres, values = encode_groups(
                top["genre_id"].to_numpy(), top["track_id"].to_numpy(), top["listeners"].to_numpy()
            )
            self._writer.write("p", genres, values)
            written.add(len(genres), len(top))
        return written

    def write_similar(self) -> Written:
        """The nearest tracks of each track."""
        with self._measured() as written:
            for block in self._rankings.similar():
                self._write_block("t", block, written)
        return written

    def write_users(self, tell: Tell) -> tuple[Written, dict[str, int]]:
        """The top-N of each user of the matrix; how many by which algorithm."""
        users = len(self._rankings.matrix.users)
        by_tier: dict[str, int] = {"als": 0, "popularity": 0}
        with self._measured() as written:
            for ranked_by, block in self._rankings.users():
                tenths_before = 10 * written.keys // users
                self._write_block("u", block, written)
                by_tier[ranked_by] += len(block.ids)
                if users >= _TELL_FROM and 10 * written.keys // users > tenths_before:
                    rate = written.per_second()
                    tell(f"{written.keys:,} of {users:,} users written, {rate:,.0f} a second")
        return written, by_tier

    def write_repeats(self) -> Written:
        """The top-N of each user whom ALS knows, with what they have heard; none by popularity."""
        with self._measured() as written:
            for block in self._rankings.repeats():
                self._write_block("r", block, written)
        return written

    def write_stated_genres(self) -> int:
        """The stated genres of users without listens in the matrix; how many such users."""
        stated = self._rankings.stated_genres()
        users, values = encode_groups(stated["user_id"].to_numpy(), stated["genre_id"].to_numpy())
        self._writer.write("g", users, values)
        return len(users)

    def write_hides(self) -> None:
        """What users have hidden, of everybody: who has no list here is answered by others."""
        # No value is longer; nobody hides so many by hand.
        hides = self._rankings.hides().group_by("user_id", maintain_order=True).head(MAX_ENTRIES)
        users, values = encode_groups(hides["user_id"].to_numpy(), hides["track_id"].to_numpy())
        self._writer.write("x", users, values)

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
