"""All data enter here: whatever users pass becomes states of a machine's visible units, with dims and coords.

*Names.* Where both the machine and the data name their units, names rule: axes and entries are put into the machine's
order, and what does not fit is refused. *Missing.* Masked entries are missing, and so is NaN in what has no mask
(frames, DataArrays); functions that need whole rows say so. *Labels.* Units of several entries (`Categorical`) may be
given as one number a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.machine import Layer
from pymc_rbm.support.labels import ROWS, SIDES, Labels, positions
from pymc_rbm.support.received import Received, receive
from pymc_rbm.units.states import check_last_axis, unit_data
from pymc_rbm.units.unit import Unit

__all__ = [
    "Data",
    "aligned",
    "check_rows",
    "data_of",
    "named_units_last",
    "one_hot",
    "rows_in_order",
    "units_in_order",
    "whole",
]

WHOLE = "log_likelihood sums missing entries out and inpaint draws them; or leave out rows with missing entries."


@dataclass(frozen=True)
class Data:
    """States, masked where they are missing, with a name for every axis; the axis of units is the last."""

    values: np.ndarray
    dims: tuple[str, ...]
    coords: dict[str, Any]
    named: bool
    """Whether the names came with the data and were not made up by the package."""

    @property
    def mask(self) -> np.ndarray:
        """The mask of the entries, True where one is missing."""
        return np.ma.getmaskarray(self.values)

    def keep_free(self, *dims: str) -> None:
        """Refuse data with axes that have the names of axes that the result adds."""
        taken = [d for d in self.dims if d in dims]
        if taken:
            raise ValueError(
                f"The data have dims {self.dims}, but {taken} are the names of other axes of the result: rename them, "
                f"as in data.rename({taken[0]}='row')."
            )

    @property
    def rows(self) -> tuple[str, ...]:
        """The dims of the rows."""
        return self.dims[:-1]

    @property
    def row_coords(self) -> dict[str, Any]:
        """Coords of the rows alone."""
        return {key: x for key, x in self.coords.items() if self.dims[-1] not in getattr(x, "dims", (key,))}

    def by_row(self, values: Any, extra: Mapping[str, Any] | None = None) -> xr.DataArray:
        """Return one number a row, or more along ``extra`` dims, as a DataArray with the dims of the data's rows."""
        extra = extra or {}
        if set(extra) & set(self.rows):
            self.keep_free(*extra)
        coords = {**self.row_coords, **{key: x for key, x in extra.items() if x is not None}}
        return xr.DataArray(values, dims=(*self.rows, *extra), coords=coords)


def data_of(
    data: Any,
    layer: Layer,
    labels: Labels,
    name: str = "data",
    *,
    ndim: int | None = 2,
    states: bool = True,
    side: str = "visible",
) -> Data:
    """Return ``data`` as states of ``layer`` with dims and coords.

    Parameters
    ----------
    data : array_like, masked array, DataArray, data frame or sparse matrix, shape (…, size of the layer)
        Or, of units of several entries, one number a unit.
    layer : Layer
    labels : Labels
        What the machine calls the units of this layer (``visible``) and of the other.
    name : str
        Name of the argument, for messages.
    ndim : int or None
        How many axes there must be; a single row counts as rows of one. None: any.
    states : bool
        Whether entries must be states of the units, in their type. (Means of units are not.)
    side : str
        Side of the machine, for messages.

    Raises
    ------
    ValueError
        If shapes, names or entries do not fit.
    """
    size, unit = int(np.shape(layer.bias)[-1]), layer.unit
    got = one_hot(aligned(receive(data, name), labels, name, unit.count(size)), unit, size, name)
    check_rows(got, labels, name)
    values = _of_shape(got.values, unit, size, name, ndim, side)
    values = unit_data(values, unit, size, name, side, means=not states)
    return Data(values, *_names(got, values.ndim, labels), got.named)


