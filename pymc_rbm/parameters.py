"""The numbers of a machine where users give them: shapes, finiteness, symmetry, and the names of their axes.

What is symbolic has no numbers yet and passes; internal code that makes machines of None or of graphs costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable

from pymc_rbm.checks import check_not_empty, known_values, restricted_sizes, shape_of
from pymc_rbm.colouring import own_entries
from pymc_rbm.labels import Labels, positions
from pymc_rbm.received import receive
from pymc_rbm.units import Unit

__all__ = ["Named", "check_couplings", "general_size", "named", "of_boltzmann", "of_restricted", "together"]

ASYMMETRY = 1e-6


@dataclass(frozen=True)
class Named:
    """A parameter with the names of its last axes, as far as they are known."""

    value: Any
    dims: tuple[str, ...] = ()
    coords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def symbolic(self) -> bool:
        """Whether it has no numbers that could be moved."""
        return isinstance(self.value, Variable)


def named(x: Any, name: str) -> Named:
    """A parameter as it was given: arrays of DataArrays, frames and lists; None and variables as they are."""
    if x is None or isinstance(x, Variable):
        return Named(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "iuf" and not np.ma.isMaskedArray(x):
        return Named(x)
    got = receive(x, name)
    if np.ma.is_masked(got.values):
        raise ValueError(f"{name} contains NaN or missing entries; the parameters of a machine must be finite numbers.")
    values = np.ma.getdata(got.values)
    values = values.astype("float64") if values.dtype == bool else values
    dims = got.dims or ()
    known = {d: x for d, x in zip(dims, got.labels, strict=False) if d and x is not None}
    return Named(values, dims, known)


def together(W: Named, b: Named, c: Named) -> tuple[Any, Any, Any, Labels]:
    """W, b and c with axes in the same order, by name, and what the units are called.

    Raises
    ------
    ValueError
        If names contradict each other.
    """
    rows, columns = W.dims[-2:] if len(W.dims) > 1 else ("", "")
    of_b, of_c = (x.dims[-1] if x.dims else "" for x in (b, c))
    if (rows or columns) and rows != columns and (of_b == columns != "" or of_c == rows != ""):
        if W.symbolic:
            raise ValueError(
                f"W has dims {W.dims}, but b has {b.dims or 'no dims'} and c has {c.dims or 'no dims'}: W is (visible, "
                "hidden), b is (visible,) and c is (hidden,). W is transposed: pass W.T."
            )
        W = replace(W, value=np.swapaxes(W.value, -1, -2), dims=(*W.dims[:-2], columns, rows))
        rows, columns = columns, rows
    visible, hidden = rows or of_b, columns or of_c
    coords: dict[str, Any] = {}
    sides = ((visible, ((W, -2, "W"), (b, -1, "b"))), (hidden, ((W, -1, "W"), (c, -1, "c"))))
    values = {"W": W.value, "b": b.value, "c": c.value}
    for dim, members in sides:
        # What is symbolic cannot be put in another order: its names lead.
        for x, axis, name in sorted(members, key=lambda member: not member[0].symbolic):
            its = x.coords.get(dim) if x.dims and x.dims[max(axis, -len(x.dims))] == dim else None
            if its is None:
                continue
            known = coords.setdefault(dim, its)
            order = None if known is its else positions(its, known, f"{name} along {dim!r}", "the others")
            if order is not None:
                values[name] = np.take(values[name], order, axis)
    return values["W"], values["b"], values["c"], Labels(visible=visible, hidden=hidden, coords=coords)


def of_restricted(
    W: Any, b: Any, c: Any, visible: Unit | None, hidden: Unit | None
) -> tuple[Any, Any, Any, Labels | None]:
    """The parameters of a restricted machine, checked as far as they are numbers; names where they came with any."""
    for unit, side in ((visible, "visible"), (hidden, "hidden")):
        check_unit(unit, side)
    if W is None and b is None and c is None:
        return W, b, c, None
    W, b, c, labels = together(named(W, "W"), named(b, "b"), named(c, "c"))
    if W is not None and not any(isinstance(x, Variable) for x in (W, b, c)):
        for unit, size, side in zip((visible, hidden), restricted_sizes(W, b, c), ("visible", "hidden"), strict=True):
            check_layer(unit, size, side)
    return W, b, c, labels if labels != Labels() else None


def of_boltzmann(U: Any, b: Any, unit: Unit | None) -> tuple[Any, Any, Labels | None]:
    """The parameters of a general machine, checked as far as they are numbers; names where they came with any."""
    check_unit(unit, "unit")
    if U is None or isinstance(U, Variable) or isinstance(b, Variable):
        return U, b, None
    of_units, of_pairs = named(b, "b"), named(U, "U")
    dim = (of_units.dims or of_pairs.dims or ("",))[-1]
    matrix, bias, coords = np.asarray(of_pairs.value), of_units.value, {}
    own = of_units.coords.get(dim)
    for axis, side in ((-2, 0), (-1, 1)) if len(of_pairs.dims) > 1 else ():
        of_U = of_pairs.coords.get(of_pairs.dims[side])
        order = None if own is None or of_U is None else positions(of_U, own, f"U along {of_pairs.dims[side]!r}", "b")
        matrix = matrix if order is None else np.take(matrix, order, axis)
        own = of_U if own is None else own
    if own is not None:
        coords[dim] = own
    size = general_size(matrix, bias)
    check_layer(unit, size, "visible")
    if size is not None and unit is not None:
        inside = own_entries(unit, size)
        check_couplings(matrix, ~inside, False, inside)
    return matrix, bias, Labels(visible=dim, coords=coords) if dim else None


def check_unit(unit: Any, name: str) -> None:
    """Refuse what is no unit, such as its name or its class."""
    if unit is None or isinstance(unit, Unit):
        return
    if isinstance(unit, type) and issubclass(unit, Unit):
        raise TypeError(f"{name} must be a unit, got the class {unit.__name__}. Call it: pymc_rbm.{unit.__name__}(…).")
    raise TypeError(
        f"{name} must be a unit such as pymc_rbm.Bernoulli() or pymc_rbm.Gaussian(sigma), got {unit!r}, a "
        f"{type(unit).__name__}."
    )


def check_layer(unit: Unit | None, size: int | None, side: str) -> None:
    """Refuse a layer that is no whole number of units, or whose units' own parameters have another length."""
    if unit is None or size is None:
        return
    unit.check_size(size, side)
    for key, p in zip(unit.parameter_names, unit.parameters, strict=True):
        n = None if p is None or isinstance(p, Variable) or not np.ndim(p) else np.shape(p)[-1]
        if n not in (None, 1, size):
            raise ValueError(
                f"{key} of {type(unit).__name__} has shape {np.shape(p)}, but there are {size} units on the {side} "
                f"side. Give one number for all, or {size}."
            )


