"""Makes similar lists of new releases anew, for the checks, by other code than published them.

Here a release's factors are worked out from its own artist and genres, straight from the formula
(`docs/model.md`), where the publisher has matrices of all artists and genres
(`recommend/attribute_factors.py`). Other lists are made anew in `fresh.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.attribute_factors import ARTIST_SUPPORT, GENRE_SUPPORT
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.serve.codec import TopN
from moovitamix.serve.fresh import nearest_anew
from moovitamix.serve.rankings import Rankings

Factors = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class ReleasesRead:
    """New releases, and what they were found in.

    Attributes:
        releases: Nothing withdrawn.
        features: Of all tracks, see `recommend/track_features.py`.
    """

    releases: NewReleases
    features: pl.DataFrame

    def without_factors(self, model: AlsModel) -> NDArray[np.int64]:
        """int64, ascending: those that the model does not know: they have lists by attributes."""
        return np.setdiff1d(self.releases.tracks, model.tracks)


def similar_to_releases_anew(
    rankings: Rankings, features: pl.DataFrame, tracks: NDArray[np.int64]
) -> dict[int, TopN]:
    """The similar tracks of some new releases that the model does not know, by track.

    Args:
        rankings: Of the generation.
        features: Of all tracks.
        tracks: int64, ascending, all among the features.
    """
    made = made_factors(rankings.champion.model, features, tracks)
    return nearest_anew(rankings, tracks, made.astype(np.float32))


def made_factors(
    model: AlsModel, features: pl.DataFrame, tracks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Factors of some tracks from those of tracks of their artist and genres, one by one.

    Args:
        model: Has the factors.
        features: Of all tracks.
        tracks: int64, all among the features.

    Returns:
        float64 [tracks, factors]: m + mean g + a, of any length.
    """
    factors = model.item_factors.astype(np.float64)
    mean = factors.mean(axis=0)
    places = {track: place for place, track in enumerate(model.tracks.tolist())}
    genres_of: dict[int, list[str]] = dict(features.select("track_id", "genres").iter_rows())
    artist_of: dict[int, str | None] = dict(features.select("track_id", "artist").iter_rows())
    of_genre: dict[str, list[int]] = {}
    of_artist: dict[str | None, list[int]] = {}
    for track in places.keys() & genres_of.keys():
        of_artist.setdefault(artist_of[track], []).append(track)
        for genre in genres_of[track]:
            of_genre.setdefault(genre, []).append(track)

    worked_out: dict[str, Factors] = {}

    def of_a_genre(genre: str) -> Factors:
        if genre not in worked_out:
            shares = [1 / len(genres_of[track]) for track in of_genre[genre]]
            away = factors[[places[track] for track in of_genre[genre]]] - mean
            worked_out[genre] = np.average(away, axis=0, weights=shares) * (
                sum(shares) / (sum(shares) + GENRE_SUPPORT)
            )
        return worked_out[genre]

    def expected(track: int) -> Factors:
        known = [of_a_genre(genre) for genre in genres_of[track] if genre in of_genre]
        return np.mean(known, axis=0) if known else np.zeros_like(mean)

    def of_an_artist(artist: str | None) -> Factors:
        own = of_artist.get(artist, []) if artist is not None else []
        away = [factors[places[track]] - mean - expected(track) for track in own]
        return np.sum(away, axis=0) / (len(own) + ARTIST_SUPPORT) if own else np.zeros_like(mean)

    made = [mean + expected(track) + of_an_artist(artist_of[track]) for track in tracks.tolist()]
    return np.array(made, dtype=np.float64).reshape(len(tracks), len(mean))
