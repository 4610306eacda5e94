"""Start values of learning: parameters of a model that suit its data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Constant
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.arguments import start_by_name
from pymc_rbm.distributions.lookup import plain
from pymc_rbm.distributions.pymc_internals import make_initial_point_fn
from pymc_rbm.learning.data import Observed, learned_variables
from pymc_rbm.learning.objective import direct_names, intercepts
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.mixture import free_components, is_mixture, with_components
from pymc_rbm.support.arguments import shown
from pymc_rbm.support.reentrant import one_compiles, value_of
from pymc_rbm.units.unit import Unit

__all__ = ["as_value_point", "mixture_of_groups", "small_weights", "start_values"]

SCALE = 0.1
"""The size of the fields that W sends to the hidden units where learning starts."""
ALIKE = 1e-4
"""Hidden units that differ by less than this share of the largest weight count as the same."""


def start_values(
    model: pm.Model,
    observed: list[Observed],
    start: dict[str, Any] | None,
    rng: np.random.Generator,
    scale: float = SCALE,
    low_rank: Mapping[str, Machine] | None = None,
) -> dict[str, np.ndarray]:
    """Return start values of learning, by name of value variable.

    A variable that *is* an RBM's b starts where independent units have the data's means (for binary ones: log-odds),
    one that is its c at zero, one that is its W at Normal(0, scale/√visible), so that the fields on hidden units differ
    by about ``scale`` at any size, one that is a σ (or γ) of its visible units where these have the data's standard
    deviations. Mixtures start from groups of rows (`mixture_of_groups`). Others start where ``pm.sample`` would, and
    ``start`` overrides all of it. Where ``low_rank`` has machines by name of RBM, W, b and c start there, but for the
    weights of hidden units that have none. Hidden units that are the same in ``start`` would stay so, and so would all
    of them at W = 0: the former get noise, as do the ingredients of a W that is an expression, Normal(0, scale/10).
    """
    seed = int(rng.integers(2**31))
    with one_compiles():
        point = dict(model.initial_point(random_seed=seed))
    direct: set[str] = set()
    for x in observed:
        groups = _groups(model, x, seed)
        starts = [None, x.bias, 0.0] if groups is None else groups.by_kind.weights_first()
        for rv, value in zip(intercepts(model, x), starts, strict=False):
            if rv is not None:
                old = point[rv.name]
                if value is None:
                    value = small_weights(x, old.shape, scale, rng)
                point[rv.name] = np.broadcast_to(np.asarray(value, old.dtype), old.shape).copy()
                direct.add(rv.name)
        for rv, value in _unit_parameters(model, x, groups):
            name = model.rvs_to_values[rv].name
            guess = _value_point(model, {rv.name: value})[name]
            if np.isfinite(guess).all():  # else data differ by what the prior of σ excludes
                point[name] = guess
                direct.add(name)
    for value_var in learned_variables(model):
        if value_var.name not in direct:
            old = point[value_var.name]
            point[value_var.name] = (old + rng.normal(0, scale / 10, np.shape(old))).astype(old.dtype)
    for x in observed:
        if low_rank:
            point.update(_at_machine(model, x, low_rank[x.name], point))
    if start is not None:
        point.update(as_value_point(model, start))
        for x in observed:
            parted = _part(model, x, point, set(start), rng)
            if parted and scale == SCALE:  # only once, however many starts there are
                warnings.warn(
                    f"start gives {parted} hidden unit{'s' * (parted > 1)} of {x.name!r} the same weights and bias as "
                    f"others, which would stay the same because their gradients are. W got Normal(0, {SCALE}/√visible) "
                    f"added there; where it is an expression, what it is made of got Normal(0, {SCALE / 10:g}). Give "
                    "weights that differ to start from them as they are.",
                    stacklevel=4,
                )
    return {v.name: np.asarray(point[v.name]) for v in learned_variables(model)}


def _at_machine(model: pm.Model, x: Observed, machine: Machine, point: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the values of W, b and c that make the machine, but for small weights of units that have none in it."""
    (b, c), [W] = machine.by_kind.biases, machine.by_kind.weights
    names = direct_names(model, x)
    values = np.where(W.any(0), W, point[names[0]]), b, c
    return {name: value.astype(point[name].dtype) for name, value in zip(names, values, strict=True)}


