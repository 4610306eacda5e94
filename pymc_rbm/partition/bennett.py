"""Bennett's acceptance ratio (1976), MBAR of two states, finds the ratio of two normalisers from draws of both."""

from __future__ import annotations

import numpy as np
import scipy

__all__ = ["log_ratio", "root"]


def root(up: np.ndarray, down: np.ndarray) -> float:
    """Solve Bennett's equation for Δ: its two sides are monotone, so that there is one root between the extremes."""
    low, high = min((-up).min(), down.min()) - 1, max((-up).max(), down.max()) + 1

    def difference(step):
        return scipy.special.expit(-step - up).mean() - scipy.special.expit(step - down).mean()

    return float(scipy.optimize.brentq(difference, low, high, xtol=1e-10))


def log_ratio(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return ``log Z₁ / Z₀`` and its standard error, from draws of p₀ and of p₁.

    Of as many draws of one as of the other it has the least variance; of other numbers it is right, too.

    ``first`` are ``log p₁ / p₀``, both unnormalised, at draws of p₀, ``second`` the same at draws of p₁; shape (draws,)
    where these are independent, or (draws, chains) where chains are. The error is that of Bennett's equation to first
    order: with f and g its terms on either side, averaged over each of n chains, ``var f / n + var g / n`` over the
    square of the mean of either, which are equal at the root.
    """
    step = root(-first.ravel(), second.ravel())
    sides = [scipy.special.expit(x) for x in (first - step, step - second)]
    chains = [x if x.ndim == 1 else x.mean(0) for x in sides]
    return step, float(np.sqrt(sum(x.var() / len(x) for x in chains)) / np.mean([x.mean() for x in chains]))
