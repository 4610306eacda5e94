"""Checks of the parameters that users give: shapes, finiteness, symmetry, and the names of their axes.

Symbolic parameters have no numbers yet and pass, and so does None: machines that the package makes of these cost
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable

from pymc_rbm.machine.colouring import own_entries
from pymc_rbm.support.arguments import check_not_empty, known_values, shape_of
from pymc_rbm.support.labels import SIDES, Labels, positions
from pymc_rbm.support.received import receive
from pymc_rbm.units.unit import Unit

__all__ = [
    "Named",
    "check_couplings",
    "general_size",
    "general_together",
    "named",
    "of_boltzmann",
    "of_restricted",
    "restricted_sizes",
    "together",
]

ASYMMETRY = 1e-6


@dataclass(frozen=True)
class Named:
    """A parameter with the names of its axes, as far as they are known."""

    value: Any
    dims: tuple[str, ...] = ()
    """The names of the axes: empty where no axis has a name; an empty string for an axis of a frame without one."""
    labels: tuple[Any, ...] = ()
    """The labels of each axis, None where an axis has none."""

    @property
    def symbolic(self) -> bool:
        """Whether the value is symbolic, so that its entries cannot be put into another order."""
        return isinstance(self.value, Variable)

    def dim(self, axis: int) -> str:
        """Return the name of an axis, counted from the end; an empty string if it has none."""
        return self.dims[axis] if len(self.dims) >= -axis else ""

    def labels_along(self, axis: int, dim: str) -> Any:
        """Return the labels of an axis if its name is ``dim`` or it has no name, else None."""
        return self.labels[axis] if len(self.labels) >= -axis and self.dim(axis) in ("", dim) else None

    @property
    def transposed(self) -> Named:
        """The same with its last two axes exchanged."""
        dims, labels = ((*x[:-2], x[-1], x[-2]) if len(x) > 1 else x for x in (self.dims, self.labels))
        return Named(np.swapaxes(self.value, -1, -2), dims, labels)


def named(x: Any, name: str) -> Named:
    """Return a parameter with its names: DataArrays, frames and lists become arrays; None and variables stay."""
    if x is None or isinstance(x, Variable):
        return Named(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "iuf" and not np.ma.isMaskedArray(x):
        return Named(x)
    got = receive(x, name)
    if np.ma.is_masked(got.values):
        raise ValueError(f"{name} contains NaN or missing entries; the parameters of a machine must be finite numbers.")
    values = np.ma.getdata(got.values)
    return Named(values.astype("float64") if values.dtype == bool else values, got.dims or (), got.labels)


def together(W: Named, b: Named, c: Named) -> tuple[Any, Any, Any, Labels]:
    """Return W, b and c with axes and entries in the same order, by name, and what the units are called.

    Raises
    ------
    ValueError
        If names contradict each other.
    """
    if W.dim(-2) != W.dim(-1) and (b.dim(-1) == W.dim(-1) != "" or c.dim(-1) == W.dim(-2) != ""):
        if W.symbolic:
            raise ValueError(
                f"W has dims {W.dims}, but b has {b.dims or 'no dims'} and c has {c.dims or 'no dims'}: W is (visible, "
                "hidden), b is (visible,) and c is (hidden,). W is transposed: pass W.T."
            )
        W = W.transposed
    values, coords = {"W": W.value, "b": b.value, "c": c.value}, dict[str, Any]()
    dims = [W.dim(-2) or b.dim(-1), W.dim(-1) or c.dim(-1)]
    for side, members in enumerate((((W, -2, "W"), (b, -1, "b")), ((W, -1, "W"), (c, -1, "c")))):
        found = None
        # A symbolic parameter cannot be put in another order, so the others follow its names.
        for x, axis, name in sorted(members, key=lambda member: not member[0].symbolic):
            its = x.labels_along(axis, dims[side])
            if its is None:
                continue
            order: Any = None if found is None else positions(its, found, f"{name}'s units", "the others")
            if order is not None:
                values[name] = np.take(values[name], order, axis)
            found = its if found is None else found
        if found is not None:
            dims[side] = dims[side] or SIDES[side]
            coords[dims[side]] = found
    return values["W"], values["b"], values["c"], Labels(visible=dims[0], hidden=dims[1], coords=coords)


def general_together(U: Named, b: Named) -> tuple[Any, Any, Labels]:
    """Return U and b with entries in the same order, by name, if both are numbers, and what the units are called."""
    dim, matrix, found = b.dim(-1) or U.dim(-1), U.value, b.labels_along(-1, b.dim(-1))
    for axis in (-2, -1):
        its = U.labels_along(axis, U.dim(axis))
        if not (U.symbolic or its is None or found is None):
            order = positions(its, found, "U's units", "b")
            matrix = matrix if order is None else np.take(matrix, order, axis)
        found = its if found is None else found
    dim = dim or ("" if found is None else SIDES[0])
    return matrix, b.value, Labels(visible=dim, coords={} if found is None else {dim: found})


def of_restricted(
    W: Any, b: Any, c: Any, visible: Unit | None, hidden: Unit | None
) -> tuple[Any, Any, Any, Labels | None]:
    """Return the parameters of a restricted machine, checked if they are numbers, and their names, if any."""
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
    """Return the parameters of a general machine, checked if they are numbers, and their names, if any."""
    check_unit(unit, "unit")
    if U is None or isinstance(U, Variable) or isinstance(b, Variable):
        return U, b, None
    U, b, labels = general_together(named(U, "U"), named(b, "b"))
    size = general_size(U, b)
    check_layer(unit, size, "visible")
    if size is not None and unit is not None:
        inside = own_entries(unit, size)
        check_couplings(np.asarray(U), ~inside, False, inside)
    return np.asarray(U), b, labels if labels != Labels() else None


def check_unit(unit: Any, name: str) -> None:
    """Refuse anything but a unit, such as the name or the class of one."""
    if unit is None or isinstance(unit, Unit):
        return
    if isinstance(unit, type) and issubclass(unit, Unit):
        raise TypeError(f"{name} must be a unit, got the class {unit.__name__}. Call it: pymc_rbm.{unit.__name__}(…).")
    raise TypeError(
        f"{name} must be a unit such as pymc_rbm.Bernoulli() or pymc_rbm.Gaussian(sigma), got {unit!r}, a "
        f"{type(unit).__name__}."
    )


def check_layer(unit: Unit | None, size: int | None, side: str) -> None:
    """Refuse a layer that is not a whole number of units, or whose units' own parameters have another length."""
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
    """Return the number of entries; ValueError where the shapes of U and b do not fit or numbers are not finite."""
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
    """Refuse a matrix that is not symmetric, not zero inside units or, if ``given``, not zero where not ``allowed``."""
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
        raise ValueError(
            "U has couplings that are not zero where pattern is zero. Set them to zero, or leave pattern out."
        )


