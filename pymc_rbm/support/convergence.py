"""Measure the mixing of arrays of shape (chain, draw), by ArviZ's R-hat and ESS and by measures that ArviZ lacks."""

from __future__ import annotations

import numpy as np
import scipy
import xarray as xr

from pymc_rbm.support.interrupts import arviz

__all__ = [
    "cautious",
    "columns",
    "convergence",
    "count_units",
    "ess_asked",
    "rhat",
    "rhat_by_chance",
    "rounding",
    "settled",
    "two_sample",
    "within_autocorrelation",
]

RHAT = 1.01
"""Rank-normalised split R-hat up to which chains agree (Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021)."""
ESS = 400
"""Bulk effective sample size from which R-hat and the ESS themselves can be trusted (the same paper)."""
ESS_PER_CHAIN = 10
"""Bulk ESS a chain below which the chains are too slow for their length (Gelman et al. 2013, Bayesian Data Analysis,
section 11.5: five for each half of a chain)."""
ESS_SHARE = 0.25
"""Share of the draws that is asked of the ESS at most: where there are too few draws for `ESS`, chains are long enough
if their autocorrelation time is up to four draws. This is a choice: for independent draws ArviZ's estimate is hardly
ever below half of their number."""
FALSE_ALARM = 0.01
"""Chance that healthy, mixing chains are called "not mixed", of each family of tests, shared equally among its tests
(Bonferroni). An R-hat above 1.01 that chance at this level would explain gives "cannot tell", not "not mixed"."""
FEW_DRAWS = 20
"""Number of draws a chain below which no verdict is given: halves of chains would have fewer than ten."""

MEASURES = "rhat", "rhat_by_chance", "ess_bulk", "ess_tail", "autocorrelation", "autocorrelation_within"
AXES = {"chain_axis": 0, "draw_axis": 1}


