"""Check what plots are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.support.arguments import listed, shown, whole_number
from pymc_rbm.support.labels import counts_only, positions
from pymc_rbm.support.received import Received, receive

__all__ = [
    "KINDS",
    "check_group",
    "check_tree",
    "checked_shape",
    "data_like",
    "kind_of",
    "names_along",
    "numbers",
    "states_variable",
]

KINDS = "auto", "pictures", "items"


def check_group(tree: Any, group: str, needed: str) -> None:
    """Refuse what is no DataTree with this group."""
    check_tree(tree, needed)
    if not isinstance(group, str) or group not in tree.children:
        raise ValueError(f"There is no group {group!r} among {sorted(tree.children)}: pass {needed}.")


def check_tree(tree: Any, needed: str) -> None:
    """Refuse what is no DataTree."""
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"Expected a DataTree, {needed}, got {type(tree).__name__}: pass that.")


def numbers(name: str, given: Any) -> Received:
    """Return what is given as numbers and names; TypeError if it is something else."""
    got = receive(given, name)
    if got.values.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, got {shown(given)} of {got.values.dtype}.")
    return got


def checked_shape(shape: Any) -> tuple[int, int] | None:
    """Return height and width of a picture; ValueError if they are not two whole numbers."""
    if shape is None:
        return None
    sides = listed("shape", shape, "two whole numbers, the height and the width of a picture")
    if len(sides) != 2:
        raise ValueError(f"shape must be two whole numbers, the height and the width of a picture, got {shown(shape)}.")
    height, width = (whole_number("each side of shape", n) for n in sides)
    return height, width


def kind_of(kind: str, shape: tuple[int, int] | None, units: int, labels: np.ndarray | None) -> str:
    """Return how to draw states: as pictures, where a shape is known or a square fits and no unit has a name."""
    if kind == "items" and shape is not None:
        raise ValueError(
            f"shape={shape} is the shape of a picture, and kind='items' draws none. Leave one of them out."
        )
    if kind != "auto":
        return kind
    return "pictures" if shape is not None or (labels is None and round(units**0.5) ** 2 == units) else "items"


def names_along(x: Any, axis: int) -> np.ndarray | None:
    """Return the names along an axis of a DataArray; None where there are none, or where they only count."""
    if not isinstance(x, xr.DataArray) or x.dims[axis] not in x.coords:
        return None
    labels = x[x.dims[axis]].values
    return None if counts_only(labels) else labels


def states_variable(posterior: Any, name: str | None) -> xr.DataArray:
    """Return the states to show; where no name is given, the only variable of integers with a chain, draw and unit."""
    if name is None:
        names = [n for n, x in posterior.data_vars.items() if x.dtype.kind in "iu" and x.ndim == 3]
        if len(names) != 1:
            raise ValueError(
                f"Pass name=, the variable of states to show: one of {names or list(posterior.data_vars)}."
            )
        name = str(names[0])
    if name not in posterior:
        raise ValueError(f"There is no variable {name!r}: name must be one of {list(posterior.data_vars)}.")
    return posterior[name]


def data_like(data: Any, draws: xr.DataArray) -> Received:
    """Return rows of data with their units in the order of the draws, by name where both have names.

    Raises
    ------
    ValueError
        If they are not rows of as many units, or their names differ.
    """
    got, units = numbers("data", data), draws.shape[-1]
    dims = got.dims or ()
    if len(dims) == 2 and dims[0] == draws.dims[-1] != dims[1]:
        got = got.transposed((1, 0))
    if got.values.ndim != 2 or not len(got.values) or got.values.shape[1] != units:
        raise ValueError(
            f"data must be rows of {units} units, as draws are, got shape {got.values.shape}. Pass the rows that the "
            "machine was learned from, or others like them."
        )
    own, wanted = got.labels[-1] if got.labels else None, names_along(draws, -1)
    if own is None or wanted is None:
        return got
    order = positions(own, wanted, "data", "the draws")
    return got if order is None else got.taken(order, -1)
