"""Check the arguments of a variable besides its parameters: shapes, dims and coords."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_rbm.machine.door import check_rows, named_units_last, one_hot
from pymc_rbm.machine.ordering import Named, named
from pymc_rbm.support.arguments import shape_of
from pymc_rbm.support.labels import Labels, positions
from pymc_rbm.support.received import Received, receive
from pymc_rbm.units.unit import Unit

__all__ = ["lengths_of", "named_in_model", "same_rows", "start_by_name", "with_dims"]


def lengths_of(shape: Any) -> list[int | None]:
    """Return the entries of a ``shape`` argument, as ints where they are known, otherwise None."""
    entries = list(shape) if np.iterable(shape) and not isinstance(shape, Variable) else [shape]
    lengths = []
    for entry in entries:
        if isinstance(entry, Variable):
            entry = pt.zeros(pt.atleast_1d(entry), dtype="int8") if entry.ndim == 0 else None
            lengths.append(None if entry is None else shape_of(entry)[0])
        else:
            lengths.append(None if entry is None or entry is Ellipsis else int(entry))
    return lengths


def same_rows(v: Any, shape: Any) -> None:
    """Refuse hidden units that do not have as many rows as v."""
    rows, wanted = tuple(shape[:-1]), shape_of(v)[:-1]
    if len(rows) != len(wanted) or any(None not in (m, n) and m != n for m, n in zip(rows, wanted, strict=True)):
        raise ValueError(
            f"Hidden units of shape {tuple(shape)} do not fit {v}, of shape {shape_of(v)}: each row of {v} needs one "
            "row of hidden units."
        )


def named_in_model(x: Any, name: str) -> Named:
    """Return a parameter with its names, which are an array's own or those that the model gives a variable."""
    model = pm.Model.get_context(error_if_none=False)
    if model is None:
        return named(x, name)
    if isinstance(x, Variable):
        dims = tuple(model.named_vars_to_dims.get(x.name) or ()) if model.named_vars.get(x.name) is x else ()
        return Named(x, tuple(d or "" for d in dims), tuple(model.coords.get(d) for d in dims))
    return _in_model_order(model, named(x, name), name)


def _in_model_order(model: pm.Model, got: Named, name: str) -> Named:
    """Return an array with its entries in the order of the model's coords."""
    value, labels = got.value, list(got.labels)
    for axis, dim in enumerate(got.dims):
        known = model.coords.get(dim)
        if known is not None and labels[axis] is not None:
            order = positions(labels[axis], known, f"{name} along {dim!r}", "the model")
            value, labels[axis] = value if order is None else np.take(value, order, axis), known
    return Named(value, got.dims, tuple(labels))


def start_by_name(model: pm.Model, name: str, value: Any) -> Any:
    """Return a variable's start value; a DataArray is put in the order of the model's dims and coords."""
    dims = tuple(model.named_vars_to_dims.get(name) or ())
    if not isinstance(value, xr.DataArray) or not dims:
        return value
    if set(value.dims) != set(dims):
        raise ValueError(
            f"start[{name!r}] has dims {value.dims}, but the variable has dims {dims}. Rename the dims "
            "of the start value."
        )
    return _in_model_order(model, named(value.transpose(*dims), f"start[{name!r}]"), f"start[{name!r}]").value


def with_dims(name: str, data: Any, dims: Any, labels: Labels, unit: Unit, size: int | None) -> tuple[Any, Any]:
    """Return observed data and dims as PyMC takes them: numbers in the order of the model's names.

    A DataArray is put in the order of ``dims`` (by default its own, with the machine's visible units last). Its coords,
    and a frame's columns, are added to the model, or the data are put into the model's order.
    """
    names = None if dims is None else (dims,) if isinstance(dims, str) else tuple(dims)
    _check_units_last("dims", names, labels)
    model = pm.modelcontext(None)
    if isinstance(data, Variable):
        own = model.named_vars_to_dims.get(data.name) if model.named_vars.get(data.name) is data else None
        _check_units_last("observed", own, labels)
        return data, dims
    got = receive(data, "observed")
    check_rows(got, labels, "observed")
    if got.named and names is None:
        got = named_units_last(got, labels, "observed")
        names = _made_up(name, got, labels)
    elif isinstance(data, xr.DataArray) and names is not None:
        got = _in_order(got, names)
    if got.named and names is not None:
        got, names = _with_coords(model, got, names, labels, size, unit, f"{name}_unit")
    return (got if size is None else one_hot(got, unit, size, "observed")).values, names


def _check_units_last(what: str, names: Any, labels: Labels) -> None:
    if names and labels.visible and labels.visible in tuple(names)[:-1]:
        raise ValueError(
            f"{what} has the dims {tuple(names)}, but {labels.visible!r} is the dim of the machine's visible units, "
            f"which must come last. {'Reorder dims' if what == 'dims' else 'Transpose the data (.T)'}."
        )


def _made_up(name: str, got: Received, labels: Labels) -> tuple[Any, ...] | None:
    """Return the dims of data that came with names, with made-up names for axes that have labels only."""
    if not any(got.dims or ()) and all(x is None for x in got.labels) and not labels.visible:
        return None
    made = (f"{name}_row",) * (got.values.ndim - 1) + (labels.visible or f"{name}_unit",)
    return tuple(d or m for d, m in zip(got.dims or (), made, strict=True))


def _in_order(got: Received, names: tuple[str, ...]) -> Received:
    """Return a DataArray with its axes in the order of ``names``; if no name is its own, they rename its axes."""
    own = got.dims or ()
    shared = set(names) & set(own)
    if shared == set(names) == set(own):
        return got.transposed(tuple(own.index(name) for name in names))
    if shared or len(names) != len(own):
        raise ValueError(
            f"The data have dims {own}, and dims={names} neither reorders nor renames as a whole. Give "
            "the same names in any order, or new names for all."
        )
    return got


def _with_coords(
    model: pm.Model,
    got: Received,
    names: tuple[Any, ...],
    labels: Labels,
    size: int | None,
    unit: Unit,
    made_up: str,
) -> tuple[Received, tuple[Any, ...]]:
    """Return the data in the order of the model's coords; coords that the model lacks are added to it."""
    is_frame = not got.coords and any(not d for d in got.dims or ())
    for axis, (dim, own) in enumerate(zip(names, got.dims or (), strict=True)):
        n, known = got.values.shape[axis], got.labels[axis]
        last = axis == len(names) - 1
        # Data with one number a unit have no names for the entries of units that take several.
        if last and size is not None and n != size and n == unit.count(size):
            dim, known, n = labels.visible or (made_up if own == dim else dim), None, size
            names = (*names[:-1], dim)
        same = own == dim or (last and is_frame)
        wanted = model.coords.get(dim)
        if wanted is None and last and dim == labels.visible:
            wanted = labels.coords.get(dim)
        if wanted is not None and known is not None and same:
            order = positions(known, wanted, f"observed along {dim!r}", "the model")
            got = got if order is None else got.taken(order, axis)
        if dim not in model.coords:
            model.add_coord(dim, np.asarray(wanted if wanted is not None else np.arange(n) if known is None else known))
    return got, names
