"""Find out whether what was learned is better than independent units, and warn where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt

from pymc_rbm.learning.data import Observed, shrunk_means
from pymc_rbm.learning.exact_sums import log_partition
from pymc_rbm.learning.goal import free_energies_of
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.enumeration import independent_log_z
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.ladder import uncoupled
from pymc_rbm.support.reentrant import value_of

__all__ = ["hardly_better", "independent", "mean_log_likelihood", "sampled_gain"]

BY_CHANCE = 0.5
"""The nats, in all rows together, that a single weight gains on average where units are independent (Akaike 1974)."""
SHARE_OF_CHANCE = 0.5
"""A gain below this share of what all weights gain by chance does not count as a gain."""


def hardly_better(learner: Learner, climbed: bool, after: str) -> list[str]:
    """Return warnings of machines whose likelihood is not above that of independent units with the data's means.

    Of a climb both are exact. Else the particles say by how much they differ, and it takes two standard errors for a
    warning. Machines whose biases differ by row are left out, and those without persistent chains.

    Parameters
    ----------
    climbed : bool
    after : str
        What learning did: so many starts, or updates.
    """
    machines, particles, warned = learner.parameters()[1], learner.particle_states(), list[str]()
    for x in learner.observed:
        machine, rows = machines[x.name], x.weights.sum()
        if x.by_row or not machine.couplings:
            continue
        if climbed:
            other = independent(machine, _means(machine, x))
            found = mean_log_likelihood(machine, x, log_partition(machine))
            alone = mean_log_likelihood(other, x, independent_log_z(other))
            few, said = (found - alone) * rows < BY_CHANCE, f"{found:.4f} against {alone:.4f} nats a row"
            remedy = "the climb ended at the saddle W = 0: give the weights a wider prior, or start= with larger ones."
        elif learner.persistent and (x.missing is None or not x.missing.any(1).all()):
            gain, error = sampled_gain(machine, x, particles[x.name])
            weights = sum(np.size(w) for w in machine.by_kind.weights)
            few = (gain + 2 * error) * rows < max(BY_CHANCE, SHARE_OF_CHANCE * weights / 2)
            said = f"by {gain:.2g} ± {error:.1g} nats a row"
            remedy = (
                "learning was too short, or its rate too low: leave learning_rate, epochs, updates and seconds out."
            )
        else:
            continue
        if few:
            warned.append(
                f"What was learned of {x.name!r} is hardly better than independent units: {said}, {after}. Either "
                f"these rows show no dependence between the units, or {remedy}"
            )
    return warned


def independent(machine: Machine, mean: np.ndarray) -> Machine:
    """Return the machine without its couplings, and with visible units of these means."""
    return uncoupled(machine, machine.layers[VISIBLE].unit.bias_of_mean(mean))


def sampled_gain(machine: Machine, x: Observed, particles: np.ndarray) -> tuple[float, float]:
    """Return the gain in log-likelihood a row over independent units, and its standard error.

    With x_i the particles of machine θ₁ and θ₀ the independent units, ``log Z(θ₀) / Z(θ₁)`` is ``log mean_i
    exp(F₁(x_i) - F₀(x_i))``: biased downwards by half of its variance, to first order, so that the gain is, too. The
    error is that of the particles, taken as independent, and of the rows where they are more than `Observed.judged`.
    """
    chosen = x.judged
    complete = chosen if x.missing is None else chosen[~x.missing[chosen].any(1)]
    rows, weights = x.rows[complete], x.weights[complete]
    alone = independent(machine, _means(machine, x))
    falls = [free_energies_of(alone, states) - free_energies_of(machine, states) for states in (rows, particles)]
    most = (-falls[1]).max()
    shares = np.exp(-falls[1] - most)
    gain = np.average(falls[0], weights=weights) + most + np.log(shares.mean())
    error = shares.std() / shares.mean() / np.sqrt(len(shares))
    if len(chosen) < len(x.rows):
        error = np.hypot(error, falls[0].std() / np.sqrt(len(rows)))
    return float(gain), float(error)


def mean_log_likelihood(machine: Machine, x: Observed, log_z: Any) -> float:
    """Return the mean log-likelihood a row of what is known, in nats, given ``log_z``."""
    patterns = x.patterns
    assert patterns is not None
    values = value_of(-(patterns.free_energies(machine, pt.as_tensor(patterns.states)) + log_z))
    return float(np.average(values, weights=patterns.weights))


def _means(machine: Machine, x: Observed) -> np.ndarray:
    """Return the data's means, shrunk so that none is at an extreme."""
    return shrunk_means(x, machine.layers[VISIBLE].unit.middle, 1e-3)
