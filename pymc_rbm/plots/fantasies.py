"""Draw states of a machine beside data: as pictures, or by what items have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.spellings import renamed
from pymc_rbm.plots.arguments import (
    KINDS,
    check_group,
    checked_shape,
    data_like,
    kind_of,
    names_along,
    states_variable,
)
from pymc_rbm.plots.items import alike_together, correlations, heatmap
from pymc_rbm.plots.pictures import mosaic, show
from pymc_rbm.support.arguments import one_of, whole_number
from pymc_rbm.support.figures import collection, panels
from pymc_rbm.support.received import Received

__all__ = ["plot_fantasies"]


@renamed(var_name="name")
def plot_fantasies(
    fantasies: xr.DataTree,
    data: Any = None,
    name: str | None = None,
    *,
    kind: str = "auto",
    shape: tuple[int, int] | None = None,
    rows: int = 8,
    columns: int = 10,
    ax: Any = None,
) -> Any:
    """Show draws from a machine beside data: as pictures, or, of a table of items, by what the items have in common.

    A table has up to four panels: the correlations of the items in the data and in the draws, in one order in which
    items that go together stand together; the mean of each item in the draws against that in the data, with the range
    over chains and two standard errors of the data's mean; and the correlation of each pair of items in the draws
    against that in the data, with a band of two standard errors of the data's.

    Parameters
    ----------
    fantasies : DataTree
        From ``pm.sample`` of a `generative` model. Pictures are spread evenly over each chain; a row is one chain
        (several rows a chain where there are fewer chains than rows).
    data : array_like, DataArray or data frame, shape (rows, visible), optional
        Rows to show beside the draws. Pictures are spread evenly over them. Units are put in the draws' order by name.
        Of tables entries may be missing (masked, or NaN in DataArrays and frames).
    name : str, optional
        The RBM variable. Default: the only integer one.
    kind : {"auto", "pictures", "items"}, default "auto"
        The default is "items" where visible units have names (coords that do not only count, or the columns of the
        data) or do not fill a square, unless a shape is known.
    shape : tuple, optional
        Height and width of a picture. Default: ``data.attrs["shape"]``, else a square, else one row.
    rows : int, default 8
        At most this many rows of pictures, the same number for each chain.
    columns : int, default 10
        Pictures in a row.
    ax : Axes or sequence of Axes, optional
        Where to draw: of pictures one for the draws, two with data; of items one or four. Default: a new figure.

    Returns
    -------
    PlotCollection
        As ArviZ's plots return it, with the panels "data" and "draws", of items also "means" and "correlations";
        ``.savefig(path)`` writes it, and ``.viz["figure"].item()`` is the figure.

    Raises
    ------
    ValueError
        If there are no such draws, the data do not fit them, or ``ax`` has another number of Axes.
    """
    check_group(fantasies, "posterior", "draws of pm.sample or pymc_rbm.sample_gibbs")
    one_of("kind", kind, KINDS)
    draws = states_variable(fantasies["posterior"], name)
    shape, rows, columns = checked_shape(shape), whole_number("rows", rows), whole_number("columns", columns)
    units = draws.shape[-1]
    if shape is None and kind != "items":
        known = getattr(data, "attrs", {}).get("shape")
        shape = checked_shape(known) if known is not None and np.prod(known) == units else None
    received = None if data is None else data_like(data, draws)
    labels = names_along(draws, -1)
    if labels is None and received is not None and received.labels:
        labels = received.labels[-1]
    if kind_of(kind, shape, units, labels) == "items":
        return _items(draws, received, np.arange(units) if labels is None else labels, ax)
    return _pictures(draws, received, shape, rows, columns, ax)


def _pictures(
    draws: xr.DataArray, data: Received | None, shape: tuple[int, int] | None, rows: int, columns: int, ax: Any
) -> Any:
    values = np.asarray(draws)
    per_chain = max(1, rows // len(values))
    chosen = np.linspace(0, values.shape[1] - 1, per_chain * columns).astype(int)
    pictures = values[: max(1, min(rows, len(values))), chosen].reshape(-1, values.shape[-1])
    panes = {"draws": (f"{draws.name}: draws, chain by chain", pictures)}
    if data is not None:
        seen = np.ma.filled(data.values.astype("float64"), np.nan)
        spread = np.linspace(0, len(seen) - 1, len(pictures)).astype(int)
        panes = {"data": ("data", seen[spread]), **panes}
    images = {key: mosaic(x.astype("float64"), shape, columns) for key, (_, x) in panes.items()}
    height, width = images["draws"].shape
    axes = panels(ax, list(panes), (5.0, 4.9 * height / width + 0.5))
    if ax is None:
        axes["draws"].get_figure().get_layout_engine().set(wspace=0.06)
    for key, (title, _) in panes.items():
        show(axes[key], images[key], "gray_r", "0.8", 0, 1)
        axes[key].set_title(title)
    return collection(axes)


def _items(draws: xr.DataArray, data: Received | None, names: np.ndarray, ax: Any) -> Any:
    values = np.asarray(draws).astype("float64")
    values = values.reshape(len(values), -1, values.shape[-1])
    of_draws = correlations(values.reshape(-1, values.shape[-1]))
    of_data = None if data is None else correlations(data.values)
    order = alike_together(of_draws if of_data is None else of_data, correlation=True)
    side = min(max(0.2 * len(order) + 2.0, 3.4), 5.6)
    keys = ["draws"] if data is None else ["data", "draws", "means", "correlations"]
    axes = panels(ax, keys, (1.15 * side, side), columns=2)
    for key, matrix in (("data", of_data), ("draws", of_draws)):
        if key in axes and matrix is not None:
            heatmap(axes[key], matrix[np.ix_(order, order)], names[order], names[order], 1.0, "correlation", False)
            axes[key].set_title(f"{draws.name}: correlations of {'the data' if key == 'data' else 'draws'}")
    if data is not None and of_data is not None:
        _means(axes["means"], values, np.ma.MaskedArray(data.values, dtype="float64"))
        _pairs(axes["correlations"], of_data, of_draws, len(data.values))
    return collection(axes)


def _means(ax: Any, draws: np.ndarray, data: np.ma.MaskedArray) -> None:
    """Draw the mean of each item in all draws, with its range over chains, against that in the data."""
    seen, chains = np.ma.filled(data.mean(0), np.nan), draws.mean(1)
    error = np.ma.filled(data.std(0) / np.sqrt(np.maximum(data.count(0), 1)), np.nan)
    found = chains.mean(0)
    ends = np.array([found - chains.min(0), chains.max(0) - found])
    _diagonal(ax, np.r_[seen - 2 * error, seen + 2 * error, chains.min(0), chains.max(0)])
    ax.errorbar(seen, found, xerr=2 * error, yerr=ends, fmt="o", ms=4, lw=1, color="C0", ecolor="0.6")
    ax.set(
        xlabel="in the data (± 2 standard errors)", ylabel="in the draws (range over chains)", title="means of items"
    )


def _pairs(ax: Any, data: np.ndarray, draws: np.ndarray, rows: int) -> None:
    """Draw the correlation of each pair of items in the draws against that in the data."""
    upper = np.triu_indices(len(data), 1)
    seen, found = data[upper], draws[upper]
    if not np.isfinite(seen + found).any():  # a single item, or constant ones
        seen = found = np.zeros(0)
    low, high = _diagonal(ax, np.r_[seen, found])
    x = np.linspace(low, high, 50)
    band = 2 * (1 - np.clip(x, -1, 1) ** 2) / np.sqrt(rows)
    ax.fill_between(x, x - band, x + band, color="0.9", lw=0, label="± 2 standard errors of the data's")
    ax.plot(seen, found, "o", ms=4, color="C0", alpha=0.7, mew=0)
    ax.set(xlabel="in the data", ylabel="in the draws", title="correlations of pairs")
    ax.legend(loc="upper left", fontsize=8, frameon=False)


def _diagonal(ax: Any, values: np.ndarray) -> tuple[float, float]:
    """Draw the line on which both are equal; return the limits of the axes."""
    values = values[np.isfinite(values)] if values.size else np.zeros(1)
    margin = 0.08 * (np.ptp(values) or 1.0)
    low, high = float(values.min() - margin), float(values.max() + margin)
    ax.plot([low, high], [low, high], color="0.7", lw=1, zorder=0)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_box_aspect(1)
    return low, high
