"""Record machines in a DataTree, as `fit` and `sample_gibbs` do, and read them from there."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.given import posterior_of
from pymc_rbm.machine.machine import Machine, boltzmann, restricted
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.support.labels import SIDES, Labels, positions, without_made_up
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.unit import Unit, unit_of

__all__ = ["in_order", "recorded", "recorded_labels", "recorded_machine", "recorded_names"]

LONGEST, MOST_STATES = 10_000, 2**20
"""The most characters of a description of units, and the most states, that are read from a file of unknown origin."""


def recorded(machines: Mapping[str, Machine], dims: Mapping[str, tuple[str, str]], coords: Any = None) -> xr.Dataset:
    """Return the group ``machines``: weights, biases and kinds of units, by name, with the dims of both sides."""
    from arviz_base import dict_to_dataset

    found, units = dict[Any, Any](), dict[str, str]()
    for name, machine in machines.items():
        found |= _parameters(name, machine, dims[name])
        layers = zip(SIDES, machine.template.layers, strict=False)
        units |= {f"{name}_{side}_units": repr(layer.unit) for side, layer in layers}
    arrays, own = ({key: x[i] for key, x in found.items()} for i in (1, 0))
    table = dict_to_dataset(arrays, coords=coords, dims=own, sample_dims=[], check_conventions=False)
    return table.assign_attrs(units)


def _parameters(name: str, machine: Machine, dims: tuple[str, str]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return dims and values by name of variable: weights, biases, and each parameter of the units."""
    [coupling] = machine.couplings
    pair = dims if len(machine.layers) > 1 else (dims[0], f"{dims[0]}_other")
    row = {1: (), 2: (f"{name}_bias_row",)}
    out: dict[str, tuple[tuple[str, ...], np.ndarray]] = {f"{name}_weights": (pair, np.asarray(coupling.weights))}
    for side, dim, layer in zip(SIDES, dims, machine.layers, strict=False):
        out[f"{name}_{side}_bias"] = ((*row[np.ndim(layer.bias)], dim), np.asarray(layer.bias))
        for key, value in zip(layer.unit.parameter_names, layer.unit.parameters, strict=True):
            out[f"{name}_{side}_{key}"] = ((dim,), np.array(np.broadcast_to(value, np.shape(layer.bias)[-1:])))
    return out


def recorded_names(tree: xr.DataTree) -> list[str]:
    """Return the names of the machines in what `fit` or `sample_gibbs` returned."""
    variables = tree["machines"].data_vars if "machines" in tree else ()
    return [str(x).removesuffix("_weights") for x in variables if str(x).endswith("_weights")]


@labels_of.register
def _(target: xr.DataTree, learned: Any = None) -> Labels:
    names = recorded_names(target)
    if not names:
        recorded_machine(target)  # it says what the tree is
    return recorded_labels(target, names[0])


def recorded_labels(tree: xr.DataTree, name: str) -> Labels:
    """Return the names of the units of one of the machines in what `fit` or `sample_gibbs` returned."""
    values = tree["machines"].to_dataset()
    dims = [str(values[f"{name}_{side}_bias"].dims[-1]) for side in SIDES if f"{name}_{side}_bias" in values]
    coords = {dim: values[dim].values for dim in dims if dim in values.coords}
    return without_made_up(Labels(name, dims[0], dims[1] if len(dims) > 1 else "", coords))


def in_order(tree: Any, labels: Labels | None) -> Any:
    """Return a DataTree with what it holds along dims with names in the order of ``labels``; anything else as it is."""
    if not isinstance(tree, xr.DataTree) or labels is None:
        return tree
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    moved = False
    for path, values in nodes.items():
        for dim in labels.coords.keys() & values.sizes.keys() & values.coords.keys():
            order = positions(values[dim].values, labels.coords[dim], f"{path} along {dim!r}", "the machine")
            if order is not None:
                moved, nodes[path] = True, nodes[path].isel({dim: order})
    return xr.DataTree.from_dict(nodes) if moved else tree


@machine_of.register
def recorded_machine(target: xr.DataTree, learned: Any = None, name: str | None = None) -> Machine:
    """Return the machine that `fit` or `sample_gibbs` recorded; ``name`` chooses one of several."""
    names = recorded_names(target)
    if posterior_of(target) is not None:
        raise ValueError(
            "This is a posterior, which does not say of which machine it is: pass the model as target and the "
            "posterior as learned."
        )
    if name not in names and (name is not None or len(names) != 1):
        raise ValueError(
            "Expected what pymc_rbm.fit or pymc_rbm.sample_gibbs returned, with a single machine, or with one of "
            f"its machines as name=, got a DataTree with the machines {names}, and name={name!r}."
        )
    name, values, units = name or names[0], target["machines"].to_dataset(), list[Any]()
    sides = [side for side in SIDES if f"{name}_{side}_bias" in values]
    for side in sides:
        size = values[f"{name}_{side}_bias"].shape[-1]
        unit = _bounded(str(values.attrs.get(f"{name}_{side}_units", repr(Bernoulli()))), size)
        units.append(unit.with_parameters([np.asarray(values[f"{name}_{side}_{key}"]) for key in unit.parameter_names]))
    W, *biases = (np.asarray(values[f"{name}_{part}"]) for part in ("weights", *(f"{side}_bias" for side in sides)))
    make: Any = restricted if len(sides) > 1 else boltzmann
    return replace(make(W, *biases, *units), labels=recorded_labels(target, name))


def _bounded(text: str, size: int) -> Unit:
    """Return the units that a file names, if they fit a layer of ``size`` entries and their states fit into memory."""
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (MemoryError, RecursionError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{text[:100]!r} is not a unit of this version of pymc_rbm: read the file with the version that wrote it."
        ) from error
    numbers = [x.value for x in nodes if isinstance(x, ast.Constant) and isinstance(x.value, int)]
    if max(numbers, default=0) > MOST_STATES:
        raise ValueError(
            f"The file names units of {max(numbers):,} states, at most {MOST_STATES:,} are read: {text[:100]!r}. It "
            "was not written by pymc_rbm, or is damaged."
        )
    unit = unit_of(text)
    unit.check_size(size, "recorded")
    return unit