def _part(model: pm.Model, x: Observed, point: dict, named: set[str], rng: np.random.Generator) -> int:
    """Add noise to hidden columns that ``start`` made the same as earlier ones; return how many these are.

    Otherwise their gradients would be the same, too, and they would stay the same for ever.
    """
    W, _, c = (*intercepts(model, x), None)[:3]
    if W is None or len(x.machine.layers) < 2:
        return _part_ingredients(model, x, point, named, rng)
    if W.name not in named:
        return 0
    columns = point[W.name]
    whole = np.vstack([columns, np.zeros(columns.shape[1]) if c is None else point[c.name]])
    same = _same_columns(whole)
    if len(same):
        noise = small_weights(x, (len(columns), len(same)), SCALE, rng)
        point[W.name] = columns.copy()
        point[W.name][:, same] += noise.astype(columns.dtype)
    return len(same)


def _part_ingredients(model: pm.Model, x: Observed, point: dict, named: set[str], rng: np.random.Generator) -> int:
    """Do the same where W is an expression, or in a machine of one layer: what it is made of gets the noise."""
    weights, biases = x.machine.couplings[0].weights, x.machine.layers[-1].bias
    behind = set(ancestors([pt.as_tensor(weights)]))
    made_of = [rv for rv in model.free_RVs if rv.name in named and rv in behind]
    if not made_of:
        return 0
    graphs = model.replace_rvs_by_values([pt.as_tensor(weights), pt.as_tensor(biases)])
    values = {v: pt.as_tensor(point[v.name]) for v in learned_variables(model)}
    W, c = value_of(graph_replace(graphs, values, strict=False))
    whole = np.vstack([W, c])
    same = _same_hidden(whole, x.missing) if len(x.machine.layers) < 2 else len(_same_columns(whole))
    if same:
        for rv in made_of:
            value = model.rvs_to_values[rv].name
            point[value] = (point[value] + rng.normal(0, SCALE / 10, np.shape(point[value]))).astype(point[value].dtype)
    return same


def _same_columns(whole: np.ndarray) -> np.ndarray:
    """Return which columns are the same as another one, but for the first of each kind."""
    along = np.random.default_rng(len(whole)).standard_normal(len(whole))
    order = np.argsort(along @ whole, kind="stable")  # columns that are the same become neighbours
    steps = np.abs(np.diff(whole[:, order], axis=1)).max(0, initial=0.0)
    return order[1:][steps <= ALIKE * np.abs(whole).max(initial=0.0)]


def _same_hidden(whole: np.ndarray, missing: np.ndarray | None) -> int:
    """Return how many units that no row knows could change places with an earlier one; U stands above the biases."""
    hidden = np.flatnonzero(False if missing is None else missing.all(0))
    same, least = 0, ALIKE * np.abs(whole).max(initial=0.0)
    for k, i in enumerate(hidden):
        apart = np.abs(whole[:, hidden[:k]] - whole[:, [i]])
        apart[i] = apart[hidden[:k], np.arange(k)] = 0.0  # what the two have with each other
        same += bool((apart.max(0) <= least).any())
    return same


