"""EASE: a linear model of tracks in closed form, for catalogues small enough to invert."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


def fit_ease(values: csr_matrix, regularization: float) -> NDArray[np.float32]:
    """The weights B that best give each user's tracks from the user's other tracks.

    Equation 8 of Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019):
    P = (XᵀX + λI)⁻¹, B_ij = -P_ij / P_jj with a diagonal of 0, X being 1 where a track was heard.
    Time grows with the cube of the tracks, memory with their square.

    Args:
        values: CSR [users, tracks]; what is stored was heard.
        regularization: λ, above 0.

    Returns:
        float32 [tracks, tracks]; scores are X B.
    """
    from scipy.linalg.lapack import spotrf, spotri

    heard = values.astype(np.float32)
    heard.data[:] = 1
    gram = (heard.T @ heard).toarray(order="F")
    gram[np.diag_indices_from(gram)] += np.float32(regularization)
    # Cholesky, in place: half the work of a general inverse. It fills the lower triangle only.
    factor, _ = spotrf(gram, lower=1, overwrite_a=1)
    inverse, _ = spotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    weights: NDArray[np.float32] = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights
