"""What the plays of a window look like beside windows before it: six features without a model.

Which windows these are, and how far chance moves the features, is told in `drift_null.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift_windows import Integers, Values, Window

# On raw ids two random halves of the same plays are as far as .35 apart: rare tracks are chance.
TOP_TRACKS = 200

# Plays by track of all resamples in memory at once.
_CELLS_AT_ONCE = 5_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Base:
    """The windows that one is compared with, as distributions: the mean of theirs.

    All windows are of one length, for how plays spread over tracks and users depends on it.

    Attributes:
        known_before: Who and what was first heard on this day or later is cold.
        popularity: [len(COUNTS)]: tracks by number of plays.
        activity: [len(COUNTS)]: users by number of plays.
        genres: [genres]: plays by genre.
        top: int64: positions of the most played tracks, ascending.
        top_shares: [len(top) + 1]: of the plays, theirs and that of all others.
    """

    known_before: int
    popularity: Values
    activity: Values
    genres: Values
    top: Integers
    top_shares: Values


def base_of(windows: Sequence[Window], known_before: int) -> Base:
    """The base that some windows make, at least one; see `Base`."""
    plain = [_Weighted(window, np.ones((len(window.users), 1))) for window in windows]
    total = np.zeros(len(windows[0].history.tracks))
    for window, weighted in zip(windows, plain, strict=True):
        total[window.tracks] += weighted.per_track[:, 0]
    heard = np.count_nonzero(total)
    top = np.sort(np.argsort(-total, kind="stable")[: min(TOP_TRACKS, heard)])
    return Base(
        known_before=known_before,
        popularity=np.mean([one.popularity()[:, 0] for one in plain], axis=0),
        activity=np.mean([one.activity()[:, 0] for one in plain], axis=0),
        genres=np.mean([one.genres()[:, 0] for one in plain], axis=0),
        top=top,
        top_shares=np.mean([one.top_shares(top)[:, 0] for one in plain], axis=0),
    )


def shape_values(window: Window, base: Base, weights: Values | None = None) -> Values:
    """The features of a window, in the order of `drift_features.OF_SHAPE`.

    Args:
        window: At least one play.
        base: What it is compared with.
        weights: [users, resamples]: how often each user counts; None: once.

    Returns:
        [resamples, 6]; one row without weights.
    """
    drawn = np.ones((len(window.users), 1)) if weights is None else weights
    at_once = max(1, _CELLS_AT_ONCE // max(1, len(window.tracks)))
    return np.concatenate(
        [
            _values(_Weighted(window, drawn[:, start : start + at_once]), base)
            for start in range(0, drawn.shape[1], at_once)
        ]
    )


def _values(weighted: _Weighted, base: Base) -> Values:
    return np.column_stack(
        [
            measures.wasserstein(weighted.popularity(), base.popularity, measures.LOG_COUNTS),
            measures.jensen_shannon(weighted.top_shares(base.top), base.top_shares),
            measures.wasserstein(weighted.activity(), base.activity, measures.LOG_COUNTS),
            measures.jensen_shannon(weighted.genres(), base.genres),
            weighted.cold_users(base.known_before),
            weighted.cold_tracks(base.known_before),
        ]
    )


class _Weighted:
    """A window with each user as often as the weights say, [users, resamples]."""

    def __init__(self, window: Window, weights: Values) -> None:
        self.window = window
        self.weights = weights
        self.per_track: Values = np.asarray(window.plays.T @ weights)

    def popularity(self) -> Values:
        return measures.shares_of_counts(self.per_track)

    def activity(self) -> Values:
        bins = measures.count_bins(self.window.plays_of_users())
        users = measures.in_bins(bins, len(measures.COUNTS))
        return measures.normalised(np.asarray(users @ self.weights))

    def genres(self) -> Values:
        shares: csr_matrix = self.window.history.shares[self.window.tracks]
        return measures.normalised(np.asarray(shares.T @ self.per_track))

    def top_shares(self, top: Integers) -> Values:
        place = np.searchsorted(top, self.window.tracks)
        among = place < len(top)
        among[among] = top[place[among]] == self.window.tracks[among]
        bins = np.where(among, place, len(top))
        return measures.normalised(
            np.asarray(measures.in_bins(bins, len(top) + 1) @ self.per_track)
        )

    def cold_users(self, known_before: int) -> Values:
        cold = self.window.history.first_of_user[self.window.users] >= known_before
        found: Values = cold @ self.weights / self.weights.sum(axis=0)
        return found

    def cold_tracks(self, known_before: int) -> Values:
        cold = self.window.history.first_of_track[self.window.tracks] >= known_before
        found: Values = cold @ self.per_track / self.per_track.sum(axis=0)
        return found