def whole(data: Data, name: str = "data", remedy: str = WHOLE) -> np.ndarray:
    """Return the states of data in which nothing is missing; ValueError where something is."""
    n = int(data.mask.sum()) if np.ma.isMaskedArray(data.values) else 0
    if n:
        raise ValueError(f"{name} has missing entries ({n} of {data.values.size} are masked or NaN). {remedy}")
    return np.ma.getdata(data.values)


def aligned(got: Received, labels: Labels, name: str, units: int) -> Received:
    """Return the data with the axis of units last and its entries in the machine's order, by name.

    ``units`` is their number: data with one number a unit have no names for the entries of units that take several.
    """
    return units_in_order(named_units_last(got, labels, name), labels, name, units)


def named_units_last(got: Received, labels: Labels, name: str) -> Received:
    """Return the data with that axis last which has the name of the machine's visible units."""
    dims = got.dims or ()
    if labels.visible and labels.visible in dims:
        at = dims.index(labels.visible)
        return got.transposed((*(i for i in range(len(dims)) if i != at), at))
    if labels.visible and labels.hidden and labels.hidden in dims:
        raise ValueError(
            f"{name} has dims {dims}: {labels.hidden!r} are the machine's hidden units, and its visible ones are "
            f"{labels.visible!r}. Rename the dims of {name}, or transpose the weights."
        )
    return got


def units_in_order(got: Received, labels: Labels, name: str, units: int) -> Received:
    """Return the data with the entries of the last axis in the machine's order, where both name them."""
    own = got.labels[-1] if got.labels else None
    wanted = labels.coords.get(labels.visible)
    called = got.dims[-1] if got.dims else ""
    other_dim = called not in ("", labels.visible) and labels.visible not in SIDES
    if own is None or wanted is None or other_dim or len(own) == units < len(wanted):
        return got
    order = positions(own, wanted, f"{name}{f' along {labels.visible!r}' if labels.visible else ''}", "the machine")
    return got if order is None else got.taken(order, -1)


def rows_in_order(got: Received, labels: Labels, name: str) -> np.ndarray | None:
    """Return where each row of the machine's biases stands among those of the data, by name; None where it is there.

    Raises
    ------
    ValueError
        If both have names of rows, and these differ.
    """
    known = labels.coords.get(labels.rows)
    own = got.labels[-2] if len(got.labels) > 1 else None
    called = got.dims[-2] if got.dims and own is not None else ""
    if known is None or own is None or (called not in ("", labels.rows) and labels.rows != ROWS):
        return None
    return positions(own, known, f"{name}'s rows", "the machine's biases")


def check_rows(got: Received, labels: Labels, name: str) -> None:
    """Refuse data with rows in another order than that of the machine's biases."""
    if rows_in_order(got, labels, name) is not None:
        raise ValueError(
            f"The rows of {name} are in another order than those of the machine's biases. Put one of them in the order "
            f"of the other, as in {name}.sel({labels.rows}=…) or {name}.loc[…]."
        )


