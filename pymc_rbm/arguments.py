"""What users say of a variable besides its parameters: shapes, dims and coords."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_rbm.checks import shape_of

__all__ = ["lengths_of", "same_rows", "with_dims"]


def lengths_of(shape: Any) -> list[int | None]:
    """The entries of a ``shape`` argument as ints where they are known."""
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
    """Refuse hidden units whose rows are not those of v."""
    rows, wanted = tuple(shape[:-1]), shape_of(v)[:-1]
    if len(rows) != len(wanted) or any(None not in (m, n) and m != n for m, n in zip(rows, wanted, strict=True)):
        raise ValueError(
            f"Hidden units of shape {tuple(shape)} do not fit {v}, of shape {shape_of(v)}: each row of v has one row "
            "of hidden units."
        )


def with_dims(data: Any, dims: Any) -> tuple[Any, Any]:
    """A DataArray in the order of ``dims`` (by default its own), its coords added to the model or compared with it."""
    if not isinstance(data, xr.DataArray):
        return data, dims
    names = tuple(data.dims) if dims is None else (dims,) if isinstance(dims, str) else tuple(dims)
    shared = set(names) & set(data.dims)
    if shared == set(names) == set(data.dims):
        data = data.transpose(*names)
    elif shared or len(names) != data.ndim:
        raise ValueError(f"The data have dims {data.dims}, which dims={names} neither reorders nor renames as a whole.")
    model = pm.modelcontext(None)
    for name, own in zip(names, data.dims, strict=True):
        labels = data.coords[own].values if own in data.coords else np.arange(data.sizes[own])
        if name not in model.coords:
            model.add_coord(name, labels)
        elif name == own and own in data.coords and not np.array_equal(labels, model.coords[name] or labels):
            raise ValueError(
                f"The coordinates of {name!r} in the data are not those of the model: {labels[:4]}… against "
                f"{np.asarray(model.coords[name])[:4]}…. Reindex the data."
            )
    return data, names
