"""Chains start from states that are spread over what the machine can reach.

Units with finitely many values are dispersed by their family: every level of activity. A real unit is not: its family
knows neither biases nor weights, and so not where the machine is. It is drawn given hidden units that are dispersed:
around ``b + W h``, for every level of h. Where hidden units are real, too, every other block of chains goes from
the visible side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Coupling, Layer, Machine
from pymc_rbm.sampling.sweep import sweep
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.unit import Unit

__all__ = ["dispersed_states", "heated", "opposed", "spread"]


def dispersed_states(machine: Machine, chains: int, rng: np.random.Generator) -> np.ndarray:
    """Return visible start states, each at its own level of activity; each pair of chains has opposite real units."""
    visible = machine.layers[VISIBLE]
    own = np.random.default_rng(rng.integers(2**63))
    v, _ = spread(machine, (chains, len(visible.bias)), pt.random.shared_rng(own), pairs=not visible.unit.finite)
    return value_of(v)


def spread(
    machine: Machine, shape: Any, rng: TensorVariable, pairs: bool = False
) -> tuple[TensorVariable, TensorVariable]:
    """Draw visible states that are spread over what the machine can reach.

    Parameters
    ----------
    machine : Machine
    shape : tuple
        The shape of the states; the first axis is that of the chains.
    rng : random generator variable
    pairs : bool
        Whether neighbouring chains start opposite to each other (`opposed`), so that few of them are not all on one
        side by chance. Otherwise they are independent.

    Returns
    -------
    v : tensor
    next_rng : random generator variable
    """
    visible, state = machine.layers[VISIBLE], []
    arrange = opposed if pairs else _as_they_are
    rng, v = visible.unit.dispersed(shape, rng)
    if visible.unit.finite or len(machine.layers) == 1:
        return arrange(visible.unit, v), rng
    state.append(arrange(visible.unit, v))
    for layer in machine.layers[HIDDEN:]:
        rng, x = layer.unit.dispersed((*tuple(shape)[:-1], layer.bias.shape[-1]), rng)
        state.append(arrange(layer.unit, x))
    (given_hidden, *_), rng = sweep(machine, state, rng, [None, *[True] * (len(state) - 1)])
    if not all(layer.unit.finite for layer in machine.layers[HIDDEN:]):
        block = _chains(v) // max(_cycle(layer.unit) for layer in machine.layers)
        given_hidden = pt.where(pt.eq(block % 2, 1), state[VISIBLE], given_hidden)
    return given_hidden.astype(visible.unit.dtype), rng


def _as_they_are(unit: Unit, x: TensorVariable) -> TensorVariable:
    return x


def opposed(unit: Unit, x: TensorVariable) -> TensorVariable:
    """Return the states with chains (the first axis) in pairs, the second of each opposite to the first.

    Opposite values of finite units mirror each other between the ends, those of real units of both signs differ in
    sign, and those of units of one sign are equal. One-hot units take one value after the other, so that ``q``
    neighbouring chains have them all.
    """
    cycle, chain = _cycle(unit), _chains(x)
    first = x[(pt.arange(x.shape[0]) // cycle) * cycle]
    turned, start = [], 0
    for family, n in unit.parts(x.shape[-1]):
        turned.append(_turned(family, first[..., start : start + n], chain % cycle))
        start += n
    other = turned[0] if len(turned) == 1 else pt.concatenate(turned, axis=-1)
    return pt.where(pt.eq(chain % cycle, 0), x, other).astype(x.dtype)


def _turned(family: Unit, x: TensorVariable, steps: TensorVariable) -> TensorVariable:
    if family.width > 1:
        groups = x.reshape((*(x.shape[i] for i in range(x.ndim - 1)), -1, family.width))
        index = (groups.argmax(-1) + steps) % family.width
        return pt.eq(index[..., None], pt.arange(family.width)).reshape(x.shape, ndim=x.ndim).astype(x.dtype)
    if family.finite:
        low, high = family.ends
        return pt.where(pt.eq(steps % 2, 1), low + high - x, x)
    return x if family.one_sided else pt.where(pt.eq(steps % 2, 1), -x, x)


def _cycle(unit: Unit) -> int:
    """Return how many neighbouring chains have opposite states."""
    return max(2, *(family.width for family, _ in unit.parts(0)))


def _chains(x: TensorVariable) -> TensorVariable:
    """Return the number of each chain, with as many axes as ``x`` has."""
    return pt.arange(x.shape[0]).reshape((-1, *[1] * (x.ndim - 1)))


def heated(machine: Machine, beta: Any) -> Machine:
    """Return the machine with energy ``β·E``, in which real units' narrow modes become wide enough to meet.

    The base of finite units stays. (`Machine.interpolate` leaves the σ of real units as it is, so that narrow modes
    that lie apart never meet.)
    """
    units = [layer.unit.heated(beta) for layer in machine.layers]
    scales = [
        unit.scaled(pt.ones_like(layer.bias)) / layer.unit.scaled(pt.ones_like(layer.bias))
        for unit, layer in zip(units, machine.layers, strict=True)
    ]  # the factors by which products with a unit's state shrink
    layers = [
        Layer(unit, beta * layer.bias / scale) for unit, layer, scale in zip(units, machine.layers, scales, strict=True)
    ]
    couplings = [
        Coupling(c.first, c.second, beta * c.weights / (scales[c.first][:, None] * scales[c.second]), c.classes)
        for c in machine.couplings
    ]
    return Machine(tuple(layers), tuple(couplings))
