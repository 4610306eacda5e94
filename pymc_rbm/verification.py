"""Numerical check, at construction, of what the graph of a log-density promised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pymc as pm
from pytensor import config
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.effects import IMPOSSIBLE
from pymc_rbm.modes import INTERPRETED
from pymc_rbm.units import Unit

__all__ = ["is_constant", "is_positive_definite", "reproduces", "values_at_start"]

POINTS = 3
"""Values of the other variables."""
STATES = 5
"""Random states of the layer at each of them."""
PRECISION = {"float64": 1e-9, "float32": 1e-4}
"""Relative to the largest number that enters; rounding leaves some 1e-15 and 1e-7."""


def reproduces(
    model: pm.Model,
    x: TensorVariable,
    layers: dict[Variable, tuple[Unit, tuple[int, ...]]],
    terms: Sequence[TensorVariable],
    offset: TensorVariable,
) -> bool:
    """Whether the sum of ``terms`` equals ``offset·x`` up to a constant, at random states and random other values.

    The proof is that of `alignment`; this guards it against what a graph does not say (a check of parameters that fails
    for some states, overflow). Other free variables are moved from the initial point by Normal(0, 1) where real.
    """
    total = sum(term.sum() for term in terms)
    values = _evaluated(model, x, layers, [total, (offset * x).sum()])
    return all(_agree(*np.array(pairs, dtype="float64").T) for pairs in values)


def is_constant(
    model: pm.Model, x: TensorVariable, layers: dict[Variable, tuple[Unit, tuple[int, ...]]], output: TensorVariable
) -> bool:
    """Whether ``output`` is the same at random states of ``x``, as far as rounding allows."""
    for found in _evaluated(model, x, layers, [output]):
        values = np.array(found, dtype="float64")
        if not np.ptp(values, axis=0).max() <= PRECISION[config.floatX] * (1 + np.abs(values).max()):
            return False
    return True


def is_positive_definite(
    model: pm.Model, x: TensorVariable, layers: dict[Variable, tuple[Unit, tuple[int, ...]]], matrices: TensorVariable
) -> bool:
    """Whether the matrices, which do not depend on ``x``, are positive definite at random values of all else."""
    try:
        for found in _evaluated(model, x, layers, [matrices]):
            np.linalg.cholesky(np.asarray(found[0][0]))
    except np.linalg.LinAlgError:
        return False
    return True


def values_at_start(
    model: pm.Model, layers: dict[Variable, tuple[Unit, tuple[int, ...]]], outputs: list[Variable]
) -> list[np.ndarray]:
    """Values of outputs that depend on shapes and data only."""
    others = [y for y in explicit_graph_inputs(outputs) if y not in layers]
    start = model.initial_point(random_seed=1)
    with model:
        evaluate = pm.compile([*layers, *others], outputs, mode=INTERPRETED, on_unused_input="ignore")
    return evaluate(*(np.zeros(shape, y.dtype) for y, (_, shape) in layers.items()), *(start[y.name] for y in others))


def _evaluated(model, x, layers, outputs):
    """Values of the outputs at `STATES` states of ``x``, for each of `POINTS` values of everything else."""
    rng, (unit_of_x, shape_of_x) = np.random.default_rng(0), layers[x]
    others = [y for y in explicit_graph_inputs(outputs) if y not in layers]
    with model:
        evaluate = pm.compile([*layers, *others], outputs, mode=INTERPRETED, on_unused_input="ignore")
    start = model.initial_point(random_seed=1)
    for k in range(POINTS):
        noise = [rng.normal(size=start[y.name].shape) * (k > 0 and "float" in y.dtype) for y in others]
        moved = [(start[y.name] + z).astype(y.dtype) for y, z in zip(others, noise, strict=True)]
        rest = {y: _random_state(unit, shape, rng) for y, (unit, shape) in layers.items()}
        found = []
        for _ in range(STATES):
            rest[x] = _random_state(unit_of_x, shape_of_x, rng)
            found.append(evaluate(*(rest[y].astype(y.dtype) for y in layers), *moved))
        yield found


def _agree(total: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether differences agree; where one is -inf the other is, or its stand-in."""
    possible = np.isfinite(total)
    best = predicted[possible].max(initial=-np.inf)
    if np.isnan(total).any() or (predicted[~possible] > best + IMPOSSIBLE / 2).any():
        return False
    total, predicted = total[possible], predicted[possible]
    if len(total) < 2:
        return True
    scale = 1 + np.abs(total).max() + np.abs(predicted).max()
    return bool(np.abs((total - total[0]) - (predicted - predicted[0])).max() < PRECISION[config.floatX] * scale)


def _random_state(unit: Unit, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Any state of the layer; standard normal where its values cannot be listed."""
    parts = []
    for family, size in unit.parts(shape[-1]):
        if family.states is None:
            z = rng.normal(size=(*shape[:-1], size))
            parts.append(np.abs(z) if family.one_sided else z)
        else:
            states = np.asarray(family.states).reshape(-1, family.width)
            chosen = states[rng.integers(len(states), size=(*shape[:-1], size // family.width))]
            parts.append(chosen.reshape((*shape[:-1], size)))
    return np.concatenate(parts, axis=-1)
