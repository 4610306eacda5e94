"""Warn where the σ of Gaussian units exceeds the deviation of their data, so that nothing can be learned."""

from __future__ import annotations

import warnings

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.random.type import RandomType

from pymc_rbm.learning.data import Observed, evenly
from pymc_rbm.machine.machine import VISIBLE
from pymc_rbm.support.reentrant import one_compiles, value_of
from pymc_rbm.units.real import Gaussian

__all__ = ["warn_of_large_scales"]

STANDARD_ERRORS = 4
"""By how many standard errors the data's variance, which is an estimate, must be below σ²."""
MOST_ROWS = 100_000
"""The most rows that are used, evenly spread, because a column may be constant except in a few rows."""
ROUNDING = 1e-12
"""A standard deviation of less than this share of the mean is rounding: the column is constant."""


def warn_of_large_scales(observed: list[Observed]) -> None:
    """Warn of Gaussian visible units whose σ is a number above the standard deviation of their data.

    Whatever W and the hidden units are, a unit's variance is σ² and more. Where σ² is above that of the data W = 0 is
    the best that there is for this unit.
    """
    for x in observed:
        sigma = _known_scales(x)
        if sigma is None:
            continue
        variance, error = _variance(x)
        above = np.flatnonzero((variance > 0) & (sigma**2 > variance * np.exp(STANDARD_ERRORS * error)))
        if above.size:
            worst = above[np.argmax(sigma[above] / np.sqrt(variance[above]))]
            deviation = np.sqrt(variance[worst])
            warnings.warn(
                f"The sigma of {above.size} of the {len(sigma)} visible entries of {x.name!r} is above the standard "
                f"deviation of their data: {sigma[worst]:.3g} against {deviation:.3g} for entry {worst}. Whatever W "
                "is, their variance under the machine is at least sigma², so that nothing can be learned about "
                "them. Standardise the data and take a sigma below 1, or learn it: "
                "visible=pmr.Gaussian(pm.HalfNormal(...)).",
                stacklevel=3,
            )


def _known_scales(x: Observed) -> np.ndarray | None:
    """Return σ by entry of the visible layer, NaN where it is learned or units are not Gaussian; None without any."""
    n, found, start = x.rows.shape[1], np.full(x.rows.shape[1], np.nan), 0
    unit = x.machine.layers[VISIBLE].unit
    for part, size in unit.parts(n):
        if isinstance(part, Gaussian):
            # The graph of a scalar contains the shape of the biases, which may be random: a rewrite removes it.
            with one_compiles():
                sigma = rewrite_graph(pt.as_tensor(part.sigma), include=("ShapeOpt", "canonicalize"), clone=True)
            if not any(isinstance(p.type, RandomType) for p in graph_inputs([sigma])):
                found[start : start + size] = value_of(sigma)
        start += size
    return None if np.isnan(found).all() else found


def _variance(x: Observed) -> tuple[np.ndarray, np.ndarray]:
    """Return variances of the known entries, and standard errors of their logarithms, for any distribution."""
    some = evenly(len(x.rows), MOST_ROWS)
    rows = x.rows[some].astype("float64")
    rows = rows if x.missing is None else np.where(x.missing[some], np.nan, rows)
    weights = np.where(np.isnan(rows), 0.0, x.weights[some][:, None])
    total = np.maximum(weights.sum(0), 1e-300)
    mean = (weights * np.nan_to_num(rows)).sum(0) / total
    centred = np.nan_to_num(rows) - mean
    variance, fourth = ((weights * centred**k).sum(0) / total for k in (2, 4))
    variance = np.where(variance > (ROUNDING * mean) ** 2, variance, 0.0)
    relative = np.maximum(fourth / np.maximum(variance, 1e-300) ** 2 - 1, 0)
    return variance, np.sqrt(relative / np.maximum((weights > 0).sum(0), 1))
