"""What the graph of a log-density proves is also checked in numbers, when the step method is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor import config
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import rbm_behind
from pymc_rbm.distributions.pymc_internals import make_initial_point_fn
from pymc_rbm.step_methods.effects import IMPOSSIBLE
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.reentrant import compiled, one_compiles
from pymc_rbm.units.unit import Unit

__all__ = ["is_constant", "is_positive_definite", "reproduces", "values_at_start"]

POINTS = 3
"""How many values of the other variables are tried."""
STATES = 6
"""How many random states of the layer are tried at each value of the other variables."""
PRECISION = {"float64": 1e-9, "float32": 1e-4}
"""The largest difference that counts as rounding, relative to the largest number; rounding leaves 1e-15 and 1e-7."""


def reproduces(
    model: pm.Model,
    x: TensorVariable,
    layers: dict[Variable, tuple[Unit, tuple[int, ...]]],
    terms: Sequence[TensorVariable],
    offset: TensorVariable,
) -> bool:
    """Whether the sum of ``terms`` equals ``offset·x`` up to a constant, at random states and random other values.

    The proof is in `proofs`; this guards it against what a graph does not say (overflow, for example). Every unit takes
    another value in the next state; other layers change at the next point. Other free variables are moved from the
    initial point by Normal(0, 1) where real; where discrete they are drawn.
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
    """Return values of outputs that depend on shapes and data only."""
    others = [y for y in explicit_graph_inputs(outputs) if y not in layers]
    with one_compiles():
        start = model.initial_point(random_seed=1)
    evaluate = _interpreted(model, [*layers, *others], outputs)
    return evaluate(*(np.zeros(shape, y.dtype) for y, (_, shape) in layers.items()), *(start[y.name] for y in others))


def _interpreted(model: pm.Model, inputs: list[Variable], outputs: list[Variable]) -> Any:
    with model:
        return compiled(inputs, outputs, by=pm.compile, mode=INTERPRETED, on_unused_input="ignore")


def _evaluated(model, x, layers, outputs):
    """Yield values of the outputs at `STATES` states of ``x``, for each of `POINTS` values of everything else."""
    rng, (unit_of_x, shape_of_x) = np.random.default_rng(0), layers[x]
    others = [y for y in explicit_graph_inputs(outputs) if y not in layers]
    evaluate = _interpreted(model, [*layers, *others], outputs)
    rest = {y: _states(unit, shape, POINTS, rng) for y, (unit, shape) in layers.items()}
    for k, moved in enumerate(_values_of_others(model, others, rng)):
        found = []
        for state in _states(unit_of_x, shape_of_x, STATES, rng):
            at = [(state if y is x else rest[y][k]).astype(y.dtype) for y in layers]
            found.append(evaluate(*at, *moved))
        yield found


def _values_of_others(model: pm.Model, others: list, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Yield values of the free variables outside the block: the initial point, then `POINTS` - 1 others."""
    drawn = _draws_of_discrete(model, others)
    with one_compiles():
        starts = make_initial_point_fn(model=model)
    for k in range(POINTS):
        start = starts(1 + k)  # machines start at random states
        noise = [rng.normal(size=start[y.name].shape) * (k > 0 and "float" in y.dtype) for y in others]
        moved = [(start[y.name] + z).astype(y.dtype) for y, z in zip(others, noise, strict=True)]
        yield [drawn[y][k - 1].astype(y.dtype) if k and y in drawn else x for y, x in zip(others, moved, strict=True)]


def _draws_of_discrete(model: pm.Model, others: list) -> dict[Variable, np.ndarray]:
    """Draw discrete variables, each given the initial values of all that it depends on; machines are left out."""
    discrete = [y for y in others if "float" not in y.dtype and y in model.values_to_rvs]
    rvs = {y: model.values_to_rvs[y] for y in discrete}
    rvs = {y: rv for y, rv in rvs.items() if isinstance(rv.owner.op, RandomVariable) and not rbm_behind(rv)}
    if not rvs:
        return {}
    with one_compiles():
        start = make_initial_point_fn(model=model, return_transformed=False)(1)
    drawn = {}
    for y, rv in rvs.items():
        given = {x: pt.as_tensor(start[x.name]).astype(x.dtype) for x in model.free_RVs if x is not rv}
        [one] = graph_replace([rv], given, strict=False)
        with one_compiles():
            drawn[y] = pm.draw(one, draws=POINTS - 1, random_seed=2, mode=INTERPRETED)
    return drawn


def _agree(total: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether differences agree; where one is -inf the other must be -inf, or the number that stands for it."""
    possible = np.isfinite(total)
    best = predicted[possible].max(initial=-np.inf)
    if np.isnan(total).any() or (predicted[~possible] > best + IMPOSSIBLE / 2).any():
        return False
    total, predicted = total[possible], predicted[possible]
    if len(total) < 2:
        return True
    scale = 1 + np.abs(total).max() + np.abs(predicted).max()
    return bool(np.abs((total - total[0]) - (predicted - predicted[0])).max() < PRECISION[config.floatX] * scale)


def _states(unit: Unit, shape: tuple[int, ...], number: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw states of a layer; in every second one each unit takes the value that follows the one before."""
    found: list[list[np.ndarray]] = [[] for _ in range(number)]
    for family, size in unit.parts(shape[-1]):
        index = np.array(0)
        for k in range(number):
            if family.states is None:  # real units: standard normal
                z = rng.normal(size=(*shape[:-1], size))
                found[k].append(np.abs(z) if family.one_sided else z)
                continue
            states = np.asarray(family.states).reshape(-1, family.width)
            new = rng.integers(len(states), size=(*shape[:-1], size // family.width))
            index = (index + 1) % len(states) if k % 2 else new
            found[k].append(states[index].reshape((*shape[:-1], size)))
    return [np.concatenate(parts, axis=-1) for parts in found]
