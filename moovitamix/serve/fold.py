"""Makes users' lists anew from all that is known of them now, by the factors of one version.

It is the rule by which generations are published (`rankings.py`), on rows that are made of the
plays that were loaded and of those that the app has told since. When that is done, and for whom, is
told in `catch_up.py`; how lists get into a generation, in `replacing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from moovitamix.errors import NothingToDo
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import HIDE, PLAY, SKIP, WITH_FEEDBACK, UserItemMatrix
from moovitamix.recommend.matrix_building import Plays, build_rows
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.recommend.top_n import TopN
from moovitamix.recommend.weighting import Statistics, listeners_of
from moovitamix.serve.catalogue import Catalogue, read_catalogue, read_wanted_releases
from moovitamix.serve.codec import encode_block, encode_groups
from moovitamix.serve.popular import rank_by_listeners
from moovitamix.serve.rankings import Rankings
from moovitamix.serve.replacing import NewList
from moovitamix.warehouse.feedback import PAIRS

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse
    from moovitamix.serve.generations import Kind

# What a row of `_KNOWN` is; the first are those of `matrix.WITH_FEEDBACK`.
_TOLD, _MARK = 3, 4

# One statement, one snapshot: a mark is never newer than the plays that are read with it. A play
# that was told and then pulled is in both tables, and is one.
_KNOWN = f"""
SELECT user_id, track_id, (extract(epoch FROM listened_at) * 1000000)::bigint, {PLAY}
FROM listen_history WHERE user_id = ANY(%(users)s)
UNION ALL
SELECT user_id, track_id, (extract(epoch FROM listened_at) * 1000000)::bigint, {_TOLD}
FROM activity a WHERE user_id = ANY(%(users)s) AND NOT EXISTS (
    SELECT FROM listen_history h
    WHERE h.user_id = a.user_id AND h.recorded_at = a.recorded_at
      AND h.track_id = a.track_id AND h.nth = a.nth)