def columns(functionals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name every functional and every direction of a projection, each of shape (chain, draw)."""
    out: dict[str, np.ndarray] = {}
    for name, x in functionals.items():
        label = name.replace("_", " ")
        out |= {label: x} if x.ndim == 2 else {f"{label} {k + 1}": x[..., k] for k in range(x.shape[2])}
    return out


def convergence(functionals: dict[str, np.ndarray], among: int = 1) -> xr.Dataset:
    """Return ArviZ's measures of each functional.

    Parameters
    ----------
    functionals : dict
        (chain, draw) or (chain, draw, direction) by name.
    among : int
        How many sets of chains are looked at: ``rhat_by_chance`` is exceeded by chance in one of a hundred such looks.

    Returns
    -------
    Dataset
        By ``functional``: ``rhat`` (rank-normalised split, infinite where chains are constant at different values),
        ``rhat_by_chance`` (see there), ``ess_bulk``, ``ess_tail``, ``autocorrelation`` (integrated, in draws:
        number of draws over bulk ESS) and ``autocorrelation_within`` (the mean of single chains). NaN where a
        functional never changes.
    """
    found = columns(functionals)
    rows = [_measures(x, FALSE_ALARM / len(found) / among) for x in found.values()]
    return xr.Dataset(
        {key: ("functional", np.array([row[key] for row in rows])) for key in MEASURES},
        coords={"functional": list(found)},
    )


def _measures(x: np.ndarray, level: float) -> dict[str, float]:
    chains, draws = x.shape
    if np.ptp(x) <= rounding(x) or draws < 4:
        return dict.fromkeys(MEASURES, np.nan)
    az = arviz()

    within = within_autocorrelation(x)
    by_chance = rhat_by_chance(chains, draws, cautious(within, x.size), level)
    if (np.ptp(_halves(x), axis=1) <= rounding(x)).all():
        return dict(zip(MEASURES, (np.inf, by_chance, chains, chains, np.inf, within), strict=True))
    bulk = float(az.ess(x, method="bulk", **AXES))
    tail = float(az.ess(x, method="tail", prob=(0.05, 0.95), **AXES))
    return dict(zip(MEASURES, (rhat(x), by_chance, bulk, tail, x.size / bulk, within), strict=True))


def ess_asked(chains: int, draws: int) -> float:
    """Return the bulk ESS that so many chains and draws need: `ESS`, or what is feasible with few draws."""
    return max(ESS_PER_CHAIN * chains, min(ESS, ESS_SHARE * chains * draws))


def rounding(x: np.ndarray) -> float:
    """Return by how much ``x`` may differ when the same states are summed in another order."""
    return 1e-9 * max(1.0, float(np.abs(x).max()))


def settled(x: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Round ``x`` to within `rounding`, so that the same state computed in two ways has the same rank."""
    grid = rounding(x if like is None else like)
    return np.round(x / grid) * grid


def rhat(x: np.ndarray) -> float:
    """Return ArviZ's rank-normalised split R-hat, the larger of bulk and folded, without 0/0 for constant values."""
    az = arviz()

    found = [1.0]
    for method, values in (("z_scale", x), ("folded", np.abs(x - np.median(x)))):
        values = settled(values)
        if np.ptp(values) > rounding(values):
            moves = (np.ptp(_halves(values), axis=1) > rounding(values)).any()
            found.append(float(az.rhat(x, method=method, **AXES)) if moves else np.inf)
    return max(found)


def _halves(x: np.ndarray) -> np.ndarray:
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def within_autocorrelation(x: np.ndarray) -> float:
    """Return the integrated autocorrelation time within single chains, in draws, at least 1.

    It is that of the value or of its distance from the median, whichever is slower, and NaN where no chain moves.
    """
    az = arviz()

    draws = x.shape[1]
    times = [1.0]
    for values in (x, np.abs(x - np.median(x))):
        moving = values[np.ptp(values, axis=1) > rounding(values)]
        if not len(moving):
            continue
        single = az.ess(moving.T[None], method="bulk", **AXES)  # each chain is taken as a dataset of one chain
        times.append(draws / float(np.mean(single)))
    return max(times)


def cautious(autocorrelation: float, draws: int) -> float:
    """Return an autocorrelation time, estimated from ``draws`` draws in all, plus two standard errors.

    Its relative variance is 2(2M + 1)/draws, with sums of autocorrelations up to lag M, two and a half times itself
    (Madras & Sokal 1988, Journal of Statistical Physics 50, 109-186; Sokal's times are half of these).
    """
    return autocorrelation * (1 + 2 * np.sqrt(2 * (5 * autocorrelation + 1) / draws))


def rhat_by_chance(chains: int, draws: int, autocorrelation: float, level: float) -> float:
    r"""Return the R-hat that ``chains`` healthy chains exceed with probability ``level``.

    The means of the ``m`` half chains of ``n`` draws vary by ``τ/n`` times the variance within, so that
    ``m - 1`` times their variance is ``τ/n`` times a χ² variable with ``m - 1`` degrees of freedom, and

    .. math::

        \hat R^2 = 1 - 1/n + (\tau / n)\, \chi^2_{m-1} / (m - 1).
    """
    m, n = 2 * chains, draws / 2
    return float(np.sqrt(1 + (autocorrelation * scipy.stats.chi2.isf(level, m - 1) / (m - 1) - 1) / n))


def count_units(low: np.ndarray, high: np.ndarray, margin: float = 0.0) -> dict[str, int]:
    """Count units that never change, given each chain's lowest and highest value, shape (chain, unit).

    Units that are ``dead`` or ``always_on`` stay within ``margin`` of 0 or of 1 everywhere. Units that are ``stuck``
    stay within ``margin`` of 0 or of 1 in each chain, but not of the same value in all chains.
    """
    off, on = high <= margin, low >= 1 - margin
    constant = (off | on).all(axis=0)
    dead, always_on = off.all(axis=0), on.all(axis=0)
    return {
        "dead": int(dead.sum()),
        "always_on": int(always_on.sum()),
        "stuck": int((constant & ~dead & ~always_on).sum()),
    }


def two_sample(a: np.ndarray, b: np.ndarray, tests: int) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of two sets of independent numbers, and what it reaches by chance.

    The second figure is exceeded with probability `FALSE_ALARM` over ``tests`` if both have one distribution
    (asymptotically; less often where values are tied).
    """
    a, b = np.split(settled(np.concatenate([a, b])), [len(a)])
    distance = scipy.stats.ks_2samp(a, b, method="asymp").statistic
    by_chance = scipy.stats.kstwobign.isf(FALSE_ALARM / tests) * np.sqrt(1 / len(a) + 1 / len(b))
    return float(distance), float(by_chance)
