"""Draw particles or draws in the directions along which a machine moves most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import machine_behind, name_of_run, watch_draws
from pymc_rbm.machine.records import in_order
from pymc_rbm.machine.validation import visible_rows
from pymc_rbm.plots.arguments import check_tree
from pymc_rbm.sampling.observables import leading_directions
from pymc_rbm.support.arguments import whole_number
from pymc_rbm.support.figures import collection
from pymc_rbm.support.figures import panels as panels_for
from pymc_rbm.support.labels import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_projections"]


def plot_projections(
    idata: xr.DataTree,
    target: Any = None,
    learned: xr.DataTree | None = None,
    *,
    name: str | None = None,
    data: Any = None,
    panels: int = 6,
    points: int = 500,
    ax: Any = None,
) -> Any:
    """Show particles by epoch, or draws by chain, in the two leading singular directions of W, over the data.

    Where particles or chains leave out a part of the data, or each chain has a part of its own, they did not mix. The
    directions are those of the last parameters in all panels. With a single direction the panels are histograms.

    Parameters
    ----------
    idata : DataTree
        What `fit` returned, or draws as for `diagnose`.
    target, learned, name
        The machine, as in `diagnose`.
    data : array_like, shape (rows, visible), optional
        Default: the rows that `fit` recorded.
    panels : int, default 6
        At most this many epochs (the first, the last and some between) or chains.
    points : int, default 500
        At most this many a panel.
    ax : sequence of Axes, optional
        Where to draw, one for each panel. Default: a new figure.

    Returns
    -------
    PlotCollection
        As ArviZ's plots return it, with a panel for each epoch or chain; ``.savefig(path)`` writes it, and
        ``.viz["figure"].item()`` is the figure.

    Raises
    ------
    ValueError
        If no machine is known, its weights are all zero, the draws have no states, or ``ax`` has another number of
        Axes.
    """
    check_tree(idata, "draws of pm.sample or pymc_rbm.sample_gibbs, or what pymc_rbm.fit returned")
    panels, points = whole_number("panels", panels), whole_number("points", points)
    machine = machine_behind(idata, target, learned, name)
    if machine is None:
        raise ValueError(
            "The directions come from a machine's weights, and no machine is known: pass the machine, or the model, as "
            "`target`."
        )
    if data is not None:
        data = visible_rows(machine, data, machine.labels or Labels())
    idata, learned, target = (in_order(x, machine.labels) for x in (idata, learned, target))
    U = leading_directions(machine, 2)
    if not U.shape[1]:
        raise ValueError(
            "The machine's weights are all zero, so that there are no directions to project on: pass the "
            "machine that was learned."
        )
    if "particle_states" in idata:
        name = name_of_run(idata, name)
        what, found = "particles", _snapshots(idata, name, panels)
    else:
        watched = watch_draws(idata, machine, name)
        if watched.states is None:
            raise ValueError("The draws have no states to project. Draw again with states=True.")
        what, found = "draws", {f"chain {i}": x for i, x in enumerate(watched.states[:panels])}
        name = watched.name
    if data is None:
        tree = next((x for x in (idata, learned, target) if isinstance(x, xr.DataTree) and "data" in x), None)
        data = None if tree is None else tree["data"].dataset.get(f"{name}_rows")
    rows = None if data is None else _thinned(np.asarray(data), points) @ U
    projected = {title: _thinned(x, points) @ U for title, x in found.items()}
    return _panels(projected, rows, f"{name}: {what} on the leading singular directions of W", what, ax)


def _snapshots(learned: xr.DataTree, name: str, most: int) -> dict[str, np.ndarray]:
    """Return particles by epoch, evenly spread; only the last ones where no history was recorded."""
    if "particle_history" not in learned:
        return {"last": np.asarray(learned["particle_states"][name])}
    history = learned["particle_history"].dataset[name]
    chosen = np.unique(np.linspace(0, len(history) - 1, min(most, len(history))).round().astype(int))
    epochs = np.asarray(history["epoch"])
    return {f"epoch {epochs[i]}": np.asarray(history[i]) for i in chosen}


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]


def _panels(projected: dict[str, np.ndarray], data: np.ndarray | None, title: str, what: str, ax: Any) -> Any:
    """Draw one panel for each set of projections, over the data, all with the same axes."""
    columns = int(np.ceil(np.sqrt(len(projected))))
    size = max(3.0, 6.0 / columns), 2.9
    axes = panels_for(ax, list(projected), size, columns=columns, sharex=True, sharey=True)
    everything = [*projected.values(), *([] if data is None else [data])]
    low, high = np.min([x.min(0) for x in everything], axis=0), np.max([x.max(0) for x in everything], axis=0)
    for label, x in projected.items():
        axes[label].set_title(label)
        (_scatter if x.shape[1] == 2 else _histogram)(axes[label], x, data, what, (low[0], high[0]))
        if ax is not None:
            axes[label].set(xlabel="direction 1", ylabel="direction 2" if low.size == 2 else "density")
    first = next(iter(axes.values()))
    if ax is not None:
        first.legend(loc="best", frameon=False)
        return collection(axes)
    figure = first.get_figure(root=True)
    figure.supxlabel("direction 1")
    figure.supylabel("direction 2" if low.size == 2 else "density")
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), frameon=False)
    figure.suptitle(title)
    return collection(axes)


def _scatter(ax: Axes, x: np.ndarray, data: np.ndarray | None, what: str, limits: tuple[float, float]) -> None:
    if data is not None:
        ax.scatter(data[:, 0], data[:, 1], s=9, color="0.78", linewidths=0, label="data")
    ax.scatter(x[:, 0], x[:, 1], s=12, color="C0", alpha=0.7, linewidths=0, label=what)


def _histogram(ax: Axes, x: np.ndarray, data: np.ndarray | None, what: str, limits: tuple[float, float]) -> None:
    bins = [float(x) for x in np.linspace(*limits, 22)]
    if data is not None:
        ax.hist(data[:, 0], bins, density=True, color="0.75", label="data")
    ax.hist(x[:, 0], bins, density=True, histtype="step", color="C0", linewidth=1.5, label=what)