UNION ALL
SELECT user_id, track_id, (extract(epoch FROM at) * 1000000)::bigint, {SKIP}
FROM feedback WHERE user_id = ANY(%(users)s) AND kind = 'skip'
UNION ALL
SELECT user_id, track_id, (extract(epoch FROM hidden_at) * 1000000)::bigint, {HIDE}
FROM hides WHERE user_id = ANY(%(users)s)
UNION ALL
SELECT user_id, mark, 0, {_MARK} FROM activity_marks WHERE user_id = ANY(%(users)s)
"""  # noqa: S608 - numbers of ours


class Known(NamedTuple):
    """What is known of some users at one moment.

    Attributes:
        plays: All of theirs, loaded or not.
        told: bool, of each play: not loaded yet.
        marks: By user: how much this is; users without activity are not in it.
        feedback: Skips and hides, as `matrix.WITH_FEEDBACK`; None: there are none.
    """

    plays: Plays
    told: NDArray[np.bool_]
    marks: dict[int, int]
    feedback: pl.DataFrame | None = None

    def hides(self) -> pl.DataFrame:
        """`user_id`, `track_id`: what no list of the user may hold."""
        if self.feedback is None:
            return pl.DataFrame(schema=PAIRS)
        return self.feedback.filter(pl.col("kind") == HIDE).select(PAIRS.names())


def read_known(connection: psycopg.Connection, users: Sequence[int]) -> Known:
    """All plays of some users, their skips and hides, and their marks, in one statement."""
    rows = connection.execute(_KNOWN, {"users": list(users)}).fetchall()
    found = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
    kinds = found[:, 3]
    plays = found[(kinds == PLAY) | (kinds == _TOLD)]
    said = found[(kinds == SKIP) | (kinds == HIDE)]
    return Known(
        Plays(plays[:, 0].copy(), plays[:, 1].copy(), plays[:, 2].copy()),
        plays[:, 3] == _TOLD,
        dict(found[kinds == _MARK, :2].tolist()),
        pl.DataFrame(said, schema=WITH_FEEDBACK.names()).cast(WITH_FEEDBACK) if len(said) else None,
    )


@dataclass(frozen=True, kw_only=True)
class Folding:
    """What all users share who are folded in by one version; may be used by several threads.

    Attributes:
        champion: The version.
        matrix: The current one, made as the version needs it: what is popular, and what a weighting
            knows of all users.
        statistics: Of that matrix.
        catalogue: What may be served.
        releases: What has places of its own in the lists by ALS, nothing withdrawn; None: nothing.
        ranked: As `rank_by_listeners` returns it.
    """

    champion: Champion
    matrix: UserItemMatrix
    statistics: Statistics
    catalogue: Catalogue
    releases: NewReleases | None
    ranked: pl.DataFrame

    @classmethod
    def prepare(
        cls,
        champion: Champion,
        matrix: UserItemMatrix,
        catalogue: Catalogue,
        releases: NewReleases | None,
    ) -> Folding:
        """Work out what all users share.

        Raises:
            NothingToDo: When the matrix was not made as the version needs it, or does not tell what
                its weighting needs.
        """
        if matrix.parameters != champion.matrix_parameters or not matrix.tells_mean:
            raise NothingToDo(
                f"The current matrix was not made as v{champion.version} needs it. "
                "Materialize `user_item_matrix` again: `moovitamix run`."
            )
        return cls(
            champion=champion,
            matrix=matrix,
            statistics=Statistics(
                len(matrix.users), listeners_of(matrix.values), matrix.mean_plays
            ),
            catalogue=catalogue,
            releases=releases,
            ranked=rank_by_listeners(matrix, catalogue),
        )

    def rows(
        self, plays: Plays, today: date, feedback: pl.DataFrame | None = None
    ) -> UserItemMatrix:
        """The rows of some users, as the matrix will have them when today is over.

        Args:
            plays: All of theirs.
            today: In UTC.
            feedback: Their skips and hides, as `matrix.WITH_FEEDBACK`; None: there are none.
        """
        return build_rows(
            plays,
            self.champion.matrix_parameters,
            max(today, self.matrix.as_of),
            self.matrix.tracks,
            self.statistics,
            feedback,
        )

    def lists(self, known: Known, now: datetime, list_length: int) -> list[NewList]:
        """The lists of the users of whom anything is known.

        Args:
            known: Of them.
            now: With a zone; plays of tomorrow, by a clock that is ahead, count as of today.
            list_length: N.
        """
        today = now.astimezone(UTC).date()
        moment = round(now.timestamp() * 1e6)
        plays = known.plays._replace(listened_at=np.minimum(known.plays.listened_at, moment))
        rows = self.rows(plays, today, known.feedback)
        rankings = Rankings(
            champion=self.champion,
            matrix=rows,
            catalogue=replace(self.catalogue, hides=known.hides()),
            recent=self.recent(plays, rows.as_of, known.feedback),
            releases=self.releases,
            list_length=list_length,
            ranked=self.ranked,
        )
        lists = [
            made for kind, block in rankings.of_few() for made in _encoded(kind, block, known.marks)
        ]
        return lists + _since(known, self.matrix.as_of)

    def recent(
        self, plays: Plays, as_of: date, feedback: pl.DataFrame | None
    ) -> UserItemMatrix | None:
        """Own plays by the version's blend, as of a day; None where they do not count.

        Args:
            plays: All of the users'.
            as_of: From whose end the age of a play is counted.
            feedback: As of `rows`: skips take from what is played here too.
        """
        blend = self.champion.blend
        if self.champion.algorithm != "als" or not blend.own_plays:
            return None
        none = Statistics(0, np.empty(0, np.int64), None)  # its weighting asks for nothing
        return build_rows(plays, blend.recent, as_of, np.empty(0, np.int64), none, feedback)


def load_folding(
    warehouse: Warehouse, champion: Champion, matrix: UserItemMatrix
) -> Folding | None:
    """What is needed to fold users in by a version, as the stores have it now; None: cannot be.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    catalogue = read_catalogue(warehouse)
    releases = read_wanted_releases(warehouse, champion, matrix, catalogue.withdrawn)
    try:
        return Folding.prepare(champion, matrix, catalogue, releases)
    except NothingToDo:
        return None


def _encoded(kind: Kind, block: TopN, marks: dict[int, int]) -> list[NewList]:
    values = encode_block(block.tracks, block.scores, block.lengths)
    users = block.ids.tolist()
    return [
        NewList(kind, user, value, marks.get(user, 0))
        for user, value in zip(users, values, strict=True)
    ]


def _since(known: Known, as_of: date) -> list[NewList]:
    """What was heard although a matrix as of a day does not know it, loaded since then or not."""
    over = datetime.combine(as_of + timedelta(days=1), time(), UTC)
    new = known.told | (known.plays.listened_at >= round(over.timestamp() * 1e6))
    if not new.any():
        return []
    pairs = np.unique(np.stack((known.plays.users[new], known.plays.tracks[new]), axis=1), axis=0)
    owners, values = encode_groups(pairs[:, 0], pairs[:, 1])
    return [
        NewList("h", user, value, known.marks.get(user, 0))
        for user, value in zip(owners.tolist(), values, strict=True)
    ]
