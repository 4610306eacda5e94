r"""Start learning of clustered data from a machine of a few hidden units along the data's leading directions.

The columns of W are kept in the span of the leading directions u_1 … u_k of the data (`directions.leading`), W = UA
(Decelle & Furtlehner 2021, PRL 127, 158303; Béreux, Decelle, Furtlehner, Rosset & Seoane 2025, ICLR). Such a machine
tells clusters apart before any chain has moved. The sources tabulate its density over the k projections of v, with the
entropy of the visible units for large N. Here nothing is approximated: log Z is a sum over the 2^k states of k hidden
units. In centred units, with h̄ = h - ½ and the data's means μ,

    log p(v) = bᵀv + Σ_j [softplus(f_j) - f_j/2] - log Z,       f = c + Aᵀm,   m = Uᵀ(v - μ),
    log Z = log Σ_h exp(h̄ᵀ(c - AᵀUᵀμ) + Σ_i softplus(b_i + (UAh̄)_i)),

and L-BFGS climbs the mean of log p(v) over rows by A, b and c, from A with one direction a hidden unit. A row costs k
projections, whatever the number of columns. Where rows are few, or clusters differ in units that never change, the
maximum is at infinity: weights have the prior Normal(0, `WIDTH`).

The machine is drawn from exactly, too: draws with the right weights of all clusters start the particles, and are the
bottom of the ladder of ``method="ptt"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import scipy
import xarray as xr

from pymc_rbm.learning.data import Observed, evenly
from pymc_rbm.learning.defaults import spreads
from pymc_rbm.learning.directions import leading
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered
from pymc_rbm.learning.exact_sums import log_z_by_kernel
from pymc_rbm.learning.objective import direct_names, direct_parameters
from pymc_rbm.machine.machine import Machine, restricted
from pymc_rbm.support.reentrant import one_compiles
from pymc_rbm.units.binary import Bernoulli, Spin
from pymc_rbm.units.unit import Unit

__all__ = ["LOW_RANK", "asked_for", "low_rank_machines", "obstacle"]

LOW_RANK = "low rank"
"""The value of `fit`'s argument ``start`` that asks for this start."""
MOST_UNITS = 12
MOST_ENTRIES = 2**22
"""The most factors of log Z that the climb sums, which take about 4 ms for each evaluation."""
STATES_A_UNIT, COLUMNS = 16, 6000
"""How many states may be summed over for each hidden unit, and for so many visible ones: the climb then takes a few
percent of 10,000 updates of ``method="ptt"``."""
MOST_ROWS, MOST_CELLS = 2**13, 2**23
"""The most rows, and entries of these, that the climb sees."""
ROWS_OF_DIRECTIONS = 2000
ITERATIONS, MEMORY, CHANGE = 150, 20, 1e-7
"""Limits of L-BFGS: iterations, pairs that it keeps, and relative change. They are loose, as it only finds a start."""
WIDTH = 4.0
ROUNDING = 1e-9
"""The eigenvalue up to which a direction counts as uncorrelated."""


def low_rank_machines(model: pm.Model, observed: Sequence[Observed]) -> dict[str, Machine]:
    """Return the machine that each RBM starts from, by name: numbers for all of its units."""
    with one_compiles():
        shapes = model.eval_rv_shapes()
    return {x.name: _machine(x, int(shapes[str(direct_parameters(model, x)[0])][1])) for x in observed}


def asked_for(
    model: pm.Model, observed: Sequence[Observed], start: Any, method: Callable | None, resume: xr.DataTree | None
) -> bool:
    """Return whether learning starts, or started, from low-rank machines; ValueError, before any work, if it cannot.

    With nothing said a ladder stands on one where data are correlated strongly along more than one direction, if it
    can.
    """
    if resume is not None:
        return "start" in getattr(resume, "attrs", {})
    wrong = obstacle(model, observed)
    if start is None and getattr(method, "func", method) is trajectory_tempered and not wrong:
        return any(map(spreads, observed))
    if not isinstance(start, str) or start != LOW_RANK:
        return False
    if wrong:
        raise ValueError(
            f"start={LOW_RANK!r} needs RBMs of Bernoulli or Spin units, one layer on each side, whose W, b and c are "
            f"free variables themselves, such as pm.Normal or pm.Flat, but {wrong}. Leave start out, or "
            "give a dict of values by name of free variable."
        )
    return True


def obstacle(model: pm.Model, observed: Sequence[Observed]) -> str:
    """Return which RBM has no low-rank start, and why, in words; an empty text if all have one."""
    for x in observed:
        units = [layer.unit for layer in x.machine.layers]
        if len(units) != 2 or len(x.machine.couplings) != 1 or not all(isinstance(u, Bernoulli | Spin) for u in units):
            wrong = f"has layers of {units}" + ", which are coupled to each other" * (len(units) == 1)
        elif x.by_row:
            wrong = "has biases that differ by row"
        elif not direct_names(model, x):
            wrong = "has a W, b or c that is an expression, fixed, or transformed"
        else:
            continue
        return f"{x.name!r} {wrong}"
    return ""


