"""Ridge regression of the reward on the context, one for each variant.

It uses only additions, products, quotients and square roots of scalars in a fixed order, and no
linear algebra library: IEEE 754 defines each result, so every machine publishes the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.model.vectors import FEATURE_ONE, Vector
from streams.stats.arrays import FloatArray
from streams.tallies.linear import LinearTally, triangle

_ROUNDING = 1e-9
"""Generous bound of the rounding error of a matrix, relative to its largest entry."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """Posterior of the reward of every variant as a function of the context.

    Attributes:
        coefficients: theta = A^-1 b with A = ridge I + sum of x x^T and b = sum of x reward; shape
            (n_arms, dimension), in units of the metric.
        covariance: A^-1; shape (n_arms, dimension, dimension), symmetric, positive definite.
        noise: Standard deviation of the rewards, in units of the metric, > 0. The posterior of
            theta is Normal with this covariance times its square.
        units: Units of all variants in the fit.

    Source: Li, Chu, Langford and Schapire (2010), "A contextual-bandit approach to personalized
        news article recommendation", algorithm 1 (disjoint linear models).
    """

    coefficients: FloatArray
    covariance: FloatArray
    noise: float
    units: int

    @classmethod
    def fit(
        cls,
        tallies: Sequence[LinearTally],
        dimension: int,
        *,
        noise: float,
        units: int,
        ridge: float = 1.0,
    ) -> LinearModel:
        """Return the model after some tallies.

        The matrix is factored again each time: updating an inverse (Sherman and Morrison) would
        accumulate rounding errors and depend on the order of events.

        Args:
            tallies: Of each variant; entries from `dimension` on are not looked at.
                One whose matrix no units have, as where more were voided than are read yet, says
                nothing.
            dimension: Length of the vectors, >= 1.
            noise: Standard deviation of the rewards, > 0.
            units: Units of all variants, >= 0.
            ridge: Weight of the prior, in units at each entry, > 0.

        Raises:
            InvalidParameterError: an argument is outside its domain.
        """
        for name, value in (("ridge", ridge), ("noise", noise), ("dimension", dimension)):
            if not 0.0 < value < np.inf:
                raise InvalidParameterError(name, value, "finite and > 0")
        matrices = np.array([_matrix(tally.gram, dimension) for tally in tallies])
        matrices += ridge * np.eye(dimension)
        moments = np.array([_moment(tally.moment, dimension) for tally in tallies])
        for matrix, moment in zip(matrices, moments, strict=True):
            if not _is_of_units(matrix):
                matrix[:], moment[:] = ridge * np.eye(dimension), 0.0
        covariance = _inverse(_cholesky(matrices, ridge))
        coefficients = np.zeros_like(moments)
        for index in range(dimension):
            coefficients += covariance[:, :, index] * moments[:, index, None]
        return cls(coefficients, covariance, noise, units)

    @classmethod
    def of_triangles(
        cls,
        coefficients: Sequence[Sequence[float]],
        triangles: Sequence[Sequence[float]],
        *,
        noise: float,
        units: int,
    ) -> LinearModel:
        """Return the model that was published as its coefficients and `triangles`.

        Args:
            coefficients: Of each variant; shape (n_arms, dimension).
            triangles: Packed covariance of each; shape (n_arms, dimension (dimension + 1) / 2).
            noise: As in the model.
            units: As in the model.
        """
        theta = np.array(coefficients, dtype=np.float64)
        columns, rows = np.tril_indices(theta.shape[1])
        covariance = np.empty((*theta.shape, theta.shape[1]))
        covariance[:, columns, rows] = covariance[:, rows, columns] = np.array(triangles)
        return cls(theta, covariance, noise, units)

    def triangles(self) -> list[list[float]]:
        """Return the covariance of each variant, packed like the matrix of a `LinearTally`."""
        columns, rows = np.tril_indices(self.coefficients.shape[1])
        packed: list[list[float]] = self.covariance[:, rows, columns].tolist()
        return packed

    def estimates(self, vector: Vector) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the expected reward of each variant in a context.

        Args:
            vector: The context; its indices are below the dimension.

        Returns:
            Means theta^T x, and deviations noise sqrt(x^T A^-1 x); shape (n_arms,) each, in units
            of the metric.
        """
        indices = np.array([index for index, _ in vector])
        x = np.array([value for _, value in vector]) / FEATURE_ONE
        n_arms, dimension = self.coefficients.shape
        means = (self.coefficients.take(indices, axis=1) * x).sum(axis=1)
        pairs = (indices[:, None] * dimension + indices).ravel()
        covariance = self.covariance.reshape(n_arms, -1).take(pairs, axis=1)
        squares = (covariance * (x[:, None] * x).ravel()).sum(axis=1)
        return means, self.noise * np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny))


def _matrix(gram: Sequence[int], dimension: int) -> FloatArray:
    """Return the symmetric matrix of a packed triangle."""
    matrix = np.zeros((dimension, dimension))
    known = gram[: triangle(dimension)]
    # Integers of any size: divided before the conversion to floats, so rounded once.
    columns, rows = np.tril_indices(dimension)
    matrix[rows[: len(known)], columns[: len(known)]] = [
        entry / (FEATURE_ONE * FEATURE_ONE) for entry in known
    ]
    matrix[columns, rows] = matrix[rows, columns]
    return matrix


def _moment(moment: Sequence[int], dimension: int) -> FloatArray:
    vector = np.zeros(dimension)
    known = moment[:dimension]
    vector[: len(known)] = [entry / (FEATURE_ONE * MICRO) for entry in known]
    return vector


def _is_of_units(matrix: FloatArray) -> bool:
    """Return whether a matrix is positive definite up to rounding, like that of any set of units.

    It is not if more units with some features are voided than have been read.
    """
    rounding = _ROUNDING * np.abs(np.diag(matrix)).max()
    try:
        np.linalg.cholesky(matrix + rounding * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return False
    return True


def _cholesky(matrices: FloatArray, ridge: float) -> FloatArray:
    """Return the lower triangular L with L L^T = A of each matrix A; shape (n_arms, d, d).

    The pivots of A = ridge I + G with G positive semidefinite are at least `ridge`; a smaller one
    is a rounding error and is replaced by it. So the factor exists even for collinear contexts.
    """
    rest = matrices.copy()
    factor = np.zeros_like(rest)
    for column in range(rest.shape[1]):
        pivot = np.sqrt(np.maximum(rest[:, column, column], ridge))
        factor[:, column, column] = pivot
        below = rest[:, column + 1 :, column] / pivot[:, None]
        factor[:, column + 1 :, column] = below
        rest[:, column + 1 :, column + 1 :] -= below[:, :, None] * below[:, None, :]
    return factor


def _inverse(factor: FloatArray) -> FloatArray:
    """Return A^-1 = L^-T L^-1 from the factor L of each matrix A; shape (n_arms, d, d)."""
    dimension = factor.shape[1]
    inverse = np.zeros_like(factor)  # L^-1, row by row: forward substitution of the identity
    for row in range(dimension):
        sums = np.zeros_like(inverse[:, row])
        sums[:, row] = 1.0
        for column in range(row):
            sums -= factor[:, row, column, None] * inverse[:, column]
        inverse[:, row] = sums / factor[:, row, row, None]
    product = np.zeros_like(factor)
    for row in range(dimension):
        product += inverse[:, row, :, None] * inverse[:, row, None, :]
    return product
