"""The last good state of learning is kept, to go back to when parameters become infinite or absurd."""

from __future__ import annotations

import time

import numpy as np

from pymc_rbm.learning.history import History
from pymc_rbm.learning.update import Learner
from pymc_rbm.support.generators import generator_at

__all__ = ["Bounds", "LastGood"]

SHARE = 100
"""The next copy waits this many times as long as the last one took, so that copies take a hundredth of the time."""
WILD, LOST = 1e6, 1e15
"""Sizes that count as absurd, as multiples of the start values (at least 1). The first is for a machine's parameters,
which for binary units are nats, with probabilities of 0 or 1 from 40 on. The second is for variables, because
parameters may be any function of them."""


class Bounds:
    """Bounds on parameters, given where a learner starts."""

    def __init__(self, learner: Learner):
        self._learner = learner
        self._most = WILD * max(1.0, self.largest())
        self._most_free = LOST * max([1.0, *(float(np.max(np.abs(x), initial=0)) for x in learner.learned_values())])

    def hold(self, history: History) -> bool:
        """Whether the last free energies are finite, and the variables are finite and within the bounds."""
        values = self._learner.learned_values()
        return np.isfinite(history.last_gap) and all((np.abs(x) <= self._most_free).all() for x in values)

    def hold_strictly(self) -> bool:
        """Whether the machines' own parameters, which are evaluated, are within the bounds, too."""
        return self.largest() <= self._most

    def largest(self) -> float:
        """Return the largest absolute value among weights, biases and parameters of units."""
        _, machines = self._learner.parameters()
        return max(float(np.max(np.abs(p), initial=0)) for machine in machines.values() for p in machine.parameters)


class LastGood:
    """Copies of a learner's state and of the lengths of its history, renewed now and then while both are good.

    Parameters
    ----------
    learner : Learner
    history : History
    epochs : int
        The number of whole epochs done.
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
        self._learner.restore(self._state, generator_at(self._rng))
        self._history.cut(*self._lengths)
        return self.epochs
