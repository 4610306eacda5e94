"""Machines of several layers, summed by plain loops."""

import numpy as np
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.machine.machine import Coupling, Layer, Machine


def triangle(seed=3, scale=1.2):
    """Three layers, all coupled: three blocks, so that a sweep is not its own reversal."""
    rng = np.random.default_rng(seed)
    sizes, pairs = (3, 2, 2), ((0, 1), (0, 2), (1, 2))
    layers = tuple(Layer(pmr.Bernoulli(), scale * rng.standard_normal(n)) for n in sizes)
    return Machine(layers, tuple(Coupling(i, j, scale * rng.standard_normal((sizes[i], sizes[j]))) for i, j in pairs))


def weighted_states(machine):
    """States of all layers and their log-weights, by plain loops."""
    sizes = [len(layer.bias) for layer in machine.layers]
    found = []
    for x in ref.states(sum(sizes)):
        parts, at = [], 0
        for n in sizes:
            parts.append(x[at : at + n])
            at += n
        total = sum(
            b * u
            for layer, part in zip(machine.layers, parts, strict=True)
            for b, u in zip(layer.bias, part, strict=True)
        )
        for c in machine.couplings:
            for i, u in enumerate(parts[c.first]):
                for j, w in enumerate(parts[c.second]):
                    total += u * w * c.weights[i][j]
        found.append((parts, total))
    return found


def exact_draws(machine, kept, n, rng):
    """Independent draws of the kept layers, from the enumerated distribution."""
    states = weighted_states(machine)
    log_p = np.array([t for _, t in states])
    chosen = rng.choice(len(states), n, p=np.exp(log_p - ref.log_sum(list(log_p))))
    return [np.array([states[k][0][layer] for k in chosen], dtype="int8") for layer in kept]
