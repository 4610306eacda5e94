r"""Whether a posterior sampled with an anchored log Z is to be believed: other draws of the anchors say how far it is.

With N rows the log-posterior of an anchored model errs by ``δ(θ) = -N (log Ẑ(θ) - log Z(θ))``. To first order in δ
its means and variances are off by

    E θ_i - (true mean) ≈ Cov(θ_i, δ),        Var θ_i / (true variance) ≈ 1 + Cov(z_i², δ),    z_i standardised θ_i,

over draws of the posterior. δ is not known, but the difference of two independent anchors, at one θ₀ and with as many
draws each, is: it has √2 times the error of one. Over S draws of the posterior covariances have a variance of their
own, that of ``z_i δ`` over S, which is taken off their squares: with many parameters it would exceed them.

What all anchors there have in common, a posterior so far away that no draw of θ₀ is near, shows in the weights
``exp(F_θ₀ - F_θ)``: their effective size and their Pareto tail (Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.distributions.lookup import named_machines
from pymc_rbm.machine.given import machines_of_draws, posterior_of
from pymc_rbm.posteriors.anchor import Anchor
from pymc_rbm.posteriors.anchored import Effort, anchors_of, drawn_anchor
from pymc_rbm.support.arguments import generator

__all__ = ["AnchorCheck", "check_anchors"]

MOST_LOOKS, MOST_TAILS = 1000, 200
"""The most draws of a posterior that are looked at, and for which the weights' tail is fitted."""
LEAST_LOOKS = 100
LEAST_TAIL = 100
"""The fewest different weights in a tail to which a Pareto distribution is fitted: few states make none."""
SHIFT, FACTOR, KHAT, WEIGHTS = 0.2, 1.1, 0.7, 100
"""What is reliable: means off by less than the first (in posterior standard deviations, root of the mean square),
standard deviations by less than the second factor (likewise), k-hat at most the third and an effective size of the
weights of at least the fourth, in 95 % of draws. .7 is the limit of Vehtari et al.; the others are choices."""


@dataclass(frozen=True)
class AnchorCheck:
    """The result of `check_anchors`, which is true where the posterior is reliable.

    Attributes
    ----------
    reliable : bool
    reasons : list of str
        Why it is not; empty where it is.
    advice : list of str
    shift, largest_shift : float
        By how many posterior standard deviations the means of parameters are off: root of the mean square, and the
        largest.
    factor, largest_factor : float
        By which factor standard deviations are off, up or down: likewise.
    measures : Dataset
        By ``machine`` and ``look``, at up to 200 draws: ``weights_ess``, the effective size of the anchor's weights,
        and ``khat``, NaN where the tail has fewer than 100 different weights. By ``parameter``: ``shift`` and
        ``log_factor``, each over √2, and their standard errors, ``shift_error`` and ``log_factor_error``.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> rows = np.random.default_rng(1).integers(0, 2, (50, 4))
    >>> with pm.Model() as model:
    ...     v = pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 1)), np.zeros(4), np.zeros(1), observed=rows)
    >>> near = pmr.anchored(model, {"W": np.zeros((4, 1))}, names="v", random_seed=1, progressbar=False)
    >>> with near:
    ...     idata = pm.sample(200, chains=1, random_seed=1, progressbar=False, quiet=True)
    >>> found = pmr.check_anchors(near, idata, random_seed=1, progressbar=False)
    >>> found.reliable, found.shift < 0.2
    (True, True)
    """

    reliable: bool
    reasons: list[str]
    advice: list[str]
    shift: float
    largest_shift: float
    factor: float
    largest_factor: float
    measures: xr.Dataset = field(repr=False)

    def __bool__(self) -> bool:
        return self.reliable

    def __str__(self) -> str:
        of = self.measures
        lines = [
            f"{'reliable' if self.reliable else 'not reliable'}: a posterior of {of.sizes['parameter']} parameters, "
            f"log Z of {', '.join(map(str, of['machine'].values))} anchored",
            *(f"  - {x}" for x in self.reasons),
            *(f"  To do: {x}" for x in self.advice),
            f"means are off by about {self.shift:.2g} posterior standard deviations, at most {self.largest_shift:.2g}",
            f"standard deviations are off by about {100 * (self.factor - 1):.2g} %, at most "
            f"{100 * (self.largest_factor - 1):.2g} %",
            f"effective size of the weights: {_low(of['weights_ess']):,.0f} or more in 95 % of "
            f"{of.sizes['look']} draws; Pareto k-hat: {_khat(of['khat'])}",
            f'"reliable" needs means off by at most {SHIFT}, deviations by at most {100 * (FACTOR - 1):.0f} %, '
            f"an effective size of at least {WEIGHTS} and a k-hat of at most {KHAT}.",
        ]
        return "\n".join(lines)


