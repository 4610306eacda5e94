"""What chains are watched by: a few continuous functionals of the visible state, and how active each unit is.

Diagnostics of single binary units mislead: a constant one has no R-hat, a rare one always has a good one, and of many
healthy ones some look bad by chance. The free energy, the mean activations and the projections of v on the leading
left singular vectors of W move with everything that the machine does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.sampling.sweep import sweep
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.machine.normalisable import check_normalisable
from pymc_rbm.support.compiled import remembered
from pymc_rbm.diagnostics.thresholds import NEGLIGIBLE_SINGULAR_VALUE, SATURATED

__all__ = [
    "FUNCTIONALS",
    "WITHOUT_DIRECTIONS",
    "activity",
    "functionals",
    "leading_directions",
    "names_of",
    "numeric",
    "symbolic_functionals",
]

WITHOUT_DIRECTIONS = "free_energy", "visible_mean", "hidden_mean"
HIDDEN_MEAN = WITHOUT_DIRECTIONS.index("hidden_mean")
FUNCTIONALS = *WITHOUT_DIRECTIONS, "projection"
MOST_DIRECTIONS = 3
CHUNK_ENTRIES = 2**22


def names_of(machine: Machine) -> tuple[str, ...]:
    """The functionals without directions that a machine has: a single layer has no hidden mean."""
    return WITHOUT_DIRECTIONS if len(machine.layers) > 1 else WITHOUT_DIRECTIONS[:HIDDEN_MEAN]


def numeric(machine: Machine, dtype: str = "float64") -> Machine:
    """Return the machine with arrays for parameters, or raise ValueError where it is not one or two coupled layers."""
    if len(machine.layers) not in (1, 2) or len(machine.couplings) != 1:
        raise ValueError(
            f"Expected a machine of a visible and a hidden layer, or of one layer coupled to itself, got "
            f"{len(machine.layers)} layers and {len(machine.couplings)} couplings."
        )
    [coupling], biases = machine.couplings, [np.shape(layer.bias) for layer in machine.layers]
    if any(len(shape) > 1 for shape in biases):
        raise ValueError(
            f"The biases of this machine differ by row, their shapes are {biases}: it is one machine a row. Take one: "
            "pymc_rbm.machine_of_row(target, learned, row=0)."
        )
    if np.shape(coupling.weights) != (*biases[coupling.first], *biases[coupling.second]):
        raise ValueError(
            f"The shapes do not fit: weights {np.shape(coupling.weights)}, biases {biases}, or they have batch axes."
        )
    machine = machine.numeric(dtype)
    if not all(np.isfinite(p).all() for p in machine.parameters):
        raise ValueError("The machine's parameters contain NaN or infinity.")
    check_normalisable(machine)
    return machine


def leading_directions(machine: Machine, most: int = MOST_DIRECTIONS) -> np.ndarray:
    """Return the leading left singular vectors of W, shape (visible, directions).

    Where the visible layer is coupled to itself these are the eigenvectors of U with the largest positive eigenvalues:
    what lowers the energy most. At most ``most`` of them, those with a singular value (or eigenvalue) of at least a
    tenth of the largest; none where W is zero. The sign is such that a vector's entries sum to no less than zero.
    """
    weights = np.asarray(machine.couplings[0].weights, dtype="float64")
    return _directions(weights.shape, weights.tobytes(), most, machine.own_coupling(VISIBLE) is not None).copy()


@lru_cache(maxsize=4)
def _directions(shape: tuple[int, int], weights: bytes, most: int, symmetric: bool) -> np.ndarray:
    """Kept for the next call: of a large matrix they take seconds."""
    matrix = np.frombuffer(weights).reshape(shape)
    if symmetric:
        s, U = (x[..., ::-1] for x in np.linalg.eigh(matrix))
    else:
        U, s, _ = np.linalg.svd(matrix, full_matrices=False)
    U = U[:, :most][:, (s > max(NEGLIGIBLE_SINGULAR_VALUE * s[0], 0))[:most]]
    return U * np.where(U.sum(0) < 0, -1, 1)


def symbolic_functionals(machine: Machine, v: Any, directions: Any = None) -> list[TensorVariable]:
    """The functionals of each row of ``v`` by `names_of`, then projections unless there are no directions.

    The hidden mean is that of the probabilities given v.
    """
    found = [machine.free_energy(v), v.mean(-1)]
    found += [machine.mean(i, machine.at(v)).mean(-1) for i in range(HIDDEN, len(machine.layers))]
    return found if directions is None else [*found, pt.dot(v.astype("float64"), directions)]


def functionals(machine: Machine, v: np.ndarray) -> dict[str, np.ndarray]:
    """Return the `FUNCTIONALS` of states of shape (…, visible); projections have the directions last."""
    evaluate, U = _functionals_function(machine.template), leading_directions(machine)
    rows = v.reshape(-1, v.shape[-1])
    parts = [evaluate(part, U, *machine.parameters) for part in _chunks(rows, machine)]
    joined = [np.concatenate(x) for x in zip(*parts, strict=True)]
    names = (*names_of(machine), "projection")
    return {name: x.reshape(*v.shape[:-1], *x.shape[1:]) for name, x in zip(names, joined, strict=True)}


def activity(machine: Machine, v: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return what the machine says about its units in states of shape (chain, draw, visible).

    Returns
    -------
    dict
        ``visible_expected`` (visible,): mean of E[v_i | h] with h drawn given each state, which is what the mean over
        draws must be if the states are draws of this machine. ``hidden_low``, ``hidden_high`` (chain, hidden): the
        range over draws of the level of E[h_j | v] between its extremes (`Unit.level`), for binary units the
        probability of 1. ``saturated``: the share of (draw, hidden unit) pairs where it is within .01 of 0 or 1.
        Without a hidden layer the expectation is that of each unit given all others, and the rest is missing.
    """
    evaluate = _activity_function(machine.template)
    low, high = [], []
    expected, saturated, count = np.zeros(v.shape[-1]), 0, 0
    for chain in v:
        ranges = []
        for part in _chunks(chain, machine):
            rng, total, *hidden = evaluate(rng, part, *machine.parameters)
            expected, count = expected + total, count + len(part)
            if hidden:
                saturated = saturated + hidden[2]
                ranges.append(hidden[:2])
        if ranges:
            low.append(np.min([x for x, _ in ranges], axis=0))
            high.append(np.max([x for _, x in ranges], axis=0))
    found = {"visible_expected": expected / count}
    if not low:
        return found
    share = np.asarray(saturated / (count * low[0].size))
    return found | {"hidden_low": np.array(low), "hidden_high": np.array(high), "saturated": share}


