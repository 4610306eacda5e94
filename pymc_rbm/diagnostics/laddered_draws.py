"""Judge draws along ladders: whether their chains were renewed, and what weights two groups of draws have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.verdict import MIXED, UNKNOWN, Finding
from pymc_rbm.learning.defaults import TWO_GROUPS
from pymc_rbm.learning.directions import bimodality
from pymc_rbm.sampling.ladder import LEAST_RENEWALS
from pymc_rbm.sampling.laddered import LADDERED
from pymc_rbm.support.convergence import columns, convergence

__all__ = ["are_laddered", "judge_laddered", "two_groups"]


def are_laddered(idata: xr.DataTree) -> bool:
    """Whether the chains that were drawn swap along ladders."""
    return idata.attrs.get("method") in LADDERED or ("sample_stats" in idata and "rungs" in idata["sample_stats"])


def judge_laddered(
    idata: xr.DataTree, functionals: Mapping[str, np.ndarray]
) -> tuple[list[Finding], dict[str, tuple[tuple, Any]]]:
    """Return findings about the ladders of draws, and figures."""
    found, figures = [], {}
    stats = idata["sample_stats"].dataset if "sample_stats" in idata else {}
    renewals = int(stats["renewals"].values[:, -1].min()) if "renewals" in stats else idata.attrs.get("renewals")
    if renewals is not None:
        figures["renewals"] = renewals
        if renewals < LEAST_RENEWALS:
            reason = (
                f"Chains not renewed: they became new ones from the bottom of the ladder {renewals} times, fewer "
                f"than {LEAST_RENEWALS}, so that they remember their starts, and weights of modes cannot be trusted."
            )
            found.append(
                Finding(UNKNOWN, reason, "Take more draws, or more lifts up the ladder for each draw (sweeps=).")
            )
    split = two_groups(functionals)
    if split is not None:
        name, weight, error = split
        figures |= {"upper_group_weight": weight, "upper_group_error": error}
        reason = (
            f"The draws are two groups along the {name}: {weight:.3f} of them are in the upper one and "
            f"{1 - weight:.3f} in the lower one, with a Monte Carlo error of {error:.2g}."
        )
        found.append(Finding(MIXED, reason))
    return found, {key: ((), x) for key, x in figures.items()}


def two_groups(functionals: Mapping[str, np.ndarray]) -> tuple[str, float, float] | None:
    """Return the projection that splits draws most, the share of its upper group, and the share's Monte Carlo error.

    Draws are two groups where ``(skewness² + 1) / kurtosis`` of a projection on a leading singular direction of W is
    more than that of a uniform distribution, 5/9 (Pearson 1916). The threshold between them makes the variance of
    the groups' means largest (Otsu 1979). None where no projection splits, or where all chains stay in their groups,
    of which there is no error. The error is ``√(w (1 - w) / ESS)`` of a share w.
    """
    projections = columns({key: x for key, x in functionals.items() if key == "projection"})
    scores = {name: bimodality(x.ravel()) for name, x in projections.items()}
    name = max(scores, key=lambda key: scores[key], default=None)
    if name is None or scores[name] <= TWO_GROUPS:
        return None
    x = projections[name]
    upper = (x > _threshold(x.ravel())).astype("float64")
    ess = float(convergence({"share": upper})["ess_bulk"].values[0])
    weight = float(upper.mean())
    if not np.isfinite(ess) or (np.ptp(upper, axis=1) == 0).all():
        return None
    return name, weight, float(np.sqrt(weight * (1 - weight) / ess))


def _threshold(x: np.ndarray) -> float:
    """Return the threshold, midway between neighbouring values, that makes the variance of two means largest."""
    x = np.sort(x)
    below = np.arange(1, len(x))
    sums = np.cumsum(x)[:-1]
    between = (sums / below - (x.sum() - sums) / (len(x) - below)) ** 2 * below * (len(x) - below)
    between[np.diff(x) <= 0] = -np.inf
    k = int(np.argmax(between))
    return float((x[k] + x[k + 1]) / 2)