def check_anchors(
    model: pm.Model, idata: Any, *, random_seed: int | np.random.Generator | None = None, progressbar: bool = True
) -> AnchorCheck:
    """Say whether a posterior that was sampled with an anchored log Z is to be believed, and how far it is off.

    Each anchor is drawn once more, with as many draws. What the two sets disagree about tells by how many posterior
    standard deviations means are off, and by which factor standard deviations are.

    Parameters
    ----------
    model : Model
        What `anchored` returned.
    idata : DataTree
        What ``pm.sample`` returned for it.
    random_seed : int or Generator, optional
        For the second set. The same seed gives the same result.
    progressbar : bool, default True

    Returns
    -------
    AnchorCheck
        Prints as a report, and is true where the posterior is reliable.

    Raises
    ------
    ValueError
        If `anchored` did not make the model, or ``idata`` has fewer than 100 draws of its parameters.

    Notes
    -----
    It is about the anchors alone: whether NUTS mixed say ``az.summary`` and its R-hat. Shifts are found to first order,
    by covariances over at most 1,000 draws of the posterior, whose own noise is taken off on average.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> rows = np.random.default_rng(1).integers(0, 2, (50, 4))
    >>> with pm.Model() as model:
    ...     v = pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 1)), np.zeros(4), np.zeros(1), observed=rows)
    >>> near = pmr.anchored(model, {"W": np.zeros((4, 1))}, names="v", random_seed=1, progressbar=False)
    >>> with near:
    ...     idata = pm.sample(200, chains=1, random_seed=1, progressbar=False, quiet=True)
    >>> found = pmr.check_anchors(near, idata, random_seed=1, progressbar=False)
    >>> bool(found)
    True
    """
    anchors, posterior = anchors_of(model), posterior_of(idata)
    names = [rv.name for rv in model.free_RVs]
    lacking = names if posterior is None else [x for x in names if x not in posterior]
    if posterior is None or lacking:
        raise ValueError(f"idata must be what pm.sample returned for this model; it has no draws of {lacking}.")
    looks = posterior[names].stack(look=("chain", "draw"), create_index=False)
    looks = looks.drop_vars(["chain", "draw"], errors="ignore")
    if looks.sizes["look"] < LEAST_LOOKS:
        raise ValueError(f"idata has {looks.sizes['look']} draws, and at least {LEAST_LOOKS} are needed: sample more.")
    chosen = np.unique(np.linspace(0, looks.sizes["look"] - 1, MOST_LOOKS).astype(int))
    looks = looks.isel(look=chosen).expand_dims("chain").rename(look="draw").transpose("chain", "draw", ...)
    values = np.concatenate([looks[x].values[0].reshape(len(chosen), -1) for x in names], axis=1).astype("float64")
    # A stream of its own: with the seed of the anchor it would be the anchor again.
    rng = np.random.default_rng(generator(random_seed).integers(2**63, size=4))
    machines, delta = named_machines(model), np.zeros(len(chosen))
    sizes, tails = [], []
    for name, anchor in anchors.items():
        effort = Effort(anchor.error, 10**9, int(anchor.counts.sum()), progressbar)
        other = drawn_anchor(name, anchor.machine, anchor.rows, effort, rng)[0].at(anchor.log_z)
        of_draws = list(machines_of_draws(machines[name], looks))
        delta -= anchor.rows * np.array([anchor.value(m) - other.value(m) for m in of_draws])
        some = np.linspace(0, len(of_draws) - 1, min(MOST_TAILS, len(of_draws))).astype(int)
        found = [_weights(anchor, of_draws[i]) for i in some]
        sizes.append([x[0] for x in found])
        tails.append([x[1] for x in found])
    measures = _measures(values, delta, _labels(looks, names))
    measures["weights_ess"] = (("machine", "look"), np.array(sizes))
    measures["khat"] = (("machine", "look"), np.array(tails))
    return _judged(measures.assign_coords(machine=list(anchors)))


