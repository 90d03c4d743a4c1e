"""The lists of each ranker that an evaluation compares, as positions in one catalogue.

What is measured on them is told in `comparison.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.blend import BlendParameters, blended, preferences
from moovitamix.recommend.matrix import UserItemMatrix, in_columns, rows_of
from moovitamix.recommend.popularity import listeners, score_popular
from moovitamix.recommend.top_n import TopN, rank, rank_scores

Task = Literal["discovery", "replay"]
TASKS: tuple[Task, Task] = ("discovery", "replay")

CANDIDATE = "candidate"
CHAMPION = "champion"
PRODUCTION = "production"
POPULARITY = "popularity"
ITEM_ITEM = "item-item"
EASE = "ease"
OWN_PLAYS = "own plays"

# Scores in memory at once, at some 12 bytes each: about a quarter of a gigabyte.
_SCORES_AT_ONCE = 20_000_000

# By task the lists of the judged users: [users, n] positions in the catalogue, best first; -1
# where a list has ended.
Lists = dict[Task, NDArray[np.int64]]


@dataclass(frozen=True, eq=False, slots=True)
class Audience:
    """Whose lists are asked for, over which catalogue.

    Attributes:
        past: All plays of the past, of everybody: its tracks are the catalogue.
        heard: The rows of the users that are judged by: left out of discovery.
        tasks: Which lists are asked for.
        n: Their length.
    """

    past: UserItemMatrix
    heard: UserItemMatrix
    tasks: Sequence[Task]
    n: int

    def blocks(self) -> Iterator[slice]:
        """The judged users in blocks whose scores fit into memory."""
        users = len(self.heard.users)
        rows = max(16, _SCORES_AT_ONCE // max(1, len(self.past.tracks)))
        return (slice(start, start + rows) for start in range(0, users, rows))


@dataclass(frozen=True, eq=False, slots=True)
class Contender:
    """A model with what it ranks by.

    Attributes:
        model: Any.
        plays: The plays of the past, made as the model needs them.
        blend: What counts beside the model where repeats are allowed.
        recent: Own plays of the past by `blend.recent`; None where they do not count.
    """

    model: AlsModel
    plays: UserItemMatrix
    blend: BlendParameters
    recent: UserItemMatrix | None


def by_model(audience: Audience, contender: Contender) -> Lists:
    """By ALS, factors folded in from the plays of the past; in replay by the version's blend."""
    users, model = audience.heard.users, contender.model
    values = rows_of(contender.plays, users, model.tracks)
    heard = in_columns(audience.heard, model.tracks)
    foreign = np.setdiff1d(model.tracks, audience.past.tracks)
    exclude = foreign if len(foreign) else None
    recent = contender.recent
    own = None if recent is None else rows_of(recent, users, model.tracks)

    def ranked(task: Task) -> Iterator[TopN]:
        for rows in audience.blocks():
            if task == "replay" and own is not None:
                affinity = preferences(model, values[rows])
                scores = blended(affinity, own[rows], contender.blend)
                block = rank_scores(users[rows], scores, model.tracks, audience.n, exclude=exclude)
            else:
                block = rank(
                    users[rows],
                    model.solve_users(values[rows]),
                    model.item_factors,
                    model.tracks,
                    audience.n,
                    leave_out=heard[rows] if task == "discovery" else None,
                    exclude=exclude,
                )
            block.lengths[np.diff(values[rows].indptr) == 0] = 0
            yield block

    return {task: _positions(audience, ranked(task)) for task in audience.tasks}


def by_popularity(audience: Audience) -> Lists:
    """By how many users had heard a track."""
    counts = listeners(audience.past)
    return {
        task: _positions(
            audience,
            score_popular(audience.heard, audience.n, counts=counts, repeats=task == "replay"),
        )
        for task in audience.tasks
    }


def by_similar_tracks(audience: Audience, similar: csr_matrix) -> Lists:
    """By the similarities of what a user had heard, weighted by plays; see `neighbours.py`."""
    values = audience.heard.values

    def scores(rows: slice) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (values[rows] @ similar).toarray()
        return np.where(found > 0, found, np.float32(-np.inf))

    return by_scores(audience, scores)


def by_ease(audience: Audience, weights: NDArray[np.float32]) -> Lists:
    """By EASE's weights; see `ease.py`."""
    heard = audience.heard.values.copy()
    heard.data[:] = 1

    def scores(rows: slice) -> NDArray[np.float32]:
        with one_thread():
            found: NDArray[np.float32] = heard[rows] @ weights
        return found

    return by_scores(audience, scores)


def by_own_plays(audience: Audience, decayed: UserItemMatrix) -> Lists:
    """By the user's own plays, the latest of which count most; nothing else is in the lists."""
    values = rows_of(decayed, audience.heard.users, audience.past.tracks)

    def scores(rows: slice) -> NDArray[np.float32]:
        found: NDArray[np.float32] = values[rows].toarray()
        return np.where(found > 0, found, np.float32(-np.inf))

    return by_scores(audience, scores)


def by_scores(audience: Audience, scores: Callable[[slice], NDArray[np.float32]]) -> Lists:
    """By scores of the whole catalogue, computed once for all tasks.

    Args:
        audience: Whose lists.
        scores: Of some of the judged users: float32 [rows, catalogue].
    """
    ranked: dict[Task, list[TopN]] = {task: [] for task in audience.tasks}
    for rows in audience.blocks():
        block = scores(rows)
        for task, found in ranked.items():
            found.append(
                rank_scores(
                    audience.heard.users[rows],
                    block,
                    audience.past.tracks,
                    audience.n,
                    leave_out=audience.heard.values[rows] if task == "discovery" else None,
                )
            )
    return {task: _positions(audience, found) for task, found in ranked.items()}


def _positions(audience: Audience, blocks: Iterable[TopN]) -> NDArray[np.int64]:
    found = []
    for block in blocks:
        columns = np.searchsorted(audience.past.tracks, block.tracks)
        ended = np.arange(columns.shape[1]) >= block.lengths[:, None]
        filled = np.full((len(columns), audience.n), -1, dtype=np.int64)
        filled[:, : columns.shape[1]] = np.where(ended, -1, columns)
        found.append(filled)
    return np.concatenate(found)
