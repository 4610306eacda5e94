"""The directions along which data are correlated most: eigenvectors of the covariance between different columns."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

__all__ = ["bimodality", "leading"]

MOST_COLUMNS = 1000
"""The most columns of data whose covariance is made as a matrix."""
TOLERANCE = 1e-6
"""The tolerance of an eigenvector of more columns: the residual relative to the eigenvalue."""


def bimodality(x: np.ndarray) -> float:
    """Return ``(skewness² + 1) / kurtosis``, at most 1, which only two points reach (Pearson 1916); 0 for one point."""
    z = x - x.mean()
    square = (z**2).mean()
    if square <= 0:
        return 0.0
    skewness, kurtosis = (z**3).mean() / square**1.5, (z**4).mean() / square**2
    return float((skewness**2 + 1) / kurtosis)


def leading(rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` largest eigenvalues of ``C - diag C``, falling, and their eigenvectors as columns.

    C is the covariance of the columns. The matrix is made where it is small. Of many columns it would not fit into
    memory: products with the rows do.
    """
    if rows.shape[1] <= MOST_COLUMNS:
        covariance = np.atleast_2d(np.cov(rows.T))
        values, vectors = np.linalg.eigh(covariance - np.diag(np.diag(covariance)))
        return values[: -n - 1 : -1], vectors[:, : -n - 1 : -1]
    centred, columns = rows - rows.mean(0), rows.shape[1]
    diagonal = np.einsum("ij,ij->j", centred, centred) / (len(rows) - 1)
    if not diagonal.any():
        return np.zeros(n), np.zeros((columns, n))
    product = LinearOperator(
        (columns, columns),
        lambda x: (centred @ x.ravel()) @ centred / (len(rows) - 1) - diagonal * x.ravel(),
        dtype="float64",
    )
    # The error of the eigenvalue is of the order of the square of the tolerance.
    start = np.random.default_rng(0).normal(size=columns)
    values, vectors = eigsh(product, n, which="LA", v0=start, tol=TOLERANCE)
    return values[::-1], vectors[:, ::-1]
