"""The method and the rate that `fit` chooses where it is not told, by how strongly the data are correlated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pymc_rbm.estimators import NegativePhase, persistent
from pymc_rbm.machine import VISIBLE
from pymc_rbm.observed import Observed
from pymc_rbm.tempering import tempered

__all__ = ["Correlation", "correlation", "curvature", "default_method", "default_rate"]

RATE = 0.1
TEMPERED_RATE = 0.3
"""Tempered particles lag less. Of 0.1, 0.3, 0.5 and 2 the best for an RBM of ordered Ising spins (7x7, beta = 0.5), in
the one or two runs each that were made."""
POWER_ITERATIONS = 100
TWO_GROUPS = 5 / 9
"""Of a uniform distribution; a normal one has 1/3, two points have 1."""


@dataclass(frozen=True)
class Correlation:
    """How strongly different units go together, and whether that splits the rows into two groups.

    Attributes
    ----------
    strength : float
        Largest eigenvalue of ``C - diag C``, with C the covariance of the data. From W = 0 with biases at the optimum,
        weights grow by ``rate/4`` times this an iteration along its eigenvector: the derivative of the mean
        log-likelihood by a column w of W is ``(C - diag C) w / 4`` to first order.
    bimodality : float
        ``(skewness² + 1) / kurtosis`` of the data's projection on that eigenvector, at most 1, which only two points
        reach (Pearson 1916).
    curvature
        Of the log-likelihood of a layer that is coupled to itself (`curvature`); 0 for other machines.
    """

    strength: float = 0.0
    bimodality: float = 0.0
    curvature: float = 0.0

    @property
    def strong(self) -> bool:
        """Whether weights would grow faster than `RATE` is meant for."""
        return self.strength > 1

    @property
    def splits(self) -> bool:
        """Whether the rows are two groups that many units tell apart: chains of a machine that has learned it stay."""
        return self.strong and self.bimodality > TWO_GROUPS


def correlation(x: Observed) -> Correlation:
    """Measure the rows of `Observed.spread`; what is missing stands at its mean."""
    rows = x.rows[x.spread].astype("float64")
    if len(rows) < 2:
        return Correlation()
    if x.missing is not None:
        rows = np.where(x.missing[x.spread], x.mean, rows)
    if x.machine.layers[VISIBLE].unit.parameters:  # learning is in units of σ, for which the data's deviation stands in
        rows = rows / x.deviation
    covariance = np.atleast_2d(np.cov(rows.T))
    values, vectors = np.linalg.eigh(covariance - np.diag(np.diag(covariance)))
    along = (rows - rows.mean(0)) @ vectors[:, -1]
    square = (along**2).mean()
    curved = curvature(rows) if x.machine.own_coupling(VISIBLE) is not None else 0.0
    if square == 0:
        return Correlation(curvature=curved)
    skewness, kurtosis = (along**3).mean() / square**1.5, (along**4).mean() / square**2
    return Correlation(float(values[-1]), float((skewness**2 + 1) / kurtosis), curved)


def curvature(rows: np.ndarray) -> float:
    """Largest eigenvalue of the covariance of all ``x_i`` and ``x_i x_j``, i < j, over ``rows``, by power iteration.

    The negative Hessian of the mean log-likelihood of a general machine by b and U is this covariance under the
    machine, at the optimum under the data. Gradient ascent is stable at rates below two over its largest eigenvalue.
    """
    n = rows.shape[1]
    u, V, value = np.ones(n), np.ones((n, n)) - np.eye(n), 0.0
    for _ in range(POWER_ITERATIONS):
        norm = np.sqrt((u**2).sum() + (V**2).sum() / 2)
        if norm == 0:
            break
        u, V, old = u / norm, V / norm, value
        along = rows @ u + ((rows @ V) * rows).sum(1) / 2
        along -= along.mean()
        u, V = along @ rows / len(rows), (rows.T * along) @ rows / len(rows)
        np.fill_diagonal(V, 0)
        value = float(np.sqrt((u**2).sum() + (V**2).sum() / 2))
        if abs(value - old) < 1e-3 * value:
            break
    return value


def default_method(found: list[Correlation]) -> Callable[..., NegativePhase]:
    """PCD, with tempering where the data split: what plain chains cannot leave, learning cannot weigh."""
    return tempered if any(x.splits for x in found) else persistent


def default_rate(found: list[Correlation], swaps: bool) -> float:
    """`RATE`, divided by the strength of the correlation where it is strong; `TEMPERED_RATE` where replicas swap.

    Weights then grow from zero no faster than for weakly correlated data. A rate that is too high for strongly
    correlated ones drives all plain particles into one mode, and W to infinity; replicas come back from there. Where a
    layer is coupled to itself, at most one over the `curvature`, half of what gradient ascent can bear.
    """
    rate = TEMPERED_RATE if swaps else RATE / max(1.0, *(x.strength for x in found))
    return min([rate, *(1 / x.curvature for x in found if x.curvature)])
