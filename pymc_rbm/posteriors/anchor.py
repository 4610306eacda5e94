r"""log Z as a smooth function of the parameters, from draws of one machine, the *anchor* θ₀.

With free energies F and draws v of p_θ₀,

    log Z(θ) = log Z(θ₀) + log E_θ₀ exp(F_θ₀(v) - F_θ(v)),

whose mean over K draws is a deterministic function of θ with derivatives of all orders (Geyer & Thompson 1992, JRSS B
54, 657-699; Geyer 1994, JRSS B 56, 261-274). Its error moves the posterior of N rows by about √(N / K) posterior
standard deviations: that of the gradient at θ₀, times N, beside the posterior's own spread. So two sets are used. The
gradient comes from *all* K draws; what bends away from it, the rest of the sum, from K₁ of them that are carried along:

    log Ẑ(θ) = log Z(θ₀) + log (1/K₁) Σ_carried exp(F_θ₀(v) - F_θ(v)) + (θ - θ₀)ᵀ (ḡ - ḡ₁),

with ḡ and ḡ₁ the means of ``-∂F/∂θ`` at θ₀ over all and over carried draws. At θ₀ its value is log Z(θ₀) and its
gradient ḡ. An evaluation costs K₁ free energies. Equal states are merged and counted; where all K draws make no more
than K₁ different ones, all are carried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.learning.goal import free_energies_of, slopes_of
from pymc_rbm.machine.machine import Machine, logsumexp

__all__ = ["Anchor"]


@dataclass(frozen=True, eq=False)
class Anchor:
    """An anchor of one machine, and what log Z near it needs.

    Attributes
    ----------
    machine : Machine
        At θ₀, with numbers.
    log_z : float
        log Z(θ₀).
    states : ndarray, shape (different states, visible)
        The carried draws.
    counts : ndarray, shape (different states,)
        How often each was drawn.
    corrections : list of ndarray
        ``ḡ - ḡ₁`` by parameter of the machine.
    rows : int
        The number of rows whose log-densities have this log Z.
    draws : float
        How many independent draws all K are worth.
    """

    machine: Machine
    log_z: float
    states: np.ndarray
    counts: np.ndarray
    corrections: list[np.ndarray]
    rows: int
    draws: float

    @classmethod
    def of(cls, machine: Machine, log_z: float, draws: np.ndarray, carried: int, rows: int, worth: float) -> Anchor:
        """Return the anchor of a machine with these draws, shape (K, visible), of which at most so many are carried."""
        states, counts = np.unique(draws, axis=0, return_counts=True)
        corrections = [np.zeros(np.shape(p)) for p in machine.parameters]
        if len(states) > carried:
            every = np.linspace(0, len(draws) - 1, carried).astype(int)
            few, of_few = np.unique(draws[every], axis=0, return_counts=True)
            sums = (slopes_of(machine, x, n / n.sum()) for x, n in ((few, of_few), (states, counts)))
            corrections = [there - here for there, here in zip(*sums, strict=True)]
            states, counts = few, of_few
        return cls(machine, log_z, states, counts, corrections, rows, worth)

    def at(self, log_z: float) -> Anchor:
        """Return the same anchor with its log Z."""
        return replace(self, log_z=log_z)

    @property
    def error(self) -> float:
        """About how many posterior standard deviations means are off, √(N / K)."""
        return float(np.sqrt(self.rows / self.draws))

    @cached_property
    def _base(self) -> np.ndarray:
        """``F_θ₀`` of each state, the logarithm of its share added."""
        return free_energies_of(self.machine, self.states) + np.log(self.counts / self.counts.sum())

    def of_machine(self, machine: Machine) -> TensorVariable:
        """Return log Ẑ as a graph, for a machine with graphs as parameters; the draws are shared variables."""
        states = pytensor.shared(self.states.astype(pytensor.config.floatX), name="anchor_states")
        base = pytensor.shared(self._base, name="anchor_energies")
        found = self.log_z + logsumexp(base - machine.free_energy(states))
        for p, at, by in zip(machine.parameters, self.machine.parameters, self.corrections, strict=True):
            if np.any(by):
                found += ((pt.as_tensor(p) - at) * by).sum()
        return found

    def log_weights(self, machine: Machine) -> np.ndarray:
        """Return ``F_θ₀ - F_θ`` and the logarithm of the share of each carried state."""
        return self._base - free_energies_of(machine, self.states)

    def value(self, machine: Machine) -> float:
        """Return log Ẑ of a machine with numbers as parameters."""
        log_weights = self.log_weights(machine)
        highest = log_weights.max()
        moved: Any = zip(machine.parameters, self.machine.parameters, self.corrections, strict=True)
        linear = sum(float(((np.asarray(p) - at) * by).sum()) for p, at, by in moved)
        return float(self.log_z + highest + np.log(np.exp(log_weights - highest).sum()) + linear)
