"""A few continuous functionals of the visible state are the quantities by which chains are judged.

Diagnostics of single binary units mislead: a constant one has no R-hat, a rare one always has a good one, and of many
healthy ones some look bad by chance. The free energy, the mean activations and the projections of v on the leading
left singular vectors of W move with everything that the machine does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import by_kernels

__all__ = ["FUNCTIONALS", "WITHOUT_DIRECTIONS", "functionals", "leading_directions", "names_of", "symbolic_functionals"]

NEGLIGIBLE_SINGULAR_VALUE = 0.1
"""The share of the largest singular value of W below which a direction is left out. It is a choice."""
SATURATED = 0.01
"""How close to 0 or 1 the probability of a hidden unit given v must be for it to be saturated. It is a choice."""

WITHOUT_DIRECTIONS = "free_energy", "visible_mean", "hidden_mean"
HIDDEN_MEAN = WITHOUT_DIRECTIONS.index("hidden_mean")
FUNCTIONALS = *WITHOUT_DIRECTIONS, "projection"
MOST_DIRECTIONS = 3
CHUNK_ENTRIES = 2**22


def names_of(machine: Machine) -> tuple[str, ...]:
    """Return the names of a machine's functionals without directions: a single layer lacks the hidden mean."""
    return WITHOUT_DIRECTIONS if len(machine.layers) > 1 else WITHOUT_DIRECTIONS[:HIDDEN_MEAN]


def leading_directions(machine: Machine, most: int = MOST_DIRECTIONS) -> np.ndarray:
    """Return the leading left singular vectors of W, shape (visible, directions).

    Where the visible layer is coupled to itself these are the eigenvectors of U with the largest positive eigenvalues,
    along which the energy falls most. There are at most ``most`` of them, those with a singular value (or eigenvalue)
    of at least a tenth of the largest; none where W is zero. The sign is such that a vector's entries sum to no less
    than zero.
    """
    weights = np.asarray(machine.couplings[0].weights, dtype="float64")
    return _directions(weights.shape, weights.tobytes(), most, machine.own_coupling(VISIBLE) is not None).copy()


@lru_cache(maxsize=4)
def _directions(shape: tuple[int, int], weights: bytes, most: int, symmetric: bool) -> np.ndarray:
    """Return the leading directions, kept for the next call: those of a large matrix take seconds."""
    matrix = np.frombuffer(weights).reshape(shape)
    if symmetric:
        s, U = (x[..., ::-1] for x in np.linalg.eigh(matrix))
    else:
        U, s, _ = np.linalg.svd(matrix, full_matrices=False)
    U = U[:, :most][:, (s > max(NEGLIGIBLE_SINGULAR_VALUE * s[0], 0))[:most]]
    return U * np.where(U.sum(0) < 0, -1, 1)


def symbolic_functionals(machine: Machine, v: Any, directions: Any = None) -> list[TensorVariable]:
    """Return the functionals of each row of ``v`` that `names_of` lists, then projections if there are directions.

    The hidden mean is the mean of the hidden units' probabilities given v.
    """
    found = [machine.free_energy(v), v.mean(-1)]
    found += [machine.mean(i, machine.at(v)).mean(-1) for i in range(HIDDEN, len(machine.layers))]
    return found if directions is None else [*found, pt.dot(v.astype("float64"), directions)]


def functionals(machine: Machine, v: np.ndarray) -> dict[str, np.ndarray]:
    """Return the `FUNCTIONALS` of states of shape (…, visible); projections have the directions last."""
    evaluate, U = _functionals_function(machine.template), leading_directions(machine)
    rows = v.reshape(-1, v.shape[-1])
    parts = [evaluate(part, U, *machine.parameters) for part in chunks(rows, machine)]
    joined = [np.concatenate(x) for x in zip(*parts, strict=True)]
    names = (*names_of(machine), "projection")
    return {name: x.reshape(*v.shape[:-1], *x.shape[1:]) for name, x in zip(names, joined, strict=True)}


def chunks(rows: np.ndarray, machine: Machine) -> list[np.ndarray]:
    size = max(1, CHUNK_ENTRIES // max(np.shape(machine.couplings[0].weights)))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@remembered(64)
def _functionals_function(template: Machine):
    """Compile (v, directions, parameters…) -> the `FUNCTIONALS` by row."""
    machine, inputs = template.symbolic()
    v, directions = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype), pt.dmatrix()
    return by_kernels([v, directions, *inputs], symbolic_functionals(machine, v, directions))
