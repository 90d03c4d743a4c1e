"""The ALS model: fitted to a matrix, folded in for rows that are newer than it.

Ranking with it is in `top_n.py`, judging it in `evaluate.py`, keeping it in `artifacts.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moovitamix.errors import SettingsError
from moovitamix.recommend import archive
from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, in_columns

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares

KIND = "ALS model"

# Below so many rows one thread is enough.
FEW_ROWS = 32

# Of the largest singular value of the confidences. Measured on thin data, see docs/model.md.
LARGEST_REGULARIZATION = 0.3
_POWER_ITERATIONS = 30  # from below: stopping early only makes the bound a little stricter


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsParameters:
    """What ALS is told. The defaults and what they were measured on: `docs/model.md`.

    Attributes:
        factors: Length of a factor.
        alpha: Confidence of a heard pair is alpha times the matrix' value.
        regularization: λ on every factor, not scaled by how often it occurs.
        iterations: Rounds of solving users, then tracks.
        seed: Of the random start; the same seed gives the same bits.
    """

    factors: int = 64
    alpha: float = 20.0
    regularization: float = 100.0
    iterations: int = 10
    seed: int = 20260901

    def __post_init__(self) -> None:
        if self.factors < 1 or self.iterations < 1:
            raise SettingsError("factors and iterations must be at least 1.")
        if not (self.alpha > 0 and self.regularization > 0):
            raise SettingsError("alpha and regularization must be above 0.")


@dataclass(frozen=True, eq=False)
class AlsModel:
    """Factors of users and tracks, and what they were fitted to.

    Attributes:
        user_factors: float32, [len(users), factors].
        item_factors: float32, [len(tracks), factors].
        users: int64 ids, ascending.
        tracks: int64 ids, ascending.
        parameters: Of the fit.
        matrix_parameters: Of the matrix; a row folded in has to be made with the same.
        matrix_fingerprint: Of the matrix.
        as_of: The last day of its data.
    """

    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    users: NDArray[np.int64]
    tracks: NDArray[np.int64]
    parameters: AlsParameters
    matrix_parameters: MatrixParameters
    matrix_fingerprint: str
    as_of: date

    @cached_property
    def _solver(self) -> AlternatingLeastSquares:
        """The library's model around the track factors; it keeps their Gram matrix."""
        solver = _als(self.parameters)
        solver.item_factors = self.item_factors
        return solver

    def solve_users(self, values: Any) -> NDArray[np.float32]:
        """The factors that fit rows of values, in the columns of the model, best."""
        with one_thread():
            # Two threads that share a row or two wait for each other, on busy cores for long.
            self._solver.num_threads = 1 if values.shape[0] < FEW_ROWS else self._threads
            rows: NDArray[np.float32] = self._solver.recalculate_user(
                np.arange(values.shape[0]), values
            )
        return rows

    @cached_property
    def _threads(self) -> int:
        """What the library would use by itself."""
        return int(_als(self.parameters).num_threads)


def bound_regularization(parameters: AlsParameters, matrix: UserItemMatrix) -> AlsParameters:
    """Lower the regularization where the data is too thin to stand it.

    Near zero, equation 4 (see `fit_als`) becomes X = CY / λ, Y = CᵀX / λ: only the directions of
    the confidences C with a singular value above λ can grow. With λ above the largest, all
    factors vanish; a little below, one is left, and everybody gets the same list.

    Returns:
        The parameters, with λ at most `LARGEST_REGULARIZATION` of the largest singular value.
    """
    values = matrix.values.astype(np.float64)
    direction = np.ones(values.shape[1])
    largest = 0.0
    for _ in range(_POWER_ITERATIONS):
        direction = values.T @ (values @ (direction / np.linalg.norm(direction)))
        largest = float(np.sqrt(np.linalg.norm(direction)))
    most = float(f"{LARGEST_REGULARIZATION * parameters.alpha * largest:.3g}")
    return replace(parameters, regularization=min(parameters.regularization, most))


def _als(parameters: AlsParameters) -> AlternatingLeastSquares:
    # implicit warns at construction, and threads fight in the fit, unless BLAS has one thread.
    from implicit.cpu.als import AlternatingLeastSquares

    with one_thread():
        return AlternatingLeastSquares(
            factors=parameters.factors,
            alpha=parameters.alpha,
            regularization=parameters.regularization,
            iterations=parameters.iterations,
            random_state=parameters.seed,
        )


