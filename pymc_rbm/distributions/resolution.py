"""A variable or a model, with values of its parameters, stands for a machine; values come in the model's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.io import In
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import labels_in, machine_of_rv, model_of, named_machines, rbm_of, same_machine
from pymc_rbm.distributions.pymc_internals import SymbolicRandomVariable
from pymc_rbm.machine.given import machines_of_draws, values_of
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.parameters import check_numbers
from pymc_rbm.machine.records import recorded_labels, recorded_names
from pymc_rbm.machine.targets import check_alone, labels_of, machine_of
from pymc_rbm.support.labels import Labels, alike, counts_only, positions
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.reentrant import compiled, value_of

__all__ = ["values_in"]


# ------------------------------------------------------------------------------------- values in the model's order


def values_in(
    model: pm.Model | None,
    variables: list[TensorVariable],
    learned: Any,
    values: Mapping[Any, Any],
    draws: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """Return ``values`` of ``variables`` by name, along dims with names in the order of the model's names.

    ``learned`` is where they come from, which may have recorded the names of the units; ``draws`` are dims that come
    before those of the variables.

    Raises
    ------
    ValueError
        If the values are those of another model: shapes differ, or names are others, or names have another order and
        a variable without dims does not say which of its axes has them.
    """
    dims = {x.name: _dims(model, x) for x in variables}
    found = {x.name: _in_order(model, x.name, values[x.name], draws, dims[x.name]) for x in variables}
    shapes = _shapes(variables)
    wrong = [
        f"{name}: {x.shape[len(draws) :]} there, {shape} here"
        for (name, x), shape in zip(found.items(), shapes, strict=True)
        if x.shape[len(draws) :] != shape
    ]
    if wrong:
        raise ValueError(
            f"`learned` is of another model: shapes differ ({'; '.join(wrong)}). Pass the model that was fitted."
        )
    unnamed = [name for name, x in found.items() if x.ndim > len(draws) and None in dims[name]]
    if model is not None and unnamed:
        _check_order(model, learned, unnamed)
    return found


def _dims(model: pm.Model | None, variable: TensorVariable) -> tuple[str | None, ...]:
    named = () if model is None else model.named_vars_to_dims.get(variable.name) or ()
    return (*named, *(None,) * (variable.ndim - len(named)))


def _in_order(model: Any, name: str, value: Any, draws: tuple[str, ...], dims: tuple[str | None, ...]) -> np.ndarray:
    if not isinstance(value, xr.DataArray):
        return np.asarray(value)
    if draws:
        value = value.transpose(*draws, ...)
    for dim in dims:
        wanted = None if dim is None else model.coords.get(dim)
        if wanted is not None and dim in value.dims and dim in value.coords and len(wanted) == value.sizes[dim]:
            order = positions(value[dim].values, wanted, f"{name!r} along {dim!r}", "the model")
            value = value if order is None else value.isel({dim: order})
    return value.values


def _shapes(variables: list[TensorVariable]) -> list[tuple[int, ...]]:
    static = [x.type.shape for x in variables]
    if any(None in shape for shape in static):
        static = value_of([x.shape for x in variables])
    return [tuple(map(int, shape)) for shape in static]


def _check_order(model: pm.Model, learned: Any, unnamed: list[str]) -> None:
    """Refuse recorded names in another order: variables without dims are values by position."""
    for name in set(recorded_names(learned)) & set(named_machines(model)) if isinstance(learned, xr.DataTree) else ():
        if not alike(recorded_labels(learned, name), labels_in(model, name), f"units of {name!r}", "the model"):
            raise ValueError(
                f"`learned` has the units of {name!r} in another order than the model, and {unnamed} have no dims that "
                "say which of their axes has them. Give them dims, or pass the model that was fitted."
            )


# --------------------------------------------------------------------------------------------------- the machine


@machine_of.register
def _(target: TensorVariable, learned: Any = None) -> Machine:
    model = _model_of(target, learned)
    machine = _machine_in(model, target, learned)
    return machine if model is None else replace(machine, labels=labels_of(target, learned))


@machine_of.register
def _(target: pm.Model, learned: Any = None) -> Machine:
    return replace(_machine_in(target, _only_machine(target), learned), labels=labels_of(target, learned))


def _machine_in(model: pm.Model | None, target: TensorVariable, learned: Any) -> Machine:
    given = values_of(learned)
    machine, variables, parameters = _parameters_function(target, given)
    values = values_in(model, variables, learned, given)
    machine = machine.with_parameters(parameters(*values.values()))
    check_numbers(machine)
    return machine


@machines_of_draws.register
def _(target: TensorVariable, posterior: Any) -> Iterator[Machine]:
    yield from _machines_in(_model_of(target, posterior), target, posterior)


@machines_of_draws.register
def _(target: pm.Model, posterior: Any) -> Iterator[Machine]:
    labels = labels_of(target)
    for machine in _machines_in(target, _only_machine(target), posterior):
        yield replace(machine, labels=labels)


def _machines_in(model: pm.Model | None, target: TensorVariable, posterior: Any) -> Iterator[Machine]:
    machine, variables, parameters = _parameters_function(target, posterior)
    values = values_in(model, variables, posterior, posterior, ("chain", "draw"))
    for chain in range(posterior.sizes["chain"]):
        for draw in range(posterior.sizes["draw"]):
            yield machine.with_parameters(parameters(*(x[chain, draw] for x in values.values())))


def _parameters_function(target: TensorVariable, values: Any) -> tuple[Machine, list[TensorVariable], Any]:
    """Return the machine of an RBM, random variables behind it, and a function from their values to its parameters."""
    machine = machine_of_rv(rbm_of(target))
    graphs = [pt.as_tensor(p) for p in machine.parameters]
    random = [
        x for x in ancestors(graphs) if x.owner and isinstance(x.owner.op, RandomVariable | SymbolicRandomVariable)
    ]
    known = {x: x.type() for x in random if x.name in values}
    graphs = graph_replace(graphs, known, strict=False)
    missing = {x.name for x in random if x in set(ancestors(graphs))}
    if missing:
        raise ValueError(
            f"The parameters depend on random variables without a value: {sorted(map(str, missing))}. "
            "Pass `learned`, the result of pymc_rbm.fit or a dict of values by name (one draw of a posterior, what "
            "pm.find_MAP returns), or fix them with pm.do."
        )
    inputs = [In(x, allow_downcast=True) for x in known.values()]
    return machine, list(known), compiled(inputs, graphs, mode=INTERPRETED, on_unused_input="ignore")


def _model_of(target: TensorVariable, learned: Any) -> pm.Model | None:
    """Return the model of a variable if ``learned`` may have names that belong to its coords, else None."""
    return model_of(target) if isinstance(learned, xr.DataTree | xr.Dataset) else None


def _only_machine(target: pm.Model) -> TensorVariable:
    found: dict[str, TensorVariable] = {}
    for name, rv in named_machines(target).items():
        if not any(same_machine(rv, known) for known in found.values()):
            found[name] = rv
    if len(found) != 1:
        raise ValueError(
            f"Expected a model with exactly one RBM, got {len(found)}: {list(found)}. Pass the variable, as in "
            f"model['{next(iter(found), 'v')}']."
        )
    return next(iter(found.values()))


# ------------------------------------------------------------------------------------------------ names of units


@labels_of.register
def _(target: TensorVariable, learned: Any = None) -> Labels:
    model = _model_of(target, learned)
    name = next((x for x, rv in named_machines(model).items() if rv is rbm_of(target)), None) if model else None
    return Labels(target.name or "v") if name is None else _labels(model, name, learned)


@labels_of.register
def _(target: pm.Model, learned: Any = None) -> Labels:
    machine = _only_machine(target)
    return _labels(target, next(name for name, rv in named_machines(target).items() if rv is machine), learned)


def _labels(model: pm.Model, name: str, learned: Any) -> Labels:
    """Return the model's names of units, in whose order the values are put; where it has none, the recorded ones."""
    own = labels_in(model, name)
    if learned is None or recorded_names(learned) != [name]:
        return own
    theirs = labels_of(learned)
    sides = zip((own.visible, own.hidden), (theirs.visible, theirs.hidden), strict=True)
    names = {dim: x for dim, x in own.coords.items() if not counts_only(x)}
    visible, hidden = (a if a in names else b or a for a, b in sides)
    known = {**own.coords, **theirs.coords, **names}
    dims = visible, hidden, own.rows
    return Labels(name, visible, hidden, {dim: known[dim] for dim in dims if dim in known}, own.rows)


# -------------------------------------------------------------------------------- the model on the context stack


def _model_here() -> pm.Model:
    """Return the model on the context stack, which is the target where none is given."""
    model = pm.Model.get_context(error_if_none=False)
    if model is None:
        raise TypeError(
            "No machine was given, and no model is on the context stack: give target, a Machine, an RBM variable, a "
            "PyMC model with one RBM or what pymc_rbm.fit returned; or call this inside `with model:`."
        )
    return model


def _by_context(resolve: Any, target: None, *arguments: Any, **named: Any) -> Any:
    return resolve(_model_here(), *arguments, **named)


for resolve in (machine_of, labels_of, check_alone, machines_of_draws):
    resolve.register(type(None), partial(_by_context, resolve))