def general_size(U: Any, b: Any) -> int | None:
    """The number of entries, or ValueError where the shapes of U and b do not fit or numbers are not finite."""
    shapes = {"U": shape_of(U), "b": shape_of(b)}
    lengths = {n for n in (*shapes["U"][-2:], *shapes["b"][-1:]) if n is not None}
    if len(shapes["U"]) < 2 or len(shapes["b"]) < 1 or len(lengths) > 1:
        raise ValueError(
            f"The shapes do not fit: U {shapes['U']}, b {shapes['b']}. U is (units, units) and b is (units,). (A "
            "machine with W of shape (visible, hidden) is pymc_rbm.restricted, or pymc_rbm.RBM.)"
        )
    check_not_empty("U", shapes["U"])
    for name, x in (("U", U), ("b", b)):
        values = known_values(x)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity; the parameters of a machine must be finite numbers.")
    return lengths.pop() if lengths else None


def check_couplings(U: np.ndarray, allowed: np.ndarray, given: bool, inside: np.ndarray) -> None:
    """Refuse a matrix that is not symmetric, or not zero inside units and where ``given`` says that it must be."""
    asymmetry = np.abs(U - np.swapaxes(U, -1, -2)).max(initial=0)
    if asymmetry > ASYMMETRY * np.abs(U).max(initial=0):
        raise ValueError(
            f"U must be symmetric, but U and its transpose differ by up to {asymmetry:.3g}. Pass (U + U.T) / 2; or, if "
            "your energy counts each pair in one triangle of U only, U + U.T."
        )
    if np.any(U[..., inside] != 0):
        raise ValueError(
            "U must be zero between a unit and itself (on the diagonal, in blocks where a unit has several entries). "
            "For 0/1 units x² = x: add half of the diagonal to b. For ±1 units it is a constant."
        )
    if given and np.any(U[..., ~allowed] != 0):
        raise ValueError("U has couplings that are not zero where pattern says that there are none.")
