"""Draw how chains move: ArviZ's own plots, of the quantities by which chains of a machine are judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.plots.arguments import check_group
from pymc_rbm.support.arguments import listed, shown
from pymc_rbm.support.figures import collection, into, panels
from pymc_rbm.support.interrupts import arviz

__all__ = ["plot_mixing"]


def plot_mixing(idata: xr.DataTree, var_names: Any = None, *, group: str = "posterior", ax: Any = None) -> Any:
    """Show trace and autocorrelation of the free energy, chain by chain, by ArviZ's `plot_trace` and `plot_autocorr`.

    Parameters
    ----------
    idata : DataTree
        Draws from a `generative` model, or with ``group="particles"`` what `fit` returned.
    var_names : str or list, optional
        Default: every variable whose name ends in ``free_energy``.
    group : str, default "posterior"
    ax : sequence of Axes, optional
        Where to draw, two for each number that a draw has: trace, then autocorrelation. Default: a new figure.

    Returns
    -------
    PlotCollection
        As ArviZ's plots return it; ``.savefig(path)`` writes it, and ``.viz["figure"].item()`` is the figure.

    Raises
    ------
    ValueError
        If there is no such group or variable, or ``ax`` has another number of Axes.
    """
    check_group(idata, group, "draws of pm.sample or pymc_rbm.sample_gibbs, or group='particles' of what fit returned")
    az = arviz()
    if var_names is None:
        var_names = [name for name in idata[group].data_vars if str(name).endswith("free_energy")]
        if not var_names:
            raise ValueError(
                f"No variable of {group!r} ends in 'free_energy'; there are {list(map(str, idata[group].data_vars))}. "
                "Name some with var_names=, or draw from pymc_rbm.generative(model, learned), which records the free "
                "energy."
            )
    names = [var_names] if isinstance(var_names, str) else listed("var_names", var_names, "a name, or a list of names")
    unknown = [x for x in names if not isinstance(x, str) or x not in idata[group].data_vars]
    if unknown or not names:
        raise ValueError(
            f"var_names must be among {list(map(str, idata[group].data_vars))}, got {shown(unknown or names)}. Leave "
            "it out to see each free energy."
        )
    series = _series(az, idata[group].to_dataset()[names])
    keys = [f"{title}: {part}" for title in series for part in ("trace", "autocorrelation")]
    axes = panels(ax, keys, (5.5, 2.8), columns=2)
    for title, values in series.items():
        left, right = axes[f"{title}: trace"], axes[f"{title}: autocorrelation"]
        values = values.reset_coords(drop=True)
        tree = xr.DataTree.from_dict({"posterior": xr.Dataset({str(values.name): values})})
        for draw, own in ((az.plot_trace, left), (az.plot_autocorr, right)):
            draw(tree, plot_collection=into(own, values, {"color": ["chain"], "overlay": ["chain"]}))
        of_energy = title.split("[")[0].endswith("free_energy")
        left.set(title=title, xlabel="draw", ylabel="free energy (nats)" if of_energy else "value")
        right.set(title=title, xlabel="lag (draws)", ylabel="autocorrelation")
    return collection(axes)


def _series(az: Any, values: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return each number that a draw has, dims (chain, draw), by title."""
    found = {}
    for name, selection, _ in az.xarray_sel_iter(values, skip_dims={"chain", "draw"}):
        at = ", ".join(str(np.asarray(x)) for x in selection.values())
        found[f"{name}[{at}]" if selection else str(name)] = values[name].sel(selection)
    return found
