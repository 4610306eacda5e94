"""Draw what learning recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.plots.arguments import check_group
from pymc_rbm.support.figures import collection, panels

__all__ = ["plot_learning"]


def plot_learning(learned: xr.DataTree, *, ax: Any = None) -> Any:
    """Show what learning recorded: of exact learning the log-likelihood, else monitors of the chains.

    Where `fit` climbed the exact likelihood there are two panels for each machine: the mean log-likelihood of the rows,
    exact, by iteration, and how far the objective, to which priors belong, is below its highest value, on a logarithmic
    scale. Points before the line are machines to which hidden units were added one by one, to find where to start.

    Otherwise there are three: the pseudo log-likelihood by epoch, and by iteration the free energies of data and
    particles, and the sweeps. Neither of the first two is a likelihood. If the free energy of the particles leaves that
    of the data, the particles are no longer where the data are. With tempering the third panel shows the swap rates of
    neighbouring temperatures instead of the sweeps: a rate near zero is a gap that no replica crosses.

    Parameters
    ----------
    learned : DataTree
        What `fit` returned.
    ax : sequence of Axes, optional
        Where to draw, one for each panel, machine by machine. Default: a new figure.

    Returns
    -------
    PlotCollection
        As ArviZ's plots return it; ``.savefig(path)`` writes it, and ``.viz["figure"].item()`` is the figure. All
        likelihoods, energies and objectives are in nats.

    Raises
    ------
    ValueError
        If ``learned`` has no group ``learning``, or ``ax`` another number of Axes.
    """
    check_group(learned, "learning", "what pymc_rbm.fit returned")
    history = learned["learning"].dataset
    suffix = "_pseudo_log_likelihood"
    names = [str(n).removesuffix(suffix) for n in history if str(n).endswith(suffix)]
    exact = f"{names[0]}_log_likelihood" in history if names else False
    parts = ("log-likelihood", "below") if exact else ("pseudo log-likelihood", "free energies", "sweeps")
    keys = [part if len(names) == 1 else f"{name}: {part}" for name in names for part in parts]
    axes = panels(ax, keys, (4.3, 3.2), columns=len(parts))
    drawn = list(axes.values())
    for i, name in enumerate(names):
        own = drawn[i * len(parts) : (i + 1) * len(parts)]
        if exact:
            _exact(own, history, name, min(int(learned.attrs.get("growing_iterations", 0)), len(history["epoch"]) - 1))
        else:
            _sampled(own, history, name)
        for x in own:
            x.set_title(name)
    return collection(axes)


def _exact(axes: list, history: xr.Dataset, name: str, grown: int) -> None:
    """Draw the climb; before it, as points, the machines that were grown to find its start."""
    left, right = axes
    epochs, values, goal = (history[x].values for x in ("epoch", f"{name}_log_likelihood", "objective"))
    left.plot(epochs[grown:], values[grown:])
    if grown:
        left.plot(epochs[:grown], values[:grown], "o", ms=3, color="0.6", label="while hidden units were added")
        left.legend(fontsize=8)
    left.set(xlabel="iteration", ylabel="exact log-likelihood a row")
    below = np.nanmax(goal) - goal[grown:]
    right.semilogy(epochs[grown:], np.where(below > 0, below, np.nan))
    right.set(xlabel="iteration", ylabel="objective below its highest")


def _sampled(axes: list, history: xr.Dataset, name: str) -> None:
    left, middle, right = axes
    left.plot(history["epoch"], history[f"{name}_pseudo_log_likelihood"])  # there may be no epochs
    left.set(xlabel="epoch", ylabel="pseudo log-likelihood a row")
    for phase in ("data", "particles"):
        xr.plot.line(history[f"{name}_free_energy_{phase}"], ax=middle, label=phase, linewidth=0.8)
    middle.set(xlabel="iteration", ylabel="mean free energy")
    middle.legend()
    swaps = history.get(f"{name}_swap_rate")
    right.plot(history["iteration"], history["sweeps"] if swaps is None else swaps, linewidth=0.8)
    label = "sweeps per iteration" if swaps is None else "swap rate of neighbours"
    right.set(xlabel="iteration", ylabel=label, ylim=(0, None))