def _weights(anchor: Anchor, machine: Any) -> tuple[float, float]:
    """Return the effective size of the weights of carried draws, equal ones counted, and the k-hat of their tail."""
    from arviz_stats.base import array_stats

    log_weights = anchor.log_weights(machine) - np.log(anchor.counts)
    weights = np.exp(log_weights - log_weights.max())
    sums = [float((anchor.counts * weights**k).sum()) for k in (1, 2)]
    every = np.sort(np.repeat(log_weights, anchor.counts))
    khat = np.nan
    if len(np.unique(every[-int(3 * np.sqrt(len(every))) :])) >= LEAST_TAIL:
        with np.errstate(all="ignore"):
            khat = float(array_stats.psislw(every)[1])
    return sums[0] ** 2 / sums[1], khat


def _measures(values: np.ndarray, delta: np.ndarray, parameters: list[str]) -> xr.Dataset:
    """Return how far means and standard deviations of each parameter are off."""
    spread = values.std(0)
    moves = spread > 0
    z = (values[:, moves] - values[:, moves].mean(0)) / spread[moves]
    delta = (delta - delta.mean()) / np.sqrt(2)
    kept = [x for x, m in zip(parameters, moves, strict=True) if m]
    found = {}
    for key, x in (("shift", z), ("log_factor", (z**2 - 1) / 2)):
        terms = x * delta[:, None]
        found[key], noise = terms.mean(0), terms.std(0, ddof=1) / np.sqrt(len(terms))
        found[f"{key}_error"] = noise
    return xr.Dataset({k: ("parameter", x) for k, x in found.items()}, coords={"parameter": kept})


def _sizes(measures: xr.Dataset, key: str) -> tuple[float, float]:
    """Return the root of the mean square, and the largest, without the noise of covariances.

    The largest is that of the means of normal values of that mean square, given what was measured: of many values with
    noise the largest is mostly noise.
    """
    found, noise = measures[key].values, measures[f"{key}_error"].values ** 2
    square = max(float((found**2 - noise).mean()), 0.0)
    shrunk = found * square / np.maximum(square + noise, 1e-300)
    return square**0.5, float(np.abs(shrunk).max(initial=0.0))


def _labels(looks: xr.Dataset, names: list[str]) -> list[str]:
    found = []
    for name in names:
        shape = looks[name].shape[2:]
        found += [f"{name}{list(i) if shape else ''}" for i in np.ndindex(*shape)]
    return found


def _low(x: xr.DataArray) -> float:
    return float(x.quantile(0.05))


def _high(x: xr.DataArray) -> float:
    """Return the 95 % quantile; -inf where nothing is known: a tail of few different weights has no shape."""
    known = x.values[np.isfinite(x.values)]
    return float(np.quantile(known, 0.95)) if len(known) else -np.inf


def _khat(x: xr.DataArray) -> str:
    return f"{_high(x):.2f} or less" if np.isfinite(_high(x)) else "none, of so few different states"


def _judged(measures: xr.Dataset) -> AnchorCheck:
    (shift, largest), (factor, of_factor) = (_sizes(measures, key) for key in ("shift", "log_factor"))
    reasons, advice = [], []
    if shift > SHIFT:
        reasons.append(f"Two sets of draws disagree: means are off by {shift:.2g} posterior standard deviations.")
    if factor > np.log(FACTOR):
        reasons.append(f"Two sets of draws disagree: standard deviations are off by {100 * np.expm1(factor):.2g} %.")
    if reasons:
        advice.append("Anchor with more draws: pymc_rbm.anchored(model, learned, draws=…, states=…).")
    for name in measures["machine"].values:
        of = measures.sel(machine=name)
        khat, size = _high(of["khat"]), _low(of["weights_ess"])
        if khat > KHAT or size < WEIGHTS:
            reasons.append(
                f"The posterior is far from the anchor of {name}: weights of its draws have an effective size of "
                f"{size:,.0f}, and k-hat is {_khat(of['khat'])}."
            )
            advice.append(
                "Anchor nearer to the posterior, at a draw of it: pymc_rbm.anchored(model, "
                "idata['posterior'].dataset.isel(chain=0, draw=-1)), or give the weights a narrower prior."
            )
    sizes = shift, largest, float(np.exp(factor)), float(np.exp(of_factor))
    return AnchorCheck(not reasons, reasons, list(dict.fromkeys(advice)), *sizes, measures)
