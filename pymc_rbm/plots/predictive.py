"""Posterior predictive checks: draws and data as ArviZ's plots take them, with what tables of items are checked by."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.plots.arguments import check_tree, data_like, names_along, states_variable
from pymc_rbm.plots.items import MOST_NAMES, correlations
from pymc_rbm.support.arguments import one_of
from pymc_rbm.support.figures import into, panels
from pymc_rbm.support.interrupts import arviz

__all__ = ["plot_ppc", "predictive"]

STATISTICS = "sum", "mean", "correlation"
DRAWS = "draws of pm.sample, pymc_rbm.sample_gibbs or pm.sample_posterior_predictive"


def predictive(draws: xr.DataTree, data: Any, name: str | None = None) -> xr.DataTree:
    """Return draws as replicated data sets beside the data, with statistics of both, as ArviZ's plots take them.

    A replicated data set has as many rows as the data. Draws of a machine (dims chain, draw, unit) are dealt to as many
    of these as there are draws for, row after row, so that neighbours in a chain are in different ones. Draws of
    ``pm.sample_posterior_predictive`` (dims chain, draw, row, unit) are replicated data sets already; they check
    the posterior, and not only the estimate.

    Parameters
    ----------
    draws : DataTree
        From ``pm.sample`` of a `generative` model, `sample_gibbs`, or ``pm.sample_posterior_predictive``.
    data : array_like, DataArray or data frame, shape (rows, visible)
        The rows to compare with, without missing entries. Units are put in the draws' order by name.
    name : str, optional
        The variable of states. Default: the only integer one.

    Returns
    -------
    DataTree
        Its groups are ``posterior_predictive`` and ``observed_data``, with these variables:

        - ``{name}``, the states, dims (chain, draw, row, unit);
        - ``{name}_sum``, the sum over units of each row, dims (chain, draw, row);
        - ``{name}_mean``, the mean of each unit, dims (chain, draw, unit);
        - ``{name}_correlation``, that of each pair of units, dims (chain, draw, pair); 0 where a unit is constant.

        ``observed_data`` has them without the first two dims.

    Raises
    ------
    ValueError
        If the data do not fit the draws, have missing entries or more rows than there are draws.

    Examples
    --------
    Any predictive check of ArviZ takes the result, with the statistic of your own:

    >>> import arviz as az, numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted(np.zeros((6, 2)), np.zeros(6), np.zeros(2))
    >>> draws = pmr.sample_gibbs(machine, draws=100, chains=4, random_seed=1, progressbar=False)
    >>> tree = pmr.predictive(draws, np.tile(np.arange(6) % 2, (50, 1)))
    >>> dict(tree["posterior_predictive"]["v_mean"].sizes)
    {'chain': 1, 'draw': 8, 'v_unit': 6}
    >>> plot = az.plot_ppc_tstat(tree, var_names="v_sum", t_stat="max")
    """
    return _groups(draws, data, name, STATISTICS)


def plot_ppc(
    draws: xr.DataTree, data: Any, name: str | None = None, *, statistic: str = "sum", ax: Any = None, **kwargs: Any
) -> Any:
    """Compare a statistic of draws with that of the data, by ArviZ's plots of predictive checks.

    Parameters
    ----------
    draws, data, name
        As in `predictive`.
    statistic : {"sum", "mean", "correlation"}, default "sum"
        - "sum": how many rows have which sum of units (the score of a person, the size of a pattern). Learning matches
          means and pairs more directly, so that this can fail where they do not. By ``az.plot_ppc_rootogram``, or where
          sums are no counts by ``az.plot_ppc_dist``.
        - "mean": the mean of each unit, by ``az.plot_ppc_interval``.
        - "correlation": that of each pair of units, from the smallest in the data to the largest, by the same.
    ax : Axes, optional
        Where to draw. Default: a new figure.
    **kwargs
        For ArviZ's function.

    Returns
    -------
    PlotCollection
        As ArviZ's function returns it.

    Raises
    ------
    ValueError
        As `predictive`, or if ``ax`` has several Axes.
    """
    one_of("statistic", statistic, STATISTICS)
    axes = None if ax is None else panels(ax, [statistic], (0, 0))
    az, tree = arviz(), _groups(draws, data, name, (statistic,))
    variable = f"{next(iter(tree['observed_data'].data_vars))}_{statistic}"
    seen = tree["observed_data"][variable]
    if axes is not None:
        kwargs = {"plot_collection": into(axes[statistic], tree["posterior_predictive"].dataset[variable], {})} | kwargs
    if statistic == "sum":
        counts = seen.dtype.kind in "iu"
        if not counts:
            kwargs = {"num_samples": min(50, tree["posterior_predictive"].sizes["draw"])} | kwargs
        plot = (az.plot_ppc_rootogram if counts else az.plot_ppc_dist)(tree, var_names=variable, **kwargs)
        return _labelled(plot, axes is None, variable, "sum over units", "rows" if counts else "density")
    [dim] = map(str, seen.dims)
    order = np.argsort(seen.to_numpy(), kind="stable") if statistic == "correlation" else np.arange(len(seen))
    labels = np.asarray(tree["observed_data"][dim] if dim in tree["observed_data"].coords else order)[order]
    narrow = {
        group: x.to_dataset()[[variable]].isel({dim: order}).drop_vars(dim, errors="ignore")
        for group, x in tree.items()
    }
    if not {"plot_collection", "figure_kwargs"} & set(kwargs):
        kwargs["figure_kwargs"] = {"figsize": (min(max(0.3 * len(order) + 1.5, 5), 12), 3.4)}
    plot = az.plot_ppc_interval(xr.DataTree.from_dict(narrow), var_names=variable, **kwargs)
    return _labelled(plot, axes is None, variable, "" if statistic == "mean" else "pairs of units", statistic, labels)


def _groups(draws: xr.DataTree, data: Any, name: str | None, wanted: tuple[str, ...]) -> xr.DataTree:
    """Return the groups of `predictive` with the statistics that are wanted."""
    check_tree(draws, DRAWS)
    groups = [group for group in ("posterior_predictive", "posterior") if group in draws]
    if not groups:
        have = sorted(draws.children)
        raise ValueError(f"There is neither posterior_predictive nor posterior among the groups {have}: pass {DRAWS}.")
    group = draws[groups[0]].to_dataset()
    states = states_variable(group, name if name is not None or groups[0] == "posterior" else _only_states(group))
    if states.dims[:2] != ("chain", "draw") or states.ndim not in (3, 4):
        raise ValueError(
            f"{states.name} must have dims (chain, draw, unit) or (chain, draw, row, unit), got {states.dims}. Pass "
            f"name=, a variable of states, of {DRAWS}."
        )
    rows = data_like(data, states)
    if np.ma.is_masked(rows.values):
        raise ValueError(
            f"data has missing entries ({int(np.ma.getmaskarray(rows.values).sum())} of {rows.values.size}), and draws "
            "have none: leave out rows with missing entries, or complete them by pymc_rbm.inpaint."
        )
    seen = np.ma.getdata(rows.values)
    found = _dealt(states, len(seen)) if states.ndim == 3 else states
    if found.sizes[found.dims[2]] != len(seen):
        raise ValueError(
            f"data has {len(seen)} rows and each draw of {states.name} {found.sizes[found.dims[2]]}. Pass the "
            "data that the model has observed."
        )
    observed = xr.DataArray(
        seen, dims=found.dims[2:], coords={k: v for k, v in found.coords.items() if _inside(v, found)}
    )
    both = {"posterior_predictive": found, "observed_data": observed}
    return xr.DataTree.from_dict({key: _statistics(x.rename(states.name), wanted) for key, x in both.items()})


def _labelled(plot: Any, own: bool, variable: str, xlabel: str, ylabel: str, names: Any = None) -> Any:
    """Return ArviZ's plot with what its axes and colours mean; ``own`` says whether the figure is one of its own."""
    if plot.backend != "matplotlib":
        return plot
    for ax in np.ravel(plot.viz["plot"][variable].values):
        if own and ax.get_figure().get_layout_engine() is None:
            ax.get_figure().set_layout_engine("constrained")
        ax.set(title=f"{variable}: data black, draws blue", xlabel=xlabel, ylabel=ylabel)
        if names is not None and len(names) <= MOST_NAMES:
            ax.set_xticks(range(len(names)), list(map(str, names)), rotation=90, fontsize=8)
    return plot


