"""The method and the rate that `fit` chooses where it is not told: by the size of the machine, then by the data.

Where log Z is an exact sum that costs no more than the particles there is no need of chance. Else it matters how
strongly the data are correlated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
from pytensor.graph.traversal import ancestors

from pymc_rbm.distributions.lookup import rbm_behind
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.directions import bimodality, leading
from pymc_rbm.learning.estimators.parallel_tempering import tempered
from pymc_rbm.learning.estimators.pcd import NegativePhase, exact, persistent
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered
from pymc_rbm.learning.exact_sums import factors_of
from pymc_rbm.learning.islands import islands
from pymc_rbm.learning.objective import direct_names
from pymc_rbm.machine.enumeration import cheapest_layer, is_summed_by_kernel, sizes_of
from pymc_rbm.machine.machine import VISIBLE
from pymc_rbm.machine.mixture import is_mixture
from pymc_rbm.machine.normalisable import is_gaussian

__all__ = [
    "RATE",
    "Correlation",
    "Correlations",
    "bears_fast_rate",
    "climbs_alone",
    "climbs_at_the_end",
    "clustered",
    "correlation",
    "curvature",
    "default_method",
    "default_rate",
    "spreads",
]

RATE = 0.1
TEMPERED_RATE = 0.3
"""Tempered particles lag less, and bear the rate undivided where data are strongly correlated: after 10,000 updates
silhouettes (strength 18, 16 hidden units) are 9 nats better than by plain chains at .3/18, MNIST (strength 5, 100
units) 4 nats. Of 0.1, 0.3, 0.5 and 2 it was the best for an RBM of ordered Ising spins (7x7, beta = 0.5), in the one
or two runs each that were made. Those that swap with earlier machines lag more: at .3 one of eight runs of two
groups, and two of six runs of five groups, ended with the mass in one of them; at .1 none and one."""
RATES_OF_REPLICAS: dict[Callable[..., NegativePhase], float] = {tempered: TEMPERED_RATE, trajectory_tempered: RATE}
FAST_RATE = 0.3
"""Of digits 8x8 with 16 hidden units .07 nats a row are left after 40,000 updates, and .18 at a rate of .1. Of bars and
stripes 4x4, 30 rows with as many hidden units, .1 to .7, and .03 at .1: particles cannot follow to single rows. Of
1,400 rows of 180 bits (dna) and 3,076 parameters a rate of .3 ends .07 and .12 nats higher in two runs."""
LOW_RANK_RATE = 0.2
"""From a low-rank start the noise of steps lets modes grow that no particle ever sees, about as its square and the
number of updates do. Of eight narrow clusters, 4,000 updates, log Z exact: at .3, whatever the strength, one of two
seeds ended with nine tenths of its mass there; at .3, .2 and .1 over the strength the weights of clusters were .15 to
.42, .02 to .04 and .01 to .02 off. That was without replicas at higher temperatures; with them neither of two seeds had
such a mode after 40,000 updates at .2, and weights were .014 off."""
POWER_ITERATIONS = 100
MOST_ENTRIES = 2**24
"""The most entries of the data, and of the states that are summed over: the exact objective holds them in memory."""
FEW_STATES = 2**10
"""The most states that an exact log Z sums over by default, whatever the rows: ten binary units."""
FEW_STATES_AND_ROWS = 6000
"""The most states and different rows together: 1,000 evaluations of the exact objective, from up to eight starts, then
cost about as much as learning that settles (355 rows of 18 items, 4,096 states: 22 and 19 s of CPU)."""
MOST_FACTORS, MOST_IN_ROWS = 2**24, 2**22
"""The most factors of an exact log Z (20x16 units), and numbers in states that complete rows, for a climb at the end:
about 20 ms an evaluation, of which there are a thousand."""
TWO_GROUPS = 5 / 9
"""That of a uniform distribution; a normal one has 1/3, two points have 1."""


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
    curvature : float
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


class Correlations(Sequence[Correlation]):
    """Those of some data, each measured when it is first asked for: fits that are told all need none."""

    def __init__(self, observed: Sequence[Observed]):
        self._observed, self._found = observed, dict[int, Correlation]()

    def __len__(self):
        return len(self._observed)

    def __getitem__(self, i: Any) -> Any:
        if i not in self._found:
            self._found[i] = correlation(self._observed[i])
        return self._found[i]


def correlation(x: Observed) -> Correlation:
    """Measure the rows of `Observed.spread`; what is missing stands at its mean."""
    rows = x.at_means(x.spread)
    if len(rows) < 2:
        return Correlation()
    if x.machine.layers[VISIBLE].unit.parameters:  # learning is in units of σ, for which the data's deviation stands in
        rows = rows / x.deviation
    [strength], vectors = leading(rows, 1)
    curved = curvature(rows) if x.machine.own_coupling(VISIBLE) is not None else 0.0
    along = (rows - rows.mean(0)) @ vectors[:, 0]
    if not along.any():
        return Correlation(curvature=curved)
    return Correlation(float(strength), bimodality(along), curved)


def spreads(x: Observed) -> bool:
    """Whether binary rows are correlated strongly along more than one direction, as three clusters are."""
    rows = x.at_means(x.spread)
    return min(rows.shape) > 1 and bool(leading(rows, 2)[0][1] > 1)


def clustered(found: Correlation, x: Observed) -> bool:
    """Whether binary rows are more than two groups: along more than one direction, and apart along the leading one.

    Many groups need not look so along any direction. They are found by the distances between rows (`islands`).
    """
    return found.strong and spreads(x) and (found.splits or islands(x.at_means(x.spread)) > 2)


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


def climbs_alone(model: pm.Model, observed: list[Observed]) -> bool:
    """Whether the exact maximum is there to be climbed to, at about the cost of following particles.

    log Z must be a sum over few states, or over those of some twenty units without hidden ones, or an integral over
    Gaussian units, the data complete or nearly so and of moderate size, and the model nothing but machines.
    """
    return _machines_alone(model) and all(_is_small(x) or _is_network(x) for x in observed)


def _machines_alone(model: pm.Model) -> bool:
    """Whether the model is nothing but machines whose parameters have priors of their own.

    The joint density of a hierarchy has no maximum in general.
    """
    free = [rv for rv in model.free_RVs if not (isinstance(rv.owner.op, HiddenRV) or _is_imputed(rv))]
    alone = not model.potentials and all(rbm_behind(rv) is not None for rv in model.observed_RVs)
    return alone and not any(set(free) & set(ancestors([rv])) - {rv} for rv in free)


def _is_imputed(rv: Any) -> bool:
    """Whether a variable holds the missing entries of an observed RBM."""
    return rv.name.endswith("_unobserved") and rbm_behind(rv) is not None


def _is_small(x: Observed) -> bool:
    """Whether hundreds of evaluations of the exact objective cost about as much as thousands of updates.

    An evaluation goes through all states and all rows, an update through some hundred particles and rows.
    """
    if x.rows.size > MOST_ENTRIES or x.entries_of_states > MOST_ENTRIES:
        return False
    if x.missing is None and (is_gaussian(x.machine) or _states(x) <= FEW_STATES):
        return True
    if x.by_row or _states(x) >= FEW_STATES_AND_ROWS:
        return False
    return x.patterns is not None and _states(x) + len(x.patterns.states) <= FEW_STATES_AND_ROWS


def _is_network(x: Observed) -> bool:
    """Whether all units are seen and coupled to each other, and log Z is summed fast.

    The log-likelihood is concave in U and b, so that a climb takes few steps.
    """
    return len(x.machine.layers) == 1 and x.missing is None and is_summed_by_kernel(x.machine) and _is_affordable(x)


def climbs_at_the_end(model: pm.Model, observed: list[Observed]) -> bool:
    """Whether the exact objective is summed fast enough to be climbed: by a machine that grows, or after chains."""
    return _machines_alone(model) and all(is_summed_by_kernel(x.machine) and _is_affordable(x) for x in observed)


def _is_affordable(x: Observed) -> bool:
    if factors_of(x.machine) > MOST_FACTORS or x.rows.size > MOST_ENTRIES or x.patterns is None:
        return False
    return x.patterns.states.size <= MOST_IN_ROWS


def _states(x: Observed) -> float:
    """The number of states that an exact log Z sums over."""
    return cheapest_layer(x.machine)[1]


def default_method(
    found: Sequence[Correlation], observed: Sequence[Observed] = (), chains: int = 0, low_rank: bool = False
) -> Callable[..., NegativePhase]:
    """PCD, with tempering where the data are correlated strongly: plain chains would be slow, or stay in a mode.

    Of mixtures of at most ``chains`` components the exact gradient: their chains stay in a component. Where biases
    differ by row each row has a chain of its own, and there is no tempering. From a ``low_rank`` start of strongly
    correlated data with a ladder that has it for its bottom: plain chains would let the weights of its modes drift.
    """
    if observed and all(is_mixture(x.machine) and _states(x) <= chains for x in observed):
        return exact
    if any(x.by_row for x in observed):
        return persistent
    if low_rank and any(x.strong for x in found):
        return trajectory_tempered
    return tempered if any(x.strong for x in found) else persistent


def bears_fast_rate(model: pm.Model, observed: Sequence[Observed]) -> bool:
    """Whether weights and biases themselves are learned, of units with some values, and rows are a quarter of them.

    What parameters gain by chance, half a nat each in all rows together, is then less than two nats a row (Akaike
    1974), and the best machine cannot be each row alone.
    """
    direct = all(direct_names(model, x) for x in observed)
    finite = all(layer.unit.finite for x in observed for layer in x.machine.layers)
    sizes = [[n or 0 for n in sizes_of(x.machine)] for x in observed]
    parameters = sum(n[0] * (n[1] if len(n) > 1 else n[0] / 2) + sum(n) for n in sizes)
    return direct and finite and _machines_alone(model) and parameters / 4 < sum(x.weights.sum() for x in observed)


def default_rate(
    found: Sequence[Correlation],
    estimator: Callable[..., NegativePhase],
    fast: bool = False,
    low_rank: bool = False,
) -> float:
    """`RATE`, divided by the strength of the correlation where it is strong and no replicas swap, or `TEMPERED_RATE`.

    From a ``low_rank`` start at most `LOW_RANK_RATE` / strength.

    With ``fast``, where somebody looks whether learning settles (and `bears_fast_rate`), `FAST_RATE` / strength.
    Weights then grow from zero no faster than for weakly correlated data. A rate that is too high for strongly
    correlated ones drives all plain particles into one mode, and W to infinity; replicas come back from there. Where a
    layer is coupled to itself, at most one over the `curvature`, half of what gradient ascent can bear.
    """
    rate = min(FAST_RATE if fast else RATE, LOW_RANK_RATE if low_rank else FAST_RATE)
    of_replicas = None if low_rank else RATES_OF_REPLICAS.get(getattr(estimator, "func", estimator))
    rate = of_replicas or rate / max(1.0, *(x.strength for x in found))
    return min([rate, *(1 / x.curvature for x in found if x.curvature)])
