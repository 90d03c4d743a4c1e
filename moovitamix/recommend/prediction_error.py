"""The error of predicted preferences, RMSE, as people ask for it. It decides nothing.

How it is defined, and why a better ranking may have a worse one, is told in docs/model.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.matrix import UserItemMatrix, rows_of
from moovitamix.recommend.metrics import Figure, mean_figures
from moovitamix.recommend.rankers import Audience, Contender

ALL_ZEROS = "all zeros"

_ROUNDS = 20  # of drawing; a cell that is heard each time is given up
_PAIRS_AT_ONCE = 100_000


def rmse(
    audience: Audience,
    models: Mapping[str, Contender],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    plays: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Figure]:
    """sqrt(Σ w (p - x·y)² / Σ w), over what was discovered and as many cells that were not heard.

    p is 1 for a discovered pair and 0 for an unheard cell. A discovered pair weighs
    log2(1 + plays): one play weighs 1, as an unheard cell does. Unheard cells are drawn anew for
    each user, evenly over the tracks that the user has heard neither before nor after the cut-off.
    They depend on the seed alone: all models are asked for the same cells.

    Args:
        audience: Users and catalogue.
        models: By name: whose preferences, those of ALS alone.
        rows: Of each discovered pair: which user of the audience.
        columns: Of each discovered pair: which track of the catalogue.
        plays: Of each discovered pair: how often it was heard in the future.
        resamples: Of the bootstrap over users.
        seed: Of cells and bootstrap.

    Returns:
        By name of the model, and for "all zeros", which predicts 0 for everything.
    """
    none_rows, none_columns = _unheard(audience, rows, columns, seed)
    of = np.concatenate([rows, none_rows])
    track = np.concatenate([columns, none_columns])
    preference = np.repeat([1.0, 0.0], [len(rows), len(none_rows)])
    weight = np.concatenate([np.log2(1 + plays), np.ones(len(none_rows))])
    users, place = np.unique(of, return_inverse=True)
    total = np.bincount(place, weights=weight)
    errors = {ALL_ZEROS: preference**2}
    for name, contender in models.items():
        predicted = _predicted(audience, contender.model, contender.plays, of, track)
        errors[name] = (preference - predicted) ** 2
    by_user = [
        np.bincount(place, weights=weight * error, minlength=len(users)) / total
        for error in errors.values()
    ]
    squares = mean_figures(
        np.column_stack(by_user),
        weights=np.repeat(total[:, None], len(errors), axis=1),
        resamples=resamples,
        seed=seed,
    )
    return {
        name: Figure(*np.sqrt([square.value, square.low, square.high]).tolist())
        for name, square in zip(errors, squares, strict=True)
    }


def _unheard(
    audience: Audience, rows: NDArray[np.int64], columns: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pair a cell of the same user that was never heard."""
    width = len(audience.past.tracks)
    heard = audience.heard.values
    owners = np.repeat(np.arange(heard.shape[0]), np.diff(heard.indptr))
    taken = np.concatenate([owners * width + heard.indices, rows * width + columns])
    chance = np.random.default_rng(seed)
    order = np.lexsort((columns, rows))
    cells = np.full(len(rows), -1, dtype=np.int64)
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(cells < 0)
        drawn = rows[order][open_] * width + chance.integers(0, width, len(open_))
        cells[open_] = np.where(np.isin(drawn, taken), -1, drawn)
    cells = cells[cells >= 0]
    return cells // width, cells % width


def _predicted(
    audience: Audience,
    model: AlsModel,
    past: UserItemMatrix,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """x·y of pairs; 0 for a track that the model does not know."""
    users = model.solve_users(rows_of(past, audience.heard.users, model.tracks))
    wanted = audience.past.tracks[columns]
    place = np.minimum(np.searchsorted(model.tracks, wanted), len(model.tracks) - 1)
    known = model.tracks[place] == wanted
    found = np.zeros(len(rows))
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        found[part] = np.einsum("ij,ij->i", users[rows[part]], model.item_factors[place[part]])
    return np.where(known, found, 0)
