"""Steps off a saddle: where hidden units have almost no weights the gradient by W almost vanishes, whatever the data.

A hidden unit with weights w adds a coupling along w between the visible units. So the eigenvectors of the difference
between the covariances of data and machine lead away, as weights of the units that have the smallest ones.
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.learning.goal import Goal
from pymc_rbm.machine.machine import HIDDEN
from pymc_rbm.support.reentrant import value_of

__all__ = ["steps_by_pairs"]

SCALES = 0.5, 1.0, 2.0, 4.0
"""The norms of the new weights, for visible units with a standard deviation of one half, as fair coins have."""
UNITS = 1, 3
"""How many hidden units get such weights at once."""
COIN = 0.5


def steps_by_pairs(goal: Goal, draws: np.ndarray) -> list[np.ndarray]:
    """Return points with new weights for the hidden units with the smallest ones, whose fields have mean 0 on the data.

    Parameters
    ----------
    goal : Goal
    draws : ndarray, shape (draws, visible)
        Draws of the goal's machine.
    """
    machine = goal.machine
    if len(machine.layers) == 1 or not goal.moves_weights:
        return []
    states, shares = goal.data.states.astype("float64"), goal.data.shares(machine)
    mean, deviation = shares @ states, draws.std(0) + 1e-12
    apart = _covariance(states, shares) - _covariance(draws.astype("float64"), np.full(len(draws), 1 / len(draws)))
    apart = apart / np.outer(deviation, deviation)
    np.fill_diagonal(apart, 0)
    values, vectors = np.linalg.eigh(apart)
    hidden = machine.layers[HIDDEN]
    resting = np.asarray(value_of(hidden.unit.mean(np.zeros(len(hidden.bias)))))
    found = []
    for scale in SCALES:
        for count in UNITS:
            along = vectors[:, ::-1][:, : min(count, len(resting), int((values > 0).sum()))]
            found.append(_with(goal, scale * COIN * along / deviation[:, None], mean, resting))
    return found


def _covariance(states: np.ndarray, weights: np.ndarray) -> np.ndarray:
    off = states - weights @ states
    return off.T @ (off * weights[:, None])


def _with(goal: Goal, along: np.ndarray, mean: np.ndarray, resting: np.ndarray) -> np.ndarray:
    """Return the point where the units of least weights get weights ``along``, and biases keep means to first order."""
    parameters = goal.machine.by_kind.map(lambda p: np.array(p, "float64"))
    [W], (b, c) = parameters.weights, parameters.biases
    least = np.argsort(np.linalg.norm(W, axis=0))[: along.shape[1]]
    on = resting[least]
    b += (W[:, least] - along) @ on
    W[:, least], c[least] = along, -mean @ along
    return goal.packed(parameters.flat())
