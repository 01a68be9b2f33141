"""Regression adjustment: values less the part that is explained by what was known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.stats.arrays import FloatArray

_LEAST_SHARE = 1e-8
"""Share of the variance of a covariate that the others must leave: one that is a combination of
them, up to rounding, explains nothing more."""


@dataclass(frozen=True, slots=True, eq=False)
class CovariateSums:
    """Sums over the units of each variant, of their covariates c from a common centre.

    Attributes:
        totals: Sum of c; shape (n_variants, d).
        products: Sum of c c^T from the mean of the variant; shape (n_variants, d, d).
        cross: Sum of c x from both means of the variant, x being the values; (n_variants, d).
    """

    totals: FloatArray
    products: FloatArray
    cross: FloatArray


def coefficients(sums: CovariateSums) -> FloatArray:
    """Return the least squares coefficients of the values on the covariates, within variants.

    theta = (sum over variants of Scc)^-1 (sum over variants of Scx): whatever differs between the
    variants has no part in it. Covariates that do not vary, or that follow from others, get 0 or
    share what they explain.

    Source: Deng, Xu, Kohavi and Walker (2013), "Improving the sensitivity of online controlled
        experiments by utilizing pre-experiment data" (CUPED), equation 4; with several covariates,
        Lin (2013), "Agnostic notes on regression adjustments to experimental data".

    Examples:
        >>> products, cross = np.array([[[4.0]], [[6.0]]]), np.array([[2.0], [3.0]])
        >>> coefficients(CovariateSums(np.zeros((2, 1)), products, cross))
        array([0.5])
    """
    return least_squares(sums.products.sum(axis=0), sums.cross.sum(axis=0))


def least_squares(products: FloatArray, cross: FloatArray) -> FloatArray:
    """Return the coefficients of smallest length that leave the least sum of squares.

    Args:
        products: Sums of c c^T; shape (..., d, d).
        cross: Sums of c x; shape (..., d).

    Examples:
        >>> least_squares(np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([2.0, 0.0]))
        array([0.5, 0. ])
    """
    scale = np.sqrt(np.maximum(np.diagonal(products, axis1=-2, axis2=-1), 0.0))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    correlations = products * inverse[..., None, :] * inverse[..., None]
    solved = np.linalg.pinv(correlations, rcond=_LEAST_SHARE, hermitian=True)
    found: FloatArray = inverse * np.einsum("...ij,...j->...i", solved, inverse * cross)
    return found


def squared_deviations(sums: CovariateSums, theta: FloatArray, of_values: FloatArray) -> FloatArray:
    """Return the sums of squared deviations of the values less theta c; shape (n_variants,).

    Args:
        sums: Of the covariates.
        theta: Coefficients; shape (d,).
        of_values: Those of the values themselves.
    """
    explained = 2.0 * sums.cross @ theta - (sums.products @ theta) @ theta
    return np.asarray(np.maximum(of_values - explained, 0.0))


def squared_deviations_by_pair(
    sums: CovariateSums, thetas: FloatArray, of_values: FloatArray
) -> FloatArray:
    """Return the same with the coefficients of ordered pairs; shape (n_variants, n_variants).

    Args:
        sums, of_values: As in `squared_deviations`.
        thetas: Coefficients of a beside b at [a, b]; shape (n_variants, n_variants, d).
    """
    explained = 2.0 * np.einsum("ad,abd->ab", sums.cross, thetas)
    explained -= np.einsum("ade,abd,abe->ab", sums.products, thetas, thetas)
    return np.asarray(np.maximum(of_values[:, None] - explained, 0.0))
