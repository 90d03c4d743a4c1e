"""Distances between distributions, of many at once: columns against one.

What is compared is told in `drift_shape.py` and `drift_model.py`. Values are put on fixed grids,
so that a distribution is an array of shares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial.distance import jensenshannon

Values = NDArray[np.float64]
Integers = NDArray[np.int64]

# Numbers of plays: each up to some 60, then within 2 %, up to a milliard.
COUNTS: Values = np.unique(np.floor(np.geomspace(1, 1e9, 1_200)))
# Their places on the axis on which they are compared.
LOG_COUNTS: Values = np.log1p(COUNTS)

# Shares of a catalogue, as powers of ten: from one track of ten millions to all of it.
LOG_RANKS: Values = np.linspace(-7, 0, 281)


def count_bins(counts: Values) -> Integers:
    """The place of each number of plays, at least 1, in `COUNTS`."""
    places = np.searchsorted(COUNTS, counts, side="right").astype(np.int64)
    found: Integers = np.clip(places - 1, 0, len(COUNTS) - 1)
    return found


def rank_bins(shares: Values) -> Integers:
    """The place of each share of a catalogue, above 0, in `LOG_RANKS`."""
    step = LOG_RANKS[1] - LOG_RANKS[0]
    places = np.rint((np.log10(shares) - LOG_RANKS[0]) / step).astype(np.int64)
    found: Integers = np.clip(places, 0, len(LOG_RANKS) - 1)
    return found


def shares_of_counts(counts: Values) -> Values:
    """How the numbers above 0 of each column are distributed over `COUNTS`.

    Args:
        counts: [things, columns].

    Returns:
        [len(COUNTS), columns], each column with sum 1.
    """
    columns = counts.shape[1]
    rows, column = np.nonzero(counts)
    bins = count_bins(counts[rows, column])
    found = np.bincount(bins * columns + column, minlength=len(COUNTS) * columns)
    return normalised(found.reshape(len(COUNTS), columns).astype(np.float64))


def in_bins(bins: Integers, size: int) -> csr_matrix:
    """CSR float64 [size, len(bins)]: a one where each thing is; times weights, a histogram."""
    things = len(bins)
    return csr_matrix((np.ones(things), (bins, np.arange(things))), shape=(size, things))


def normalised(amounts: Values) -> Values:
    """Each column divided by its sum; a column of zeros stays."""
    total = amounts.sum(axis=0, keepdims=True)
    shares: Values = amounts / np.where(total > 0, total, 1.0)
    return shares


def wasserstein(shares: Values, reference: Values, places: Values) -> Values:
    """Wasserstein-1 of each column to the reference, in standard deviations of the reference.

    On a line it is the area between the distribution functions (Vallender, "Calculation of the
    Wasserstein distance between probability distributions on the line", 1974).

    Args:
        shares: [places, columns].
        reference: [places].
        places: Ascending: where on the line the shares are.
    """
    apart = np.abs(np.cumsum(shares, axis=0) - np.cumsum(reference)[:, None])[:-1]
    area = np.diff(places) @ apart
    mean = reference @ places
    deviation = np.sqrt(reference @ (places - mean) ** 2)
    found: Values = area / deviation if deviation > 0 else area
    return found


def jensen_shannon(shares: Values, reference: Values) -> Values:
    """Jensen-Shannon distance of each column to the reference: 0, the same; 1, nothing shared.

    The square root of the divergence in bits (Endres & Schindelin, IEEE Trans. Inf. Theory 49(7),
    2003).
    """
    pairs = np.broadcast_to(reference[:, None], shares.shape)
    found: Values = np.asarray(jensenshannon(shares, pairs, base=2, axis=0), dtype=np.float64)
    return np.nan_to_num(found)  # of equals, rounding may make the divergence negative