def fit_als(
    matrix: UserItemMatrix,
    parameters: AlsParameters,
    on_iteration: Callable[[int, int], None] | None = None,
    on_model: Callable[[int, AlsModel], None] | None = None,
) -> AlsModel:
    """Factorize a matrix by alternating least squares for implicit feedback.

    Minimizes equation 3 of Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback
    Datasets" (ICDM 2008): Σ c_ui (p_ui - x_u·y_i)² + λ (Σ |x_u|² + Σ |y_i|²), by conjugate
    gradients. Where they take c_ui = 1 + alpha r_ui, a heard pair here has c_ui = alpha r_ui
    with r_ui the matrix' value, and a pair not heard has c_ui = 1.

    Args:
        matrix: Weighted plays.
        parameters: Of the fit.
        on_iteration: Called after each iteration with its number, from 1, and how many there are.
        on_model: Called after each iteration with its number and the model as it is then, whose
            factors are still being worked on. What it raises ends the fit.

    Returns:
        The model. Fitted again it is the same, bit by bit.
    """

    def tell(iteration: int, _seconds: float, _loss: float | None) -> None:
        if on_iteration is not None:
            on_iteration(iteration + 1, parameters.iterations)
        if on_model is not None:
            on_model(iteration + 1, as_it_is())

    def as_it_is() -> AlsModel:
        return AlsModel(
            user_factors=als.user_factors,
            item_factors=als.item_factors,
            users=matrix.users,
            tracks=matrix.tracks,
            parameters=parameters,
            matrix_parameters=matrix.parameters,
            matrix_fingerprint=matrix.fingerprint,
            as_of=matrix.as_of,
        )

    als = _als(parameters)
    with one_thread():
        als.fit(matrix.values, show_progress=False, callback=tell)
    return as_it_is()


def fold_in(model: AlsModel, matrix: UserItemMatrix) -> NDArray[np.float32]:
    """Factors of a matrix' users from the tracks' factors: equation 4 of the same paper, exact.

    x_u = (YᵀCᵘY + λI)⁻¹ YᵀCᵘp(u). For users and plays that are newer than the model, and
    for all others too: so a list does not depend on whether its user was in the fit.

    Args:
        model: Whose tracks' factors stay as they are.
        matrix: Rows made with the model's `matrix_parameters`, of any users. Tracks that the model
            does not know are passed over.

    Returns:
        float32, [len(matrix.users), factors]; zeros for a user with no track the model knows.
    """
    return model.solve_users(in_columns(matrix, model.tracks))


def forget_users(model: AlsModel, users: NDArray[np.int64]) -> AlsModel:
    """The model without the factors of some users; those of the tracks stay as they are.

    Args:
        model: Any model.
        users: int64 ids; those that the model does not know make no difference.
    """
    left = ~np.isin(model.users, users)
    return replace(model, users=model.users[left], user_factors=model.user_factors[left])


def encode_model(model: AlsModel) -> bytes:
    """A model as one file: arrays and a JSON header, no pickle."""
    header = {
        "parameters": asdict(model.parameters),
        "matrix_parameters": asdict(model.matrix_parameters),
        "matrix_fingerprint": model.matrix_fingerprint,
        "as_of": model.as_of.isoformat(),
    }
    arrays: dict[str, NDArray[Any]] = {
        "user_factors": model.user_factors,
        "item_factors": model.item_factors,
        "users": model.users,
        "tracks": model.tracks,
    }
    return archive.pack(KIND, header, arrays)


def decode_model(content: bytes) -> AlsModel:
    """The model of a file made by `encode_model`.

    Raises:
        DamagedArtifact: When the file is damaged, or its shapes do not agree.
    """
    header, arrays = archive.unpack(KIND, content)
    try:
        model = AlsModel(
            user_factors=arrays["user_factors"],
            item_factors=arrays["item_factors"],
            users=arrays["users"],
            tracks=arrays["tracks"],
            parameters=AlsParameters(**header["parameters"]),
            matrix_parameters=MatrixParameters(**header["matrix_parameters"]),
            matrix_fingerprint=header["matrix_fingerprint"],
            as_of=date.fromisoformat(header["as_of"]),
        )
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise archive.damaged(KIND, str(error)) from error
    expected = (
        (len(model.users), model.parameters.factors),
        (len(model.tracks), model.parameters.factors),
    )
    if (model.user_factors.shape, model.item_factors.shape) != expected:
        raise archive.damaged(KIND, "the shapes of its factors are not those of its ids")
    return model
