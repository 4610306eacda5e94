"""A machine may fall apart into several that are not coupled: its log Z is the sum of theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pymc_rbm.machine.colouring import unit_numbers
from pymc_rbm.machine.machine import Layer, Machine

__all__ = ["part_of", "separate"]


def separate(machine: Machine) -> list[Machine]:
    """Return the machines that ``machine`` consists of, such that no coupling joins units of two of them.

    All units that are not coupled to any other form one machine without couplings. ``machine`` is as
    `Machine.numeric` returns it.
    """
    nodes, first = [], 0
    for layer in machine.layers:
        numbers = first + unit_numbers(layer.unit, len(layer.bias))
        nodes.append(numbers)
        first = int(numbers.max(initial=first - 1)) + 1
    ends = [(nodes[c.first], nodes[c.second], *np.nonzero(c.weights)) for c in machine.couplings]
    one = np.concatenate([a[i] for a, _, i, _ in ends] or [np.empty(0, int)])
    other = np.concatenate([b[j] for _, b, _, j in ends] or [np.empty(0, int)])
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(first, first))
    _, group = connected_components(graph, directed=False)
    group = np.where(np.bincount(group)[group] == 1, -1, group)
    return [_part(machine, [group[x] == k for x in nodes]) for k in np.unique(group)]


def _part(machine: Machine, chosen: list[np.ndarray]) -> Machine:
    """Return the machine of the chosen entries of each layer, without the layers in which no entry is chosen."""
    kept = [i for i, x in enumerate(chosen) if x.any()]
    layers = [part_of(machine.layers[i], chosen[i]) for i in kept]
    couplings = []
    for c in machine.couplings:
        weights = c.weights[np.ix_(chosen[c.first], chosen[c.second])]
        if weights.any():
            first, second = kept.index(c.first), kept.index(c.second)
            couplings.append(replace(c, first=first, second=second, weights=weights, classes=None))
    return Machine(tuple(layers), tuple(couplings))


def part_of(layer: Layer, chosen: np.ndarray) -> Layer:
    """Return the chosen entries of a layer, which are whole units, with numbers for biases."""
    return Layer(layer.unit.at(np.flatnonzero(chosen)), layer.bias[chosen])
