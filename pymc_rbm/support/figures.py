"""Plots draw into new axes or into those that are given, and return ArviZ's PlotCollection of them.

A function that makes a figure with pyplot and returns it is shown twice in a notebook: once because pyplot shows every
open figure at the end of a cell, once as the value of the cell's last line. A PlotCollection has no picture of its own
there, so that the figure appears once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_rbm.support.interrupts import arviz

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["collection", "into", "panels"]


def panels(ax: Any, names: Sequence[str], size: tuple[float, float], columns: int | None = None, **options: Any) -> Any:
    """Return a dict of Axes by name of panel: those that are given, or those of a new figure.

    Parameters
    ----------
    ax : Axes, sequence of Axes or None
        What the user gave.
    names : sequence of str
        One for each panel.
    size : tuple of float
        Width and height of one panel of a new figure, in inches.
    columns : int, optional
        How many panels stand in a row of a new figure. Default: all.
    **options
        For ``plt.subplots``.

    Raises
    ------
    ValueError
        If there are not as many Axes as panels.
    TypeError
        If anything is not an Axes.
    """
    if ax is not None:
        return dict(zip(names, _given(ax, names), strict=True))
    import matplotlib.pyplot as plt

    columns = min(columns or len(names), len(names))
    rows = -(-len(names) // columns)
    _, axes = plt.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, layout="constrained", **options
    )
    for spare in axes.flat[len(names) :]:
        spare.set_axis_off()
    return dict(zip(names, axes.flat, strict=False))


def _given(ax: Any, names: Sequence[str]) -> list[Axes]:
    from matplotlib.axes import Axes

    try:
        found = [ax] if isinstance(ax, Axes) else list(np.ravel(np.asarray(ax, dtype=object)))
    except Exception:  # whatever arrays of odd objects raise
        found = [ax]
    strange = next((x for x in found if not isinstance(x, Axes)), None)
    if strange is not None:
        raise TypeError(
            f"ax must be matplotlib's Axes, one for each panel, got a {type(strange).__name__}. Pass those of "
            f"plt.subplots(1, {len(names)}), or leave ax out."
        )
    if len(found) != len(names):
        raise ValueError(
            f"ax must be {len(names)} Axes, one for each panel ({', '.join(names)}), got {len(found)}. Pass those of "
            f"plt.subplots(1, {len(names)}), or leave ax out."
        )
    return found


def collection(axes: dict[str, Axes]) -> Any:
    """Return ArviZ's PlotCollection of drawn panels: ``.viz["figure"]``, and ``.viz["plot"]`` with dim ``panel``."""
    az = arviz()
    found = np.empty(len(axes), dtype=object)
    found[:] = list(axes.values())
    figure = found[0].get_figure(root=True)
    viz = xr.Dataset({"figure": xr.DataArray(figure), "plot": ("panel", found)}, coords={"panel": list(axes)})
    return az.PlotCollection(xr.Dataset(), xr.DataTree(viz), backend="matplotlib")


def into(ax: Axes, values: xr.DataArray, aes: dict[str, list[str]]) -> Any:
    """Return a PlotCollection by which a plot of ArviZ's, of one variable, draws into ``ax``.

    ``aes`` are its aesthetics, each with the dims that it stands for.
    """
    name, az = str(values.name), arviz()
    figure, where = (xr.DataArray(np.array(x, dtype=object)) for x in (ax.get_figure(root=True), ax))
    viz = xr.DataTree.from_dict({"/": xr.Dataset({"figure": figure}), "/plot": xr.Dataset({name: where})})
    return az.PlotCollection(xr.Dataset({name: values}), viz, aes=aes, backend="matplotlib")
