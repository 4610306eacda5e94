r"""Rise and decline: chains from random starts come near the data and leave them again.

A machine that was learned by chains too short to reach its equilibrium describes the data *after so many sweeps*, and
not in equilibrium (Decelle, Furtlehner & Seoane 2021, NeurIPS, arXiv 2105.13889; Agoritsas, Catania, Decelle & Seoane
2023, ICML, arXiv 2301.06428). Its chains from random starts approach the data, and go on to where the machine is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from pymc_rbm.diagnostics.thresholds import APPROACH_LOST
from pymc_rbm.support.convergence import FALSE_ALARM

__all__ = ["Approach", "approach"]


@dataclass(frozen=True)
class Approach:
    r"""How chains from random starts approach the data.

    Attributes
    ----------
    sweeps : ndarray of int, shape (looks,)
        Sweeps from the start at each look; the first is 0.
    distance : ndarray, shape (looks,)
        The squared distance of the first and second moments of the chains from those of the data, as a share of that
        of independent units with the data's means:

        .. math:: D^2(t) = \frac{\|E_t[\phi] - \bar\phi\|^2}{\sum_{i \ne j} C_{ij}^2},
            \qquad \phi(v) = (z, z z^\top), \qquad z = v - \bar v,

        where bars are means over the data, C is the covariance of the data, and :math:`E_t` is the expectation after t
        sweeps. Unbiased; below 0 at times, where it is smaller than its error.
    error : ndarray, shape (looks,)
        The standard error of the distance.
    nearest : int
        After how many sweeps, between the ends, the chains were nearest as far as chance allows to say so.
    lost : float
        By how much the squared distance at the end exceeds the one at ``nearest``.
    declines : bool
        Whether start and end are both further away than ``nearest`` by more than `APPROACH_LOST`, beyond chance.
    """

    sweeps: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    nearest: int
    lost: float
    declines: bool


def approach(sweeps: np.ndarray, states: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> Approach | None:
    r"""Return how independent chains approach the data; None where the data have no correlations.

    Parameters
    ----------
    sweeps : ndarray of int, shape (looks,)
    states : ndarray, shape (looks, chains, visible)
    rows : ndarray, shape (rows, visible)
        What was learned. It has no error here.
    weights : ndarray, shape (rows,)
        They sum to one.

    Notes
    -----
    With the kernel :math:`k(x, y) = z_x z_y + (z_x z_y)^2 = \phi(x)\cdot\phi(y)` the squared distance is a mean over
    pairs of *different* chains, minus twice that over chains and rows, plus that over pairs of rows. (The square of a
    mean of n chains exceeds that of its expectation by their variance over n; products of different chains do not.)

    Differences between looks, which share their chains, have the standard errors of the jackknife over chains. All
    looks are tested, and share the chance of a false alarm.
    """
    mean = weights @ rows
    x, data = states - mean, rows - mean
    of_data = _Second.moments(data, weights)
    if not of_data.lacking > np.finfo(float).eps * of_data.square:
        return None
    found = [_squared_distance(look, of_data) for look in x]
    distance, without = (np.array(y) / of_data.lacking for y in zip(*found, strict=True))
    n = x.shape[1]

    def error(of: np.ndarray) -> np.ndarray:
        return np.sqrt((n - 1) * of.var(-1))

    between = slice(1, -1)
    limit = scipy.stats.norm.isf(FALSE_ALARM / (len(sweeps) - 2))
    scores = []
    for end in (0, -1):
        beyond = distance[end] - distance[between] - APPROACH_LOST
        scores.append(beyond / np.maximum(error(without[end] - without[between]), 1e-300))
    lowest = np.min(scores, axis=0)
    k = 1 + int(np.argmax(lowest))
    return Approach(
        sweeps, distance, error(without), int(sweeps[k]), float(distance[-1] - distance[k]), bool(lowest.max() > limit)
    )


@dataclass(frozen=True)
class _Second:
    """The second moments C of the data about their mean, as whichever is smaller: C itself, or rows and weights."""

    roots: np.ndarray
    """C if ``whole``; else the rows z, each times the root of its weight, from which C is the product zᵀz."""
    whole: bool
    square: float
    """The sum of the squares of all entries of C."""
    lacking: float
    """The sum of the squares of the entries of C that are not on its diagonal."""

    @classmethod
    def moments(cls, data: np.ndarray, weights: np.ndarray) -> _Second:
        roots, whole = data * np.sqrt(weights)[:, None], len(data) > data.shape[1]
        square = float(((roots.T @ roots if whole else roots @ roots.T) ** 2).sum())
        return cls(roots.T @ roots if whole else roots, whole, square, square - float(((roots**2).sum(0) ** 2).sum()))

    def along(self, x: np.ndarray) -> np.ndarray:
        """Return ``xᵀ C x`` of each row."""
        return ((x @ self.roots) * x).sum(1) if self.whole else ((x @ self.roots.T) ** 2).sum(1)


def _squared_distance(x: np.ndarray, of_data: _Second) -> tuple[float, np.ndarray]:
    """Return the squared distance by all chains, and by all but one, for each one; the data's mean is zero."""
    n, products, across = len(x), x @ x.T, of_data.along(x)
    own = products + products**2
    np.fill_diagonal(own, 0)
    total, each = own.sum(), own.sum(1)
    whole = total / (n * (n - 1)) - 2 * across.mean() + of_data.square
    without = (total - 2 * each) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / (n - 1) + of_data.square
    return float(whole), without
