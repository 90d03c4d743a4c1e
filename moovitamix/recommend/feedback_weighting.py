"""What skips and hides take from the value of what was played.

How plays become values is told in `matrix_building.py`. What is hidden is left out of the user's
lists by `left_out.py`, whether or not it was ever played.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.matrix import HIDE, SKIP, MatrixParameters, end_of
from moovitamix.recommend.weighting import worth

_PAIR = ["user_id", "track_id"]


def share_left(
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    plays: NDArray[np.int64],
    feedback: pl.DataFrame,
    parameters: MatrixParameters,
    as_of: date,
) -> NDArray[np.float64]:
    """What is left of the values of pairs: p / (p + w · s) of p plays and s skips, 0 when hidden.

    Skips age like plays. A share rather than a factor a skip: who played a track a hundred times
    and skipped it three times likes it still, who played it once does not. A skip of what was never
    played has no pair to take from.

    Args:
        users: int64 [pairs].
        tracks: int64 [pairs].
        plays: int64 [pairs], in fixed point, above 0: see `weighting.worth`.
        feedback: Skips and hides in any order; see `matrix.WITH_FEEDBACK`. Skips outside the
            window of plays are left out; a hide counts until it is taken back.
        parameters: Weight of a skip, decay and window.
        as_of: From whose end the age is counted; what came later is left out.

    Returns:
        [pairs], from 0 to 1.
    """
    until = end_of(as_of)
    known = feedback.filter(pl.col("listened_at") < until)
    counted = pl.col("kind") == SKIP
    if parameters.window_days is not None:
        counted &= pl.col("listened_at") >= until - timedelta(days=parameters.window_days)
    skips = (
        known.filter(counted)
        .select(*_PAIR, skipped=worth(parameters.half_life_days, until))
        .group_by(_PAIR)
        .agg(pl.col("skipped").sum())
    )
    hidden = known.filter(pl.col("kind") == HIDE).select(*_PAIR, hidden=True).unique()
    pairs = (
        pl.DataFrame({"user_id": users, "track_id": tracks})
        .join(skips, on=_PAIR, how="left", maintain_order="left")
        .join(hidden, on=_PAIR, how="left", maintain_order="left")
    )
    skipped = parameters.skip_weight * pairs["skipped"].fill_null(0).to_numpy()
    left: NDArray[np.float64] = plays / (plays + skipped)
    left[pairs["hidden"].fill_null(value=False).to_numpy()] = 0
    return left