def _only_states(group: xr.Dataset) -> str | None:
    """Return the only variable of integers of a posterior predictive group."""
    names = [str(n) for n, x in group.data_vars.items() if x.dtype.kind in "iu" and x.ndim == 4]
    return names[0] if len(names) == 1 else None


def _inside(coord: xr.DataArray, found: xr.DataArray) -> bool:
    return set(coord.dims) <= set(found.dims[2:])


def _dealt(states: xr.DataArray, rows: int) -> xr.DataArray:
    """Return draws dealt to data sets of ``rows`` rows, dims (chain, draw, row, unit), with one chain."""
    chains, draws, units = states.shape
    sets = chains * draws // rows
    if not sets:
        raise ValueError(
            f"data has {rows} rows, and there are {chains * draws} draws ({chains} chains of {draws}): draw at "
            "least as many as the data have rows, for intervals a few dozen times as many, or pass fewer rows."
        )
    # Draw by draw and chain by chain; each data set takes every sets-th of them.
    in_order = states.values.transpose(1, 0, 2).reshape(-1, units)[: sets * rows]
    dealt = in_order.reshape(rows, sets, units).transpose(1, 0, 2)[None]
    unit = states.dims[-1]
    coords = {unit: states[unit]} if unit in states.coords else {}
    return xr.DataArray(dealt, dims=("chain", "draw", f"{states.name}_row", unit), coords=coords)


def _statistics(x: xr.DataArray, wanted: tuple[str, ...]) -> xr.Dataset:
    """Return states with the statistics that are wanted."""
    row, unit = map(str, x.dims[-2:])
    name, found = str(x.name), xr.Dataset({str(x.name): x})
    if "sum" in wanted:
        found[f"{name}_sum"] = x.sum(unit, dtype="int64" if x.dtype.kind in "biu" else None)
    if "mean" in wanted:
        found[f"{name}_mean"] = x.mean(row)
    if "correlation" not in wanted:
        return found
    labels = names_along(x, -1)
    labels = np.arange(x.shape[-1]) if labels is None else labels
    first, second = np.triu_indices(len(labels), 1)
    values = x.values.reshape(-1, *x.shape[-2:])
    of_pairs = np.array([np.nan_to_num(correlations(v))[first, second] for v in values])
    found[f"{name}_correlation"] = (*x.dims[:-2], f"{name}_pair"), of_pairs.reshape(*x.shape[:-2], len(first))
    pairs = [f"{labels[i]} - {labels[j]}" for i, j in zip(first, second, strict=True)]
    return found.assign_coords({f"{name}_pair": pairs})
