"""Factors that the checks make of artist and genres are those that lists are published by."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.recommend.als import AlsModel, AlsParameters
from moovitamix.recommend.attribute_factors import AttributeFactors
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.serve.fresh_releases import made_factors

WIDTH = 5
ATTRIBUTES = st.tuples(
    st.sampled_from([None, "ann", "bo", "cy", "di"]),
    st.sets(st.sampled_from(["folk", "jazz", "pop", "rock"]), max_size=3).map(sorted),
)


def model_of(tracks: int) -> AlsModel:
    rng = np.random.default_rng(tracks)
    return AlsModel(
        user_factors=np.zeros((0, WIDTH), np.float32),
        item_factors=rng.normal(0.2, 1, (tracks, WIDTH)).astype(np.float32),
        users=np.empty(0, np.int64),
        tracks=np.arange(10, 10 + tracks),
        parameters=AlsParameters(factors=WIDTH),
        matrix_parameters=MatrixParameters(),
        matrix_fingerprint="f",
        as_of=date(2026, 11, 22),
    )


@given(
    st.lists(ATTRIBUTES, min_size=1, max_size=12),
    st.lists(ATTRIBUTES, min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_factors_made_one_by_one_point_where_those_made_of_matrices_do(
    known: list[tuple[str | None, list[str]]],
    new: list[tuple[str | None, list[str]]],
    untold: int,
) -> None:
    """The model may know tracks that the features do not."""
    model = model_of(len(known) + untold)
    rows = [
        *((10 + place, *told) for place, told in enumerate(known)),
        *((900 + place, *told) for place, told in enumerate(new)),
    ]
    features = pl.DataFrame(
        rows,
        schema={"track_id": pl.Int64, "artist": pl.String, "genres": pl.List(pl.String)},
        orient="row",
    )
    wanted = features.filter(pl.col("track_id") >= 900)
    published = AttributeFactors.fit(model, features).directions(wanted)
    made = made_factors(model, features, wanted["track_id"].to_numpy())
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    told = published.any(axis=1)  # of whose artist and genres nothing is known is no release
    np.testing.assert_allclose(made[told], published[told], atol=1e-5)
