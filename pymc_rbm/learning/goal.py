"""Evaluate the objective of learning: the penalised log-likelihood a row, by the parameters of one machine.

Both of its parts are logs of sums of exp(-F): for a row, over its missing entries; for log Z, over all states of one
layer. Where a sum is too long, draws x_i of the machine θ₀ that the climb starts from stand for it,

    log Z(θ) - log Z(θ₀) = log mean_i exp(F_θ₀(x_i) - F_θ(x_i))

(Geyer & Thompson 1992, J. R. Statist. Soc. B 54, 657-699): sums of the same form, of weighted states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.learning.exact_sums import factors_of, log_z_by_kernel
from pymc_rbm.machine.enumeration import ENUMERABLE, cheapest_layer, is_summed_by_kernel, joint_states, sized
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.normalisable import gaussian_log_partition, is_gaussian
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.reentrant import value_of

__all__ = [
    "Goal",
    "LogSums",
    "Penalty",
    "exact_log_z",
    "free_energies_of",
    "slopes_of",
    "value_at",
]

CHUNK_ENTRIES = 2**21
Gradient = list[np.ndarray]


@dataclass(frozen=True)
class LogSums:
    """``log Σ exp(-F(x) - offset)`` over groups of states of one layer.

    Attributes
    ----------
    states : ndarray, shape (states, size of layer)
    firsts : ndarray of int
        Where each group begins.
    weights : ndarray
        One weight a group, for the weighted sum of groups.
    offsets : ndarray or float
        One number a state: 0 where all states are summed over; ``log n - F_θ₀(x)`` for n draws of θ₀.
    layer : int
    """

    states: np.ndarray
    firsts: np.ndarray
    weights: np.ndarray
    offsets: Any = 0.0
    layer: int = VISIBLE

    def of_groups(self, machine: Machine) -> np.ndarray:
        """Return the log sum of each group."""
        return self._sums(machine)[0]

    def shares(self, machine: Machine) -> np.ndarray:
        """Return how much each state counts in the gradient of the weighted sum; shares add up as the weights do."""
        _, shares, sizes = self._sums(machine)
        return shares * np.repeat(self.weights, sizes)

    def __call__(self, machine: Machine) -> tuple[float, Gradient]:
        """Return the weighted sum over groups, and its gradient by the machine's parameters."""
        sums, shares, sizes = self._sums(machine)
        slopes = slopes_of(machine, self.states, -shares * np.repeat(self.weights, sizes), self.layer)
        return float(self.weights @ sums), slopes

    def _sums(self, machine: Machine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a = -free_energies_of(machine, self.states, self.layer) - self.offsets
        sizes = np.diff(np.append(self.firsts, len(a)))
        most = np.maximum.reduceat(a, self.firsts)
        w = np.exp(a - np.repeat(most, sizes))
        total = np.add.reduceat(w, self.firsts)
        return most + np.log(total), w / np.repeat(total, sizes), sizes


@dataclass(frozen=True)
class Penalty:
    """The rest of the model's log-density a row, to second order about a point, by the machine's parameters."""

    at: Gradient
    slopes: Gradient
    curvatures: Gradient
    """The second derivatives by each parameter, without mixed ones."""
    quadratic: bool = True
    """Whether the penalty is exact everywhere, and not only where entries keep their signs."""

    def __call__(self, parameters: Sequence[np.ndarray]) -> tuple[float, Gradient]:
        """Return the penalty minus its value at the point of expansion, and its gradient."""
        moves = [x - y for x, y in zip(parameters, self.at, strict=True)]
        bent = [c * m for c, m in zip(self.curvatures, moves, strict=True)]
        value = sum(float((m * (s + b / 2)).sum()) for m, s, b in zip(moves, self.slopes, bent, strict=True))
        return value, [s + b for s, b in zip(self.slopes, bent, strict=True)]


@dataclass(frozen=True)
class Goal:
    """Penalised log-likelihood a row or, if draws estimate log Z, its difference to that of the machine they come from.

    Attributes
    ----------
    machine : Machine
        A machine with numbers, from which all others differ in their parameters only.
    masks : list of ndarray of bool
        Which entries of its parameters may move.
    data : LogSums
    log_z : callable
        Takes a machine, returns log Z and its gradient: `exact_log_z`, or `LogSums` of draws.
    penalty : Penalty
    rest : list of ndarray, optional
        By how much the gradient of all rows differs from that of the rows in ``data``, at the penalty's point. It
        enters as a linear term, which is right near that point (Jordan, Lee & Yang 2019) and wrong far away.
    """

    machine: Machine
    masks: list[np.ndarray]
    data: LogSums
    log_z: Callable[[Machine], tuple[float, Gradient]]
    penalty: Penalty
    rest: Gradient | None = None

    def packed(self, parameters: Sequence[np.ndarray]) -> np.ndarray:
        """Return the entries that may move, as one vector."""
        return np.concatenate([p[m] for p, m in zip(parameters, self.masks, strict=True)])

    @property
    def moves_weights(self) -> bool:
        """Whether some weights may move."""
        return any(mask.any() for mask in self.machine.by_kind.at(self.masks).weights)

    def machine_at(self, x: np.ndarray) -> Machine:
        """Return the machine with these entries."""
        parameters, used = [np.array(p) for p in self.machine.parameters], 0
        for p, mask in zip(parameters, self.masks, strict=True):
            n = int(mask.sum())
            p[mask], used = x[used : used + n], used + n
        return self.machine.with_parameters(parameters)

    @property
    def entries(self) -> int:
        """The number of entries of states, over all layers, that an evaluation goes through; of a kernel an eighth."""
        states = len(self.data.states)
        if isinstance(self.log_z, LogSums):
            states += len(self.log_z.states)
        elif self.log_z is log_z_by_kernel:
            states += int(cheapest_layer(self.machine)[1]) // 8
        return states * sum(np.size(layer.bias) for layer in self.machine.layers)

    @property
    def signs(self) -> np.ndarray:
        """The signs that entries must keep for the penalty to be right; 0 where any sign will do."""
        bent = [(s != 0) | (c != 0) for s, c in zip(self.penalty.slopes, self.penalty.curvatures, strict=True)]
        signs = np.sign(self.packed(self.penalty.at)) * self.packed(bent)
        return 0 * signs if self.penalty.quadratic else signs

    def of_rest(self, x: np.ndarray) -> float:
        """Return the linear term that the rows which are not in the data add to the value."""
        return 0.0 if self.rest is None else float(self.packed(self.rest) @ (x - self.packed(self.penalty.at)))

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the value and its gradient."""
        machine = self.machine_at(x)
        (a, up), (log_z, down), (c, also) = self.data(machine), self.log_z(machine), self.penalty(machine.parameters)
        slope = self.packed([i - j + k for i, j, k in zip(up, down, also, strict=True)])
        slope = slope if self.rest is None else slope + self.packed(self.rest)
        return a - log_z + c + self.of_rest(x), slope


def exact_log_z(machine: Machine, factors: float = np.inf) -> Callable[[Machine], tuple[float, Gradient]] | None:
    """Return a function for log Z and its gradient of machines like this one; None where it is too large a sum.

    Of binary units it is too large, too, where it has more ``factors`` than that, a nanosecond each, unless it has at
    most 2¹⁶ terms.
    """
    if is_gaussian(machine):
        closed = _gaussian_function(machine.template, tuple(map(np.shape, machine.parameters)))

        def of(other: Machine) -> tuple[float, Gradient]:
            value, *slopes = closed(*other.parameters)
            return float(value), slopes

        return of
    layer, count = cheapest_layer(machine)
    if is_summed_by_kernel(machine) and (count <= 2**ENUMERABLE or factors_of(machine) <= factors):
        return log_z_by_kernel
    if count > 2**ENUMERABLE:
        return None
    states = value_of(joint_states(machine, layer, np.arange(int(count))))
    return LogSums(states.astype(machine.layers[layer].unit.dtype), np.zeros(1, int), np.ones(1), 0.0, layer)


def value_at(log_z: Callable[[Machine], tuple[float, Gradient]], machine: Machine) -> float:
    """Return what `exact_log_z` found of a machine, without its gradient where that is work of its own."""
    return float(log_z.of_groups(machine)[0]) if isinstance(log_z, LogSums) else log_z(machine)[0]


def free_energies_of(machine: Machine, states: np.ndarray, layer: int = VISIBLE) -> np.ndarray:
    """Return ``F(x)`` of each state of a layer."""
    evaluate = _free_energy_function(machine.template, layer)
    return np.concatenate([evaluate(states[part], *machine.parameters) for part in _chunks(machine, states)])


def slopes_of(machine: Machine, states: np.ndarray, weights: np.ndarray, layer: int = VISIBLE) -> Gradient:
    """Return the gradient of ``Σ w F(x)`` over states of a layer by each of the machine's parameters."""
    evaluate = _slope_function(machine.template, layer)
    total = [np.zeros(np.shape(p)) for p in machine.parameters]
    for part in _chunks(machine, states):
        for x, slope in zip(total, evaluate(states[part], weights[part], *machine.parameters), strict=True):
            x += slope
    return total


def _chunks(machine: Machine, states: np.ndarray) -> list[slice]:
    size = max(1, CHUNK_ENTRIES // max(np.size(layer.bias) for layer in machine.layers))
    return [slice(i, i + size) for i in range(0, len(states), size)]


@remembered(64)
def _free_energy_function(template: Machine, layer: int):
    machine, inputs = template.symbolic()
    x = pt.matrix(dtype=template.layers[layer].unit.dtype)
    value = machine.free_energy(x, layer)
    return pytensor.function([x, *inputs], value, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def _slope_function(template: Machine, layer: int):
    machine, inputs = template.symbolic()
    x, weights = pt.matrix(dtype=template.layers[layer].unit.dtype), pt.dvector()
    total = (weights * machine.free_energy(x, layer)).sum()
    slopes = pt.grad(total, inputs, disconnected_inputs="ignore")
    return pytensor.function([x, weights, *inputs], slopes, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def _gaussian_function(template: Machine, shapes: tuple[tuple[int, ...], ...]):
    machine, inputs = sized(template, shapes)
    value = gaussian_log_partition(machine)
    slopes = pt.grad(value, inputs, disconnected_inputs="ignore")
    return pytensor.function(inputs, [value, *slopes], on_unused_input="ignore", mode=INTERPRETED)
