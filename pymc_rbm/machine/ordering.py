"""Put the parameters of a machine in one order, by the names of their axes and of their entries.

Symbolic parameters cannot be put in another order: the others follow their names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable

from pymc_rbm.machine.parameters import NOT_FINITE, sizes_that_fit
from pymc_rbm.support.labels import ROWS, SIDES, Labels, positions
from pymc_rbm.support.received import receive
from pymc_rbm.units.unit import Unit

__all__ = ["Named", "OneOrder", "general_together", "named", "of_boltzmann", "of_restricted", "together"]

Units = tuple[Unit | None, Unit | None]
Axes = list[tuple[str, int]]
NameIt = Callable[[Any, str], "Named"]


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
        """The same parameter with its last two axes exchanged."""
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
        raise ValueError(f"{name} {NOT_FINITE}")
    values = np.ma.getdata(got.values)
    return Named(values.astype("float64") if values.dtype == bool else values, got.dims or (), got.labels)


def together(
    W: Named, b: Named, c: Named, units: Units = (None, None), name_it: NameIt = named
) -> tuple[Any, Any, Any, Units, Labels]:
    """Return W, b, c and units with axes and entries in the same order, by name, and what the units are called.

    ``name_it`` gives the units' own parameters their names.

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
    order = OneOrder({"W": W, "b": b, "c": c})
    rows = order.of([("W", -3), ("b", -2), ("c", -2)], ROWS, "rows")
    visible, of_visible = order.with_unit([("W", -2), ("b", -1)], units[0], SIDES[0], name_it)
    hidden, of_hidden = order.with_unit([("W", -1), ("c", -1)], units[1], SIDES[1], name_it)
    values, labels = order.values, Labels(visible=visible, hidden=hidden, coords=order.coords, rows=rows)
    return values["W"], values["b"], values["c"], (of_visible, of_hidden), labels


def general_together(
    U: Named, b: Named, unit: Unit | None = None, name_it: NameIt = named
) -> tuple[Any, Any, Unit | None, Labels]:
    """Return U, b and the unit with entries in the same order, by name, and what the units are called."""
    dim = b.dim(-1) or U.dim(-1)
    order = OneOrder({"U": Named(U.value, (*U.dims[:-2], dim, dim), U.labels) if U.dims else U, "b": b})
    rows = order.of([("U", -3), ("b", -2)], ROWS, "rows")
    dim, unit = order.with_unit([("b", -1), ("U", -2), ("U", -1)], unit, SIDES[0], name_it)
    return order.values["U"], order.values["b"], unit, Labels(visible=dim, coords=order.coords, rows=rows)


class OneOrder:
    """Parameters that are put in one order by name, one kind of axes after the other."""

    def __init__(self, given: dict[str, Named]):
        self.given, self.values = given, {name: x.value for name, x in given.items()}
        self.coords: dict[str, Any] = {}

    def of(self, axes: Axes, made_up: str, what: str = "units") -> str:
        """Put axes in one order and return their dim, which is ``made_up`` where they have labels only."""
        dim, found = next((d for name, axis in axes if (d := self.given[name].dim(axis))), ""), None
        # A symbolic parameter cannot be put in another order, so the others follow its names.
        for name, axis in sorted(axes, key=lambda x: not self.given[x[0]].symbolic):
            its = self.given[name].labels_along(axis, dim)
            if its is None or (what == "rows" and len(its) == 1):
                continue
            order = None if found is None else positions(its, found, f"{name}'s {what}", "the others")
            if order is not None and self.given[name].symbolic:
                raise ValueError(
                    f"{name}'s {what} are in another order than those of the others, and {name} is symbolic. Put the "
                    "coords of one of them in the order of the other."
                )
            if order is not None:
                self.values[name] = np.take(self.values[name], order, axis)
            found = its if found is None else found
        if found is not None:
            dim = dim or made_up
            self.coords[dim] = found
        return dim

    def with_unit(self, axes: Axes, unit: Unit | None, made_up: str, name_it: NameIt) -> tuple[str, Unit | None]:
        """Put the axes of a layer in one order, and the unit's own parameters with them; return its dim and the unit.

        Names that only these parameters have are those of the layer.
        """
        if unit is None or not unit.parameter_names:
            return self.of(axes, made_up), unit

        def named_of_layer(name: str, p: Any, entries: slice) -> Any:
            if entries == slice(None) and _has_names(p):
                self.given[name] = x = name_it(p, name)
                self.values[name] = x.value
                more.append((name, -1))
            return p

        def in_order(name: str, p: Any, entries: slice) -> Any:
            if not _has_names(p):
                return p
            x, wanted = name_it(p, name), self.coords.get(dim)
            its = x.labels_along(-1, x.dim(-1) if dim in SIDES else dim)
            fits = its is not None and wanted is not None
            order = positions(its, np.asarray(wanted)[entries], f"{name}'s units", "the others") if fits else None
            return x.value if order is None else np.take(x.value, order, -1)

        more: Axes = []
        unit.changed(named_of_layer)
        dim = self.of([*axes, *more], made_up)
        return dim, unit.changed(in_order)


def _has_names(x: Any) -> bool:
    return not isinstance(x, Variable) and (hasattr(x, "dims") or (hasattr(x, "to_numpy") and hasattr(x, "index")))


def of_restricted(W: Any, b: Any, c: Any, units: Units) -> tuple[Any, Any, Any, Units, Labels | None]:
    """The parameters of a restricted machine, put together by name; names where they came with any."""
    if W is None and b is None and c is None:
        return W, b, c, units, None
    *parameters, units, labels = together(named(W, "W"), named(b, "b"), named(c, "c"), units)
    W, b, c = parameters
    return W, b, c, units, labels if labels != Labels() else None


def of_boltzmann(U: Any, b: Any, unit: Unit) -> tuple[Any, Any, Any, Labels | None]:
    """The parameters of a general machine, put together by name; names where they came with any."""
    if U is None:
        return U, b, unit, None
    U, b, of_layer, labels = general_together(named(U, "U"), named(b, "b"), unit)
    if not isinstance(U, Variable) and not isinstance(b, Variable):
        sizes_that_fit([None if b is None else b.shape], [U.shape], [(0, 0)])
        U = np.asarray(U)
    return U, b, of_layer, labels if labels != Labels() else None