def restricted_sizes(W: Any, b: Any, c: Any) -> tuple[int | None, int | None]:
    """Return (visible, hidden) sizes, or raise ValueError where the shapes of W, b and c do not fit.

    A bias that is None fits any size.
    """
    shapes = {name: (None,) if x is None else shape_of(x) for name, x in (("W", W), ("b", b), ("c", c))}
    for name, ndim in (("W", 2), ("b", 1), ("c", 1)):
        if len(shapes[name]) < ndim:
            raise ValueError(
                f"{name} must have at least {ndim} axes, got shape {shapes[name]}. An RBM takes W of shape "
                "(visible, hidden), b of shape (visible,) and c of shape (hidden,)."
            )
    check_not_empty("W", shapes["W"])
    (rows, columns), n_b, n_c = shapes["W"][-2:], shapes["b"][-1], shapes["c"][-1]

    def same(m: int | None, n: int | None) -> bool:
        return m is None or n is None or m == n

    if not (same(rows, n_b) and same(columns, n_c)):
        transposed = same(rows, n_c) and same(columns, n_b)
        raise ValueError(
            f"The shapes do not fit: W {shapes['W']}, b {shapes['b']}, c {shapes['c']}. W is (visible, hidden), b is "
            "(visible,) and c is (hidden,). "
            + ("W looks transposed: pass W.T." if transposed else "Check which of the three has the wrong size.")
            + (" (scikit-learn's components_ are (hidden, visible).)" if transposed else "")
        )
    for name, x in (("W", W), ("b", b), ("c", c)):
        values = None if x is None else known_values(x, name)
        if values is not None and not np.isfinite(np.ma.filled(values, np.nan)).all():
            raise ValueError(f"{name} contains NaN or infinity; the parameters of an RBM must be finite numbers.")
    return rows if rows is not None else n_b, columns if columns is not None else n_c
