"""The ratio of two normalisers from draws of both: Bennett's acceptance ratio (1976), which is MBAR of two states."""

from __future__ import annotations

import numpy as np
import scipy

__all__ = ["log_ratio", "root"]


def root(up: np.ndarray, down: np.ndarray) -> float:
    """Solve Bennett's equation for Δ: its two sides are monotone, so that there is one root between the extremes."""
    low, high = min((-up).min(), down.min()) - 1, max((-up).max(), down.max()) + 1

    def difference(step):
        return scipy.special.expit(-step - up).sum() - scipy.special.expit(step - down).sum()

    return float(scipy.optimize.brentq(difference, low, high, xtol=1e-10))


def log_ratio(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return ``log Z₁ / Z₀`` and its standard error, from as many independent draws of p₀ as of p₁.

    ``first`` are ``log p₁ / p₀``, both unnormalised, at draws of p₀, ``second`` the same at draws of p₁. The error is
    that of Bennett's equation to first order: with f and g its terms on either side, ``var f / n + var g / n`` over
    the square of the mean of either, which are equal at the root.
    """
    step = root(-first, second)
    forward, backward = scipy.special.expit(first - step), scipy.special.expit(step - second)
    variances = forward.var() / len(first) + backward.var() / len(second)
    return step, float(np.sqrt(variances) / np.mean([forward.mean(), backward.mean()]))
