"""`fit` records the terms of its objective beside the kept rows: priors and potentials, and the other rows.

`fit` records it, so that what it returned is enough to say whether the objective still rises: the rest of the model's
log-density to second order about the last iterate (exact for normal and flat priors), and the difference that all
rows make to the gradient of those that are kept (the surrogate likelihood of Jordan, Lee & Yang 2019, J. Am. Stat.
Assoc. 114, 668-681).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.basic import NormalRV
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import plain
from pymc_rbm.distributions.pymc_internals import FlatRV
from pymc_rbm.learning.data import Observed, evenly, learned_variables
from pymc_rbm.learning.goal import Penalty, slopes_of
from pymc_rbm.learning.objective import direct_parameters, rest_of_model
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.machine import Machine

__all__ = ["moved", "recorded_objective", "recorded_penalty"]

STEP, QUADRATIC = 1e-4, 1e-3  # of finite differences, and their largest relative error
MOST_ROWS, CHUNK = 20_000, 5_000
_rests: WeakKeyDictionary[Learner, dict[str, Callable]] = WeakKeyDictionary()


def recorded_objective(model: pm.Model, learner: Learner, machines: dict[str, Machine]) -> xr.Dataset:
    """Return what `fit` keeps of the objective, for each RBM and its parameters as in `Machine.parameters`.

    ``{name}_is_free`` : 1 where learning moves the parameter itself, 2 where it is a function of what learning moves, 0
    where it is fixed.
    ``{name}_is_whole`` : whether learning moves nothing else.
    ``{name}_rows`` : the sum of all rows' weights.
    ``{name}_penalty_slope_{k}``, ``{name}_penalty_curvature_{k}`` : first and second derivatives by each entry of the
    rest of the model's log-density, in nats a row; left out where they are zero.
    ``{name}_is_quadratic`` : whether these derivatives say all, on the other side of zero, too.
    ``{name}_rest_slope_{k}`` : gradient of the mean of -F over all rows minus that over the rows kept, if they differ.
    """
    found: dict[str, Any] = {}
    for x in learner.observed:
        machine, total = machines[x.name].numeric(), float(x.weights.sum())
        free = _own(model, x)
        found[f"{x.name}_is_free"] = (f"{x.name}_parameter", _how_free(model, x, free))
        moves = {model.values_to_rvs[value] for value in learned_variables(model)}
        found[f"{x.name}_is_whole"] = ((), int(moves <= set(free)))
        found[f"{x.name}_rows"] = ((), total)
        slopes, curvatures, quadratic = _penalty(model, learner, x, machine, free)
        parts = {"penalty_slope": slopes, "penalty_curvature": curvatures}
        found[f"{x.name}_is_quadratic"] = ((), int(quadratic))
        if len(x.kept) < len(x.rows) and not x.by_row and x.weights[x.kept].any():
            parts["rest_slope"] = [s * total for s in _rest_of_rows(learner, x, machine)]
        for key, arrays in parts.items():
            for k, array in enumerate(arrays):
                if np.any(array):
                    dims = [f"{x.name}_{key}_{k}_dim_{i}" for i in range(np.ndim(array))]
                    found[f"{x.name}_{key}_{k}"] = (dims, array / total)
    return xr.Dataset(found)


def recorded_penalty(learned: xr.DataTree, name: str, machine: Machine, key: str = "penalty") -> Penalty:
    """Return the recorded penalty about the parameters of ``machine``; zero where none was recorded."""
    group = learned["objective"].dataset if "objective" in learned else xr.Dataset()

    def of(order: str) -> list[np.ndarray]:
        names = [f"{name}_{key}_{order}_{k}" for k in range(len(machine.parameters))]
        return [
            np.asarray(group[x]) if x in group else np.zeros(np.shape(p))
            for x, p in zip(names, machine.parameters, strict=True)
        ]

    return Penalty([np.asarray(p) for p in machine.parameters], of("slope"), of("curvature"))


def moved(learned: xr.DataTree, machines: dict[str, tuple[Machine, Machine]]) -> xr.Dataset:
    """Return the record that expands about each pair's first machine, moved to the second, without rows' gradient."""
    group = learned["objective"].to_dataset()
    for name, (old, new) in machines.items():
        _, slopes = recorded_penalty(learned, name, old)(new.parameters)
        for k, slope in enumerate(slopes):
            if f"{name}_penalty_slope_{k}" in group:
                group[f"{name}_penalty_slope_{k}"] = group[f"{name}_penalty_slope_{k}"].copy(data=slope)
    return group.drop_vars([x for x in group if "_rest_slope_" in str(x)])


def _own(model: pm.Model, x: Observed) -> list[TensorVariable | None]:
    """Return the free variable that each parameter of the machine is, or None."""
    own = x.machine.by_kind.own
    return x.machine.by_kind.at_weights_first([*direct_parameters(model, x), *[None] * len(own)]).flat()


def _how_free(model: pm.Model, x: Observed, free: list[TensorVariable | None]) -> list[int]:
    moved = {model.values_to_rvs[value] for value in learned_variables(model)}
    found = []
    for p, rv in zip(x.machine.parameters, free, strict=True):
        depends = bool(moved & set(ancestors([pt.as_tensor(p)])))
        found.append(1 if rv is not None else 2 * depends)
    return found


def _penalty(
    model: pm.Model, learner: Learner, x: Observed, machine: Machine, free: list[TensorVariable | None]
) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
    """Return slopes and diagonal curvatures of the rest of the model by each parameter, and whether they are exact."""
    zeros = [np.zeros(np.shape(p)) for p in machine.parameters]
    own = [k for k, rv in enumerate(free) if rv is not None]
    if _are_simple(model, [free[k] for k in own]):
        slopes, curvatures = zeros, list(zeros)
        for k in own:
            curvatures[k] = np.broadcast_to(_curvature(free[k]), zeros[k].shape)
            slopes[k] = curvatures[k] * (machine.parameters[k] - _centre(free[k]))
        return slopes, curvatures, True
    kept = _rests.setdefault(learner, {})
    if x.name not in kept:
        kept[x.name] = _function(model, learner, [free[k] for k in own])
    at = [np.asarray(machine.parameters[k]) for k in own]
    value, *slopes = kept[x.name](*at)
    step = [STEP * (1 + np.abs(a)) for a in at]
    _, *shifted = kept[x.name](*(a + h for a, h in zip(at, step, strict=True)))
    bent = [(b - a) / h for a, b, h in zip(slopes, shifted, step, strict=True)]
    other, *_ = kept[x.name](*(-a for a in at))
    expected = sum(float((2 * a * (c * a - s)).sum()) for a, s, c in zip(at, slopes, bent, strict=True))
    by_parameter, curved = dict(zip(own, slopes, strict=True)), dict(zip(own, bent, strict=True))
    return (
        [np.asarray(by_parameter.get(k, z)) for k, z in enumerate(zeros)],
        [np.asarray(curved.get(k, z)) for k, z in enumerate(zeros)],
        abs(float(other - value) - expected) < QUADRATIC * (1 + abs(expected)),
    )


def _are_simple(model: pm.Model, variables: list[TensorVariable]) -> bool:
    """Whether nothing but RBMs and flat or normal priors with constant parameters depends on the variables."""
    others = [rv for rv in model.basic_RVs if rv not in variables]
    machines = [rv for rv in others if rv in model.observed_RVs]
    known = all(
        isinstance(rv.owner.op, FlatRV)
        or (isinstance(rv.owner.op, NormalRV) and all(isinstance(p, Constant) for p in _parameters(rv)))
        for rv in variables
    )
    alone = all(rv in machines or not set(variables) & set(ancestors([rv])) for rv in others)
    return known and alone and not model.potentials and len(machines) == len(model.observed_RVs) == 1


def _parameters(rv: TensorVariable) -> list[Any]:
    """Return the parameters of a prior, without the dims that PyMC adds."""
    return [plain(p) for p in rv.owner.op.dist_params(rv.owner)]


def _curvature(rv: TensorVariable | None) -> Any:
    if rv is None or isinstance(rv.owner.op, FlatRV):
        return 0.0
    return -1.0 / np.square(np.asarray(_parameters(rv)[1].data, "float64"))


def _centre(rv: TensorVariable | None) -> Any:
    return 0.0 if rv is None or isinstance(rv.owner.op, FlatRV) else np.asarray(_parameters(rv)[0].data, "float64")


def _function(model: pm.Model, learner: Learner, variables: list[TensorVariable]) -> Callable:
    values = [model.rvs_to_values[rv] for rv in variables]
    rest = rest_of_model(model)
    rest = pt.as_tensor(0.0) if rest is None else model.replace_rvs_by_values([rest])[0]
    slopes = pt.grad(rest, values, disconnected_inputs="ignore")
    return learner.function_of(values, [rest, *slopes])


def _rest_of_rows(learner: Learner, x: Observed, machine: Machine) -> list[np.ndarray]:
    """Return the gradient of the mean of -F over all rows (at most 20,000, spread evenly), less that over kept rows."""
    many, weights = evenly(len(x.rows), MOST_ROWS), np.zeros(len(x.rows))
    weights[x.kept] += x.weights[x.kept] / x.weights[x.kept].sum()
    weights[many] -= x.weights[many] / x.weights[many].sum()
    some, total = np.flatnonzero(weights), [np.zeros(np.shape(p)) for p in machine.parameters]
    for chunk in np.split(some, range(CHUNK, len(some), CHUNK)):
        for sums, slope in zip(total, slopes_of(machine, learner.rows(x.name, chunk), weights[chunk]), strict=True):
            sums += slope
    return total