def _chunks(rows: np.ndarray, machine: Machine) -> list[np.ndarray]:
    size = max(1, CHUNK_ENTRIES // max(np.shape(machine.couplings[0].weights)))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@remembered(16)
def _functionals_function(template: Machine):
    """(v, directions, parameters…) -> the `FUNCTIONALS` by row."""
    machine, inputs = template.symbolic()
    v, directions = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype), pt.dmatrix()
    return pytensor.function([v, directions, *inputs], symbolic_functionals(machine, v, directions))


@remembered(16)
def _activity_function(template: Machine):
    """(rng, v, parameters…) -> rng, sum of p(v | h), least and most p(h | v) over rows, number of saturated."""
    machine, inputs = template.symbolic()
    rng, v = pt.random.rng("rng"), pt.matrix(dtype=template.layers[VISIBLE].unit.dtype)
    if len(machine.layers) == 1:
        return pytensor.function([rng, v, *inputs], [rng, machine.mean(VISIBLE, [v]).sum(0)])
    (_, h), next_rng = sweep(machine, [v, None], rng, clamped=[True, None])
    p = machine.layers[HIDDEN].unit.level(machine.mean(HIDDEN, [v, None]))
    extreme = pt.or_(p < SATURATED, p > 1 - SATURATED).sum()
    expected = machine.mean(VISIBLE, [None, h]).sum(0)
    return pytensor.function([rng, v, *inputs], [next_rng, expected, p.min(0), p.max(0), extreme])
