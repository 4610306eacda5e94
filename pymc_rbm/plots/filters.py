"""Draw the weights of hidden units: as pictures, or as a table of loadings."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.given import values_of
from pymc_rbm.machine.records import recorded_names
from pymc_rbm.machine.spellings import renamed
from pymc_rbm.plots.arguments import KINDS, checked_shape, kind_of, names_along, numbers
from pymc_rbm.plots.items import alike_together, heatmap
from pymc_rbm.plots.pictures import mosaic, show
from pymc_rbm.support.arguments import one_of, whole_number
from pymc_rbm.support.figures import collection, panels

__all__ = ["plot_filters"]


@renamed(var_name="name")
def plot_filters(
    learned: Any,
    name: str = "W",
    *,
    kind: str = "auto",
    shape: tuple[int, int] | None = None,
    most: int = 100,
    ax: Any = None,
) -> Any:
    """Show the weights of hidden units: each unit's as a picture, or all as a table of items and units.

    Parameters
    ----------
    learned : DataTree or dict
        What `fit` returned, or values by name, as ``pm.find_MAP`` returns them.
    name : str, default "W"
        The weights, dims (visible, hidden), among its ``parameters``; or the name of a machine that `fit` learned, for
        the weights of that. Of a machine of one layer these are the couplings of its units.
    kind : {"auto", "pictures", "items"}, default "auto"
        "items" is a table with a line for each visible unit, by name, and a column for each hidden unit; lines with
        weights alike stand together. The default is a table where visible units have names (coords that do not only
        count) or do not fill a square, unless ``shape`` is given.
    shape : tuple, optional
        Height and width of a picture. Default: a square where the number of visible units is one, else one row.
    most : int, default 100
        Show at most this many hidden units, those with the largest weights first.
    ax : Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    PlotCollection
        As ArviZ's plots return it, with one panel, "weights"; ``.savefig(path)`` writes it, and
        ``.viz["figure"].item()`` is the figure. Red is positive, blue negative; one colour scale for all.

    Raises
    ------
    ValueError
        If there are no such weights, or a shape does not fit them.
    """
    values = values_of(learned)
    one_of("kind", kind, KINDS)
    W = _weights(learned, values, name)
    weights, shape, most = numbers(name, W).values, checked_shape(shape), whole_number("most", most)
    if weights.ndim != 2 or not weights.size:
        raise ValueError(
            f"{name} must have the axes (visible, hidden), got shape {weights.shape}. Name weights with name=."
        )
    labels = [
        x if x is not None else y for x, y in zip(_own_labels(W), _recorded_labels(learned, weights), strict=True)
    ]
    couplings = len(weights) == weights.shape[1] and np.array_equal(weights, weights.T)
    if couplings and kind == "auto" and shape is None:
        kind = "items"
    if kind_of(kind, shape, len(weights), labels[0]) == "items":
        return _table(ax, name, weights, labels, most, couplings)
    order = np.argsort(-np.linalg.norm(weights, axis=0))[:most]
    columns = int(np.ceil(np.sqrt(len(order))))
    image, limit = mosaic(weights[:, order].T, shape, columns), np.abs(weights).max()
    rows = -(-len(order) // columns)
    axes = panels(ax, ["weights"], (0.75 * columns + 1.2, 0.75 * rows + 0.6))
    drawn = show(axes["weights"], image, "RdBu_r", "white", -limit, limit)
    axes["weights"].figure.colorbar(drawn, ax=axes["weights"], shrink=0.6, label="weight")
    axes["weights"].set_title(f"{name}: weights of {len(order)} hidden units, largest first")
    return collection(axes)


def _table(ax: Any, name: str, weights: np.ndarray, labels: list, most: int, couplings: bool) -> Any:
    """Draw a line for each visible unit and a column for each hidden one; of couplings the same units on both sides."""
    lines = alike_together(weights)
    if couplings:
        columns, labels[1] = lines, labels[0]
    else:
        columns = np.argsort(-np.linalg.norm(weights, axis=0))[:most]
    names = [np.arange(n) if x is None else x for n, x in zip(weights.shape, labels, strict=True)]
    shown = weights[np.ix_(lines, columns)]
    size = min(max(0.42 * len(columns) + 2.6, 3.6), 12.0), min(max(0.26 * len(lines) + 1.4, 2.6), 12.0)
    axes = panels(ax, ["weights"], size)
    heatmap(axes["weights"], shown, names[0][lines], names[1][columns], np.abs(weights).max(), "weight")
    axes["weights"].set_title(f"{name}: couplings" if couplings else f"{name}: weights of {len(columns)} hidden units")
    axes["weights"].set(xlabel="" if couplings else "hidden unit")
    return collection(axes)


def _weights(learned: Any, values: Any, name: str) -> Any:
    """Return weights by their own name, or by that of a machine."""
    if name in values:
        return values[name]
    machines = recorded_names(learned) if isinstance(learned, xr.DataTree) else []
    if name in machines:
        return learned["machines"].to_dataset()[f"{name}_weights"]
    raise ValueError(
        f"There is no {name!r} among the parameters: pass name=, one of {sorted(map(str, [*values, *machines]))}."
    )


def _own_labels(W: Any) -> list[np.ndarray | None]:
    return [names_along(W, axis) for axis in (0, 1)]


def _recorded_labels(learned: Any, weights: np.ndarray) -> list[np.ndarray | None]:
    """Return the names of the units of the machine that has these weights, as `fit` recorded them."""
    for name in recorded_names(learned) if isinstance(learned, xr.DataTree) else []:
        theirs = learned["machines"].to_dataset()[f"{name}_weights"]
        if theirs.shape == weights.shape and np.allclose(theirs, weights):
            return _own_labels(theirs)
    return [None, None]