def one_hot(got: Received, unit: Unit, size: int, name: str) -> Received:
    """Return the data with labels, one number a unit of several entries, replaced by the states that they stand for."""
    values, parts = got.values, unit.parts(size)
    _check_categories(got, unit, size, name)
    units = unit.count(size)
    if units == size or values.ndim == 0 or values.shape[-1] != units or not np.size(values):
        return got
    mask, start, found, masks = np.ma.getmaskarray(values), 0, [], []
    for family, n in parts:
        own = slice(start, start + n // family.width)
        x, hidden = np.ma.getdata(values)[..., own], mask[..., own]
        found.append(_hot(family, x, hidden, name) if family.width > 1 else x)
        masks.append(np.repeat(hidden, family.width, axis=-1))
        start = own.stop
    states, hidden = np.concatenate(found, axis=-1), np.concatenate(masks, axis=-1)
    states = np.ma.MaskedArray(states, hidden) if hidden.any() else states
    dims = None if got.dims is None else (*got.dims[:-1], "")
    coords = {key: x for key, x in got.coords.items() if not got.dims or got.dims[-1] not in x.dims}
    return Received(states, dims, coords, (*got.labels[:-1], None) if got.labels else ())


def _hot(family: Unit, labels: np.ndarray, missing: np.ndarray, name: str) -> np.ndarray:
    """Return the one-hot states of labels, one number a unit."""
    wrong = ~(np.isin(labels, np.arange(family.width)) | missing)
    if wrong.any():
        raise ValueError(
            f"{name} has one number for each of {labels.shape[-1]} {family!r} units: labels must be whole numbers from "
            f"0 to {family.width - 1}, got {wrong.sum()} others (such as {labels[wrong].ravel()[0]:g}). Or give "
            f"states, {family.width} entries a unit: {family.support}."
        )
    codes = np.where(missing, 0, labels).astype(int)
    return np.eye(family.width, dtype="int8")[codes].reshape(*labels.shape[:-1], -1)


def _check_categories(got: Received, unit: Unit, size: int, name: str) -> None:
    """Refuse columns of texts, except for units that have as many values as the column has categories."""
    if not got.categories:
        return
    widths = [family.width for family, n in unit.parts(size) for _ in range(n // family.width)]
    for column, texts in got.categories.items():
        width = widths[column] if len(widths) == got.values.shape[-1] else 1
        if width != len(texts) or width == 1:
            needed = f"a unit of {width} values" if width > 1 else f"{unit!r}, which takes numbers"
            kinds = f"the {len(texts)} categories {texts[:4]}" if len(texts) > 1 else f"only one category, {texts},"
            if len(texts) > 2 or width > 1:
                remedy = (
                    f"Use visible=pymc_rbm.Categorical({len(texts)}) there, or name all values that there may be, "
                    "column.cat.set_categories([…])"
                )
            else:
                remedy = f"Say what is 1, as in (column == {texts[-1]!r}).astype(int)" if texts else "Leave it out"
            raise ValueError(f"Column {column} of {name} has {kinds}, but stands for {needed}. {remedy}.")


def _of_shape(values: np.ndarray, unit: Unit, size: int, name: str, ndim: int | None, side: str) -> np.ndarray:
    """Return the values with ``ndim`` axes, a single row as an array of one row; ValueError where neither fits."""
    check_last_axis(values.shape, unit, size, name, side)
    rows = values[None] if ndim is not None and values.ndim == ndim - 1 else values
    if ndim is None or (rows.ndim == ndim and len(rows)):
        return rows
    remedy = f"Join the axes before the last into one: {name}.reshape(-1, {size})."
    if not len(values):
        remedy = "There must be at least one row."
    raise ValueError(f"{name} must have shape (rows, {size}), got {values.shape}. {remedy}")


def _names(got: Received, ndim: int, labels: Labels) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the dims and coords of states with ``ndim`` axes."""
    row = f"{labels.name}_row"
    rows = [row, *(f"{row}_{i}" for i in range(1, ndim - 1))][: ndim - 1]
    if got.dims is None:
        return (*rows, labels.dims[0]), _of_units(labels, labels.dims[0])
    own = got.dims if len(got.dims) == ndim else ("",) * (ndim - len(got.dims)) + got.dims
    dims = tuple(d or made for d, made in zip(own, (*rows, labels.dims[0]), strict=True))
    if len(set(dims)) < ndim:
        dims = tuple(d if dims.index(d) == i else f"{d}_{i}" for i, d in enumerate(dims))
    coords = {key: x for key, x in got.coords.items() if set(x.dims) <= set(dims)}
    if not got.coords:
        for d, known in zip(dims[ndim - len(got.labels) :], got.labels, strict=True):
            if known is not None:
                coords[d] = xr.DataArray(known, dims=d)
    if dims[-1] not in coords and dims[-1] == labels.dims[0]:
        coords |= _of_units(labels, dims[-1])
    return dims, coords


def _of_units(labels: Labels, dim: str) -> dict[str, Any]:
    known = labels.coords.get(labels.visible)
    return {} if known is None else {dim: xr.DataArray(np.asarray(known), dims=dim)}