def small_weights(x: Observed, shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draw weights that make fields of about ``scale`` on the hidden units, however the visible units are measured."""
    size = x.deviation[:, None] if x.machine.layers[VISIBLE].unit.parameters else 1.0
    return size * rng.normal(0, scale / np.sqrt(shape[0]), shape)


def _groups(model: pm.Model, x: Observed, seed: int) -> Machine | None:
    """Return the machine that a mixture starts from, if its W, b and c are variables and no data are missing."""
    if not is_mixture(x.machine) or None in intercepts(model, x) or x.missing is not None:
        return None
    unit, hidden = (layer.unit for layer in x.machine.layers)
    if not free_components(hidden):
        return None
    if set(unit.parameter_names) != set(unit.parameters_of_deviation(1.0)):
        return None
    known = [isinstance(p, Constant | np.ndarray | float) for p in unit.parameters]
    unit = unit.with_parameters([
        getattr(p, "data", p) if is_known else None for p, is_known in zip(unit.parameters, known, strict=True)
    ])  # fmt: skip
    return mixture_of_groups(x.rows[x.spread].astype("float64"), x.weights[x.spread], unit, hidden, seed)


def _unit_parameters(model: pm.Model, x: Observed, groups: Machine | None) -> list[tuple[TensorVariable, np.ndarray]]:
    """Return variables that are parameters of visible units, each with the value that the data's deviations suggest.

    While W is small, these are the deviations of all rows; for a mixture those within its groups.
    """
    unit, found = x.machine.layers[VISIBLE].unit, []
    if not unit.parameters:
        return []
    if groups is None:
        each = unit.parameters_of_deviation(x.deviation)
        of_all = unit.parameters_of_deviation(np.sqrt((x.deviation**2).mean()))
    else:
        each = dict(zip(unit.parameter_names, groups.layers[VISIBLE].unit.parameters, strict=True))
        of_all = {key: np.sqrt(np.mean(np.square(p))) for key, p in each.items()}
    for key, p in zip(unit.parameter_names, unit.parameters, strict=True):
        factors = [plain(p), *map(plain, p.owner.inputs if p.owner else ())]  # a scalar has been multiplied by ones
        for rv in {y for y in factors if y in model.free_RVs and key in each}:
            found.append((rv, np.asarray((each if tuple(value_of(rv.shape)) else of_all)[key])))
    return found


def as_value_point(model: pm.Model, start: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return start values by name of value variable; ValueError if they are not values of free variables."""
    if not isinstance(start, dict):
        raise ValueError(f"start must be a dict of values by name of free variable, or 'low rank', got {shown(start)}.")
    names = {rv.name for rv in model.free_RVs}
    unknown = set(start) - names
    if unknown:
        raise ValueError(
            f"start has the names {sorted(unknown)}, but the free variables of the model are {sorted(names)}."
        )
    if not start:
        return {}
    with one_compiles():
        shapes = model.eval_rv_shapes()
    start = {name: start_by_name(model, name, value) for name, value in start.items()}
    for name, value in start.items():
        shape = tuple(int(n) for n in shapes[name])
        if np.shape(value) != shape:
            raise ValueError(f"start[{name!r}] has shape {np.shape(value)}, but the variable has shape {shape}.")
        if np.asarray(value).dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ValueError(f"start[{name!r}] contains NaN, infinity or something else; give finite numbers.")
    point = _value_point(model, start)
    for name in start:
        if not np.isfinite(point[model.rvs_to_values[model[name]].name]).all():
            raise ValueError(
                f"start[{name!r}] has values that {name!r} cannot take, or that are at the end of its range, got "
                f"{shown(start[name])}. Give values inside of the range of its distribution."
            )
    return point


def _value_point(model: pm.Model, start: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the transformed values; they are not finite where the variables cannot have them."""
    with one_compiles(), np.errstate(all="ignore"):
        point = make_initial_point_fn(model=model, overrides=dict(start))(0)
    return {name: point[name] for name in (model.rvs_to_values[model[x]].name for x in start)}


def mixture_of_groups(rows: np.ndarray, weights: np.ndarray, unit: Unit, hidden: Unit, seed: int) -> Machine:
    """Return the mixture with a component for each of k groups of rows that k-means finds, to start learning from.

    From W near zero all components start alike, and one of them may be given up before it has found its rows. Means are
    shrunk to that of all rows by one row. A parameter of ``unit`` that is None becomes that of the deviations within
    the groups. ``hidden`` is a unit whose states are `free_components`, one a group.
    """
    from sklearn.cluster import KMeans

    k = len(hidden.states or ())
    spread = rows.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    with warnings.catch_warnings():  # k-means warns where there are fewer than k different rows
        warnings.simplefilter("ignore")
        groups = KMeans(k, n_init=5, random_state=seed).fit(rows / spread, sample_weight=weights).labels_
    inside = weights[:, None] * np.eye(k)[groups]
    counts, mean = inside.sum(0), (weights @ rows + unit.middle) / (weights.sum() + 1)
    means = (inside.T @ rows + mean) / (counts + 1)[:, None]
    within = np.sqrt(weights @ (rows - means[groups]) ** 2 / weights.sum())
    found = unit.parameters_of_deviation(np.maximum(within, 1e-3 * spread))
    unit = unit.with_parameters([
        found[key] if p is None else p for key, p in zip(unit.parameter_names, unit.parameters, strict=True)
    ])  # fmt: skip
    shares = np.log((counts + 1) / (counts.sum() + k))
    return with_components(unit.bias_of_mean(means), shares, unit, hidden)
