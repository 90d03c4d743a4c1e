"""Factors for tracks without listens, from the factors of heard tracks of their artist and genres.

Who gets a place in a list by them is told in `new_releases.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.blas import one_thread

# So many tracks of the model at the overall mean count among those of a genre, and so many
# without anything of their own among those of an artist. Measured, see docs/model.md.
GENRE_SUPPORT = 1.0
ARTIST_SUPPORT = 3.0


@dataclass(frozen=True, eq=False, slots=True)
class AttributeFactors:
    """A mapping from attributes to factors, by shrunk means on two levels.

    A mapping from attributes to a fitted model's factors, as in Gantner et al., "Learning
    Attribute-to-Feature Mappings for Cold-Start Recommendations" (ICDM 2010). With m the mean of
    the factors, n the number of tracks and k the two supports above, a genre has
    g = Σ (y - m) / (n + k) over its tracks, of which one with several genres belongs to each in
    part, and an artist a = Σ (y - m - mean of its genres' g) / (n + k). A track without listens
    has m + mean of its genres' g + its artist's a.

    Attributes:
        mean: float64 [factors]: m.
        genres: float64 [len(genre_places), factors]: g.
        artists: float64 [len(artist_places), factors]: a.
        genre_places: The rows of the genres, by name.
        artist_places: The rows of the artists, by name.
    """

    mean: NDArray[np.float64]
    genres: NDArray[np.float64]
    artists: NDArray[np.float64]
    genre_places: Mapping[str, int]
    artist_places: Mapping[str, int]

    @classmethod
    def fit(cls, model: AlsModel, features: pl.DataFrame) -> Self:
        """The mapping of a model.

        Args:
            model: With one track at least.
            features: Of its tracks and any others, see `track_features.py`; a track of the model
                that is not among them counts in the mean only.
        """
        known = features.filter(pl.col("track_id").is_in(model.tracks))
        factors = model.item_factors[np.searchsorted(model.tracks, known["track_id"].to_numpy())]
        mean = model.item_factors.mean(axis=0, dtype=np.float64)
        genre_places, artist_places = _places(known["genres"].explode()), _places(known["artist"])
        of_genre = _genre_shares(known, genre_places)
        of_artist = _artist_shares(known, artist_places)
        with one_thread():  # the same bits on any number of cores
            genres = _shrunk(of_genre.T @ factors, of_genre.sum(axis=0), mean, GENRE_SUPPORT)
            expected = (of_artist.T @ of_genre) @ genres
            artists = _shrunk(
                of_artist.T @ factors - expected, of_artist.sum(axis=0), mean, ARTIST_SUPPORT
            )
        return cls(mean, genres, artists, genre_places, artist_places)

    def directions(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Where the factors of tracks point, at length 1: means are shorter the fewer they agree.

        So a score by them orders tracks of one kind for a user, and does not compare with the
        scores of tracks whose factors were fitted.

        Args:
            features: Of the tracks.

        Returns:
            float32 [tracks, factors]; zeros for a track of whose artist and genres the model
            knows none.
        """
        of_genre = _genre_shares(features, self.genre_places)
        of_artist = _artist_shares(features, self.artist_places)
        with one_thread():
            factors = self.mean + of_genre @ self.genres + of_artist @ self.artists
        nothing_known = (of_genre.sum(axis=1) == 0) & (of_artist.sum(axis=1) == 0)
        factors[nothing_known] = 0
        lengths = np.linalg.norm(factors, axis=1, keepdims=True)
        found: NDArray[np.float32] = (factors / np.maximum(lengths, 1e-12)).astype(np.float32)
        return found


def _shrunk(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    mean: NDArray[np.float64],
    support: float,
) -> NDArray[np.float64]:
    counts = counts[:, None]
    found: NDArray[np.float64] = (sums - counts * mean) / (counts + support)
    return found


def _places(names: pl.Series) -> dict[str, int]:
    return {name: place for place, name in enumerate(names.drop_nulls().unique().sort())}


def _artist_shares(features: pl.DataFrame, places: Mapping[str, int]) -> csr_array:
    """[tracks, artists]: 1 where the track is the artist's."""
    return _indicators(features.height, np.arange(features.height), features["artist"], places)


def _genre_shares(features: pl.DataFrame, places: Mapping[str, int]) -> csr_array:
    """[tracks, genres]: how much of a track is of a genre, 1 together over the known ones."""
    listed = features.select(pl.int_range(pl.len()).alias("row"), "genres").explode("genres")
    found = _indicators(features.height, listed["row"].to_numpy(), listed["genres"], places)
    shares = diags_array(1 / np.maximum(found.sum(axis=1), 1))
    return csr_array(shares @ found)


def _indicators(
    tracks: int, rows: NDArray[np.int64], names: pl.Series, places: Mapping[str, int]
) -> csr_array:
    columns = names.replace_strict(places, default=-1, return_dtype=pl.Int64).to_numpy()
    known = columns >= 0
    return csr_array(
        (np.ones(np.count_nonzero(known)), (rows[known], columns[known])),
        shape=(tracks, len(places)),
    )