def _machine(x: Observed, size: int) -> Machine:
    """Return the machine of ``size`` hidden units: the first ones are those of the climb, the others have zero weights.

    Missing entries stand at their means. Nothing is random.
    """
    visible, hidden = (layer.unit for layer in x.machine.layers)
    chosen = _chosen(x.weights, min(MOST_ROWS, max(1, MOST_CELLS // x.rows.shape[1])))
    rows = x.at_means(chosen)
    low, high = visible.ends
    found = climbed((rows - low) / (high - low), _units(size, rows.shape[1]), x.weights.sum())
    W, b, c = _in_units(*found, visible, hidden)
    zeros = np.zeros((len(b), size - len(c)))
    return restricted(np.hstack([W, zeros]), b, np.append(c, zeros[0]), visible, hidden)


def _units(hidden: int, visible: int) -> int:
    """Return how many hidden units the climb is to have."""
    states = min(STATES_A_UNIT * (hidden + COLUMNS / visible), MOST_ENTRIES / visible, 2**MOST_UNITS)
    return max(1, min(hidden, int(np.log2(states))))


def _chosen(weights: np.ndarray, most: int) -> np.ndarray:
    """Return indices of rows, evenly spread, each as often as it counts."""
    same = (weights == weights[0]).all()
    ends, n = np.cumsum(weights), min(len(weights), most) if same else most
    return np.searchsorted(ends, (np.arange(n) + 0.5) / n * ends[-1])


def climbed(rows: np.ndarray, units: int, counted: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W, b and c for rows of 0 and 1, with ``units`` hidden units, or fewer if there are fewer directions.

    ``counted`` is how many rows stand against the prior. One more row of halves keeps all means from being certain.
    """
    rows = np.vstack([rows, np.full_like(rows[:1], 0.5)])
    mean = rows.mean(0)
    some = rows[evenly(len(rows) - 1, ROWS_OF_DIRECTIONS)]
    values, directions = leading(some, min(units, max(1, rows.shape[1] - 1))) if len(some) > 1 else ([], rows[:0].T)
    directions = directions[:, np.asarray(values) > ROUNDING]
    alone = np.log(mean) - np.log1p(-mean)
    if not directions.size:
        return directions, alone, directions[0]
    goal = _Goal((rows - mean) @ directions, mean, directions, counted)
    first = np.diag(1 / goal.projections.std(0))
    start = np.concatenate([first.ravel(), np.zeros(goal.size), alone])
    options = {"maxiter": ITERATIONS, "maxcor": MEMORY, "ftol": CHANGE}
    end = scipy.optimize.minimize(goal.descent, start, jac=True, method="L-BFGS-B", options=options)
    A, c, b = goal.parts(end.x)
    W = directions @ A
    return W, b - W.sum(1) / 2, c - mean @ W


@dataclass(frozen=True)
class _Goal:
    """The penalised log-likelihood a row in centred units.

    Attributes
    ----------
    projections : ndarray, shape (rows, k)
    mean : ndarray, shape (visible,)
    directions : ndarray, shape (visible, k)
    counted : float
    """

    projections: np.ndarray
    mean: np.ndarray
    directions: np.ndarray
    counted: float

    @property
    def size(self) -> int:
        """The number of directions, which is also the number of hidden units."""
        return self.projections.shape[1]

    def parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return A, c and b."""
        k = self.size
        return x[: k * k].reshape(k, k), x[k * k : k * k + k], x[k * k + k :]

    def descent(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the value, and its gradient."""
        A, c, b = self.parts(x)
        fields, W = c + self.projections @ A, self.directions @ A
        on = (scipy.special.expit(fields) - 0.5) / len(fields)
        # The machine of bits: its log Z is greater by half of the sum of its hidden biases.
        shifted = c - self.mean @ W
        log_z, (visible, hidden, both) = log_z_by_kernel(restricted(W, b - W.sum(1) / 2, shifted))
        halves = hidden - 0.5
        value = self.mean @ b + (np.logaddexp(0, fields) - fields / 2).sum(1).mean() - log_z + shifted.sum() / 2
        prior = -A / WIDTH**2 / self.counted
        both = both - visible[:, None] / 2 - np.outer(self.mean, halves)  # E (v - μ)h̄ᵀ
        of_A = self.projections.T @ on - self.directions.T @ both + prior
        slope = np.concatenate([of_A.ravel(), on.sum(0) - halves, self.mean - visible])
        return -(value + (A * prior).sum() / 2), -slope


def _in_units(W: np.ndarray, b: np.ndarray, c: np.ndarray, visible: Unit, hidden: Unit) -> tuple[np.ndarray, ...]:
    """Return the same machine's parameters for units v = v₀ + s v' and h = h₀ + t h', of zeros and ones v' and h'.

    ``vᵀWh`` is ``st v'ᵀWh' + s h₀ (v'ᵀW1) + t v₀ (1ᵀWh')`` and a constant.
    """
    (v0, v1), (h0, h1) = visible.ends, hidden.ends
    s, t = v1 - v0, h1 - h0
    W = W / (s * t)
    return W, b / s - h0 * W.sum(1), c / t - v0 * W.sum(0)
