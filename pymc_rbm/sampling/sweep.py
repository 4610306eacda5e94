"""Sample by block Gibbs, in the only loop of the package that samples conditionals.

The units of a block are independent given the rest (that is what *restricted* buys), so a whole block is
drawn at once; in a layer that is coupled to itself `sites` goes from class to class. A sweep updates every block once
and leaves ``p(x)`` invariant (Geman & Geman 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import as_node
from pymc_rbm.machine.enumeration import is_binary_pair
from pymc_rbm.machine.machine import VISIBLE, Machine, State
from pymc_rbm.sampling.sites import update_classes, update_sites

__all__ = ["kept_layers", "sweep", "sweeps", "sweeps_of_a_piece", "visits"]

MOST_PRODUCTS = 2**33
"""The most products of a state and a weight, about a second's work, between two checks for Ctrl-C."""
PRODUCTS_OF_UNIT, PRODUCTS_OF_SITE = 100, 10_000
"""The cost, in products of a state and a weight, of drawing a unit, and of going on to the next unit of a layer."""


def sweep(
    machine: Machine,
    state: State,
    rng: TensorVariable,
    clamped: Sequence[Any] | None = None,
    backwards: bool = False,
    last: int | None = None,
) -> tuple[list[TensorVariable], TensorVariable]:
    """Update every block once, in the order of ``machine.blocks(last)``.

    Parameters
    ----------
    machine : Machine
    state : sequence of tensor_like, shape (…, size)
        One state a layer. A layer that is updated before anything reads it may be None.
    rng : random generator variable
    clamped : sequence, optional
        A layer's entry is None (all its units are free), True (none is) or a boolean mask, True where
        the unit keeps its value.
    backwards : bool
        Whether layers that are coupled to themselves go through their units in the opposite order.
    last : int, optional
        A layer of the block that is updated last.

    Returns
    -------
    state : list of tensor
    rng : random generator variable
    """
    state = list(state)
    for block in machine.blocks(last):
        for layer in block:
            held = None if clamped is None else clamped[layer]
            if held is True:
                continue
            own = machine.own_coupling(layer)
            if own is not None:
                update = update_sites if own.classes is None else update_classes
                state[layer], rng = update(machine, layer, state, rng, held, backwards)
                continue
            rng, new = machine.layers[layer].unit.sample(machine.field(layer, state), rng)
            state[layer] = new if held is None else pt.where(held, state[layer], new)
    return state, rng


def sweeps(
    machine: Machine,
    state: State,
    rng: TensorVariable,
    n: int | TensorVariable,
    clamped: Sequence[Any] | None = None,
    last: int | None = None,
) -> tuple[list[TensorVariable], TensorVariable]:
    """Run ``n`` sweeps, a number that may be symbolic; parameters and results are those of `sweep`.

    Sweeps of two binary layers are one node of the graph, so that a back end may have a kernel for them.
    """
    if is_binary_pair(machine):
        return as_node(_sweeps, machine, state, rng, n, clamped, last)
    return _sweeps(machine, state, rng, n, clamped, last)


def visits(
    machine: Machine, v: Any, rng: TensorVariable, draws: int | TensorVariable, n: int | TensorVariable
) -> tuple[TensorVariable, TensorVariable]:
    """Return the visible states after every ``n`` sweeps, shape (draws, …, visible), and the next rng.

    The chains start at the visible states ``v``, and hidden states are drawn given them.
    """
    definition = partial(as_node, _visits) if is_binary_pair(machine) else _visits
    [trace], rng = definition(machine, machine.at(v), rng, n, None, None, draws)
    return trace, rng


def _visits(machine, state, rng, n, clamped, last, draws):
    def draw(old, old_rng, count, *parameters):
        inner = machine.with_parameters(parameters)
        (new, *_), new_rng = _sweeps(inner, inner.at(old), old_rng, count, clamped, last)
        return new, new_rng

    trace, rng = pytensor.scan(
        draw,
        outputs_info=[pt.as_tensor(state[VISIBLE]).astype(machine.layers[VISIBLE].unit.dtype), rng],
        non_sequences=[pt.as_tensor(n), *map(pt.as_tensor, machine.parameters)],
        n_steps=draws,
        return_updates=False,
    )
    return [trace], rng


def _sweeps(
    machine: Machine,
    state: State,
    rng: TensorVariable,
    n: int | TensorVariable,
    clamped: Sequence[Any] | None,
    last: int | None,
) -> tuple[list[TensorVariable], TensorVariable]:
    if isinstance(n, int | np.integer) and n == 1:
        return sweep(machine, state, rng, clamped, last=last)
    # Layers that the first block overwrites need no start, but a loop's state must have a shape.
    state = [
        machine.mean(i, state).astype(layer.unit.dtype) if x is None else pt.as_tensor(x).astype(layer.unit.dtype)
        for i, (layer, x) in enumerate(zip(machine.layers, state, strict=True))
    ]
    masks = [m for m in clamped or () if m is not None and m is not True]

    # Parameters enter as explicit arguments: a random weight must be drawn once, not once a sweep.
    def one(*args):
        inner, inner_rng = list(args[: len(state)]), args[len(state)]
        rest = list(args[len(state) + 1 :])
        parameters, inner_masks = rest[: len(machine.parameters)], rest[len(machine.parameters) :]
        inner_clamped = clamped and [m if m is None or m is True else inner_masks.pop(0) for m in clamped]
        inner, inner_rng = sweep(machine.with_parameters(parameters), inner, inner_rng, inner_clamped, last=last)
        return *inner, inner_rng

    *traces, rng = pytensor.scan(
        one,
        outputs_info=[*state, rng],
        non_sequences=[*map(pt.as_tensor, machine.parameters), *map(pt.as_tensor, masks)],
        n_steps=n,
        return_updates=False,
    )
    return [trace[-1] for trace in traces], rng


def kept_layers(machine: Machine) -> list[int]:
    """Return the layers that a sweep reads: all but those of its first block, which it draws from the others.

    A layer that is coupled to itself is always read.
    """
    first, *others = machine.blocks()
    return sorted([i for i in first if machine.own_coupling(i)] + [i for block in others for i in block])


def sweeps_of_a_piece(machine: Machine, chains: int) -> int:
    """Return how many sweeps of ``chains`` chains are about a second's work, at least one."""
    sizes = [np.shape(layer.bias)[-1] for layer in machine.layers]
    each = sum(np.size(c.weights) for c in machine.couplings) + PRODUCTS_OF_UNIT * sum(sizes)
    steps = sum(n for i, n in enumerate(sizes) if machine.own_coupling(i) is not None)
    return max(1, MOST_PRODUCTS // (chains * each + PRODUCTS_OF_SITE * steps))
