"""The last good state of learning, to go back to when learning leaves the numbers."""

from __future__ import annotations

import time

import numpy as np

from pymc_rbm.generators import generator_at
from pymc_rbm.history import History
from pymc_rbm.learner import Learner

__all__ = ["LastGood", "is_sound", "is_wild", "largest"]

SHARE = 100
"""A state is copied when at least so many times as long has passed as copying took: for a hundredth of the time."""
WILD = 1e6
"""In units of the start values (at least 1): for binary units, nats. Probabilities are 0 or 1 at 40 already."""


def is_sound(learner: Learner, history: History) -> bool:
    """Whether the parameters, and the free energies before the last update, are finite."""
    return np.isfinite(history.last_gap) and all(np.isfinite(x).all() for x in learner.learned_values())


def is_wild(learner: Learner, largest_at_start: float) -> bool:
    """Whether a machine's parameters are finite, but of a size that no data can have asked for."""
    return not largest(learner) <= WILD * max(1.0, largest_at_start)


def largest(learner: Learner) -> float:
    """The largest absolute value of a machine's weights, biases and parameters of units."""
    _, machines = learner.parameters()
    return max(float(np.max(np.abs(p), initial=0)) for machine in machines.values() for p in machine.parameters)


class LastGood:
    """Copies of a learner's state and of the lengths of its history, renewed now and then, where both were good.

    Parameters
    ----------
    learner : Learner
    history : History
    epochs : int
        Whole epochs done.
    """

    def __init__(self, learner: Learner, history: History, epochs: int):
        self._learner, self._history = learner, history
        self._cost = 0.0
        self._copy(epochs)

    def keep(self, epochs: int) -> None:
        """Copy the state after ``epochs`` epochs, unless the last copy was made a moment ago."""
        if time.perf_counter() - self._at > SHARE * self._cost:
            self._copy(epochs)

    def _copy(self, epochs: int) -> None:
        began = time.perf_counter()
        self.epochs, self._state = epochs, self._learner.state()
        self._rng, self._lengths = self._learner.rng.bit_generator.state, self._history.lengths()
        self._at = time.perf_counter()
        self._cost = self._at - began

    def go_back(self) -> int:
        """Put learner and history back to where they were when the copy was made; return the epochs done then."""
        self._learner.restore(self._learner.state_names(), self._state, generator_at(self._rng))
        self._history.cut(*self._lengths)
        return self.epochs
