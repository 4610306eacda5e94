"""Draw figures of machines, of learning and of draws, for images and for other data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import machine_behind, name_of_run, watch_draws
from pymc_rbm.machine.given import values_of
from pymc_rbm.machine.records import in_order
from pymc_rbm.machine.spellings import renamed
from pymc_rbm.machine.validation import visible_rows
from pymc_rbm.sampling.observables import leading_directions
from pymc_rbm.support.arguments import listed, shown, whole_number
from pymc_rbm.support.interrupts import arviz
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.received import receive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_fantasies", "plot_filters", "plot_learning", "plot_mixing", "plot_projections"]


@renamed(var_name="name")
def plot_filters(learned: Any, name: str = "W", *, shape: tuple[int, int] | None = None, most: int = 100) -> Figure:
    """Show each hidden unit's weights as a picture.

    Parameters
    ----------
    learned : DataTree or dict
        What `fit` returned, or values by name, as ``pm.find_MAP`` returns them.
    name : str, default "W"
        The weights, dims (visible, hidden), among its ``parameters``.
    shape : tuple, optional
        Height and width of a picture. Default: a square where the number of visible units is one, else one row.
    most : int, default 100
        Show at most this many units, those with the largest weights first.

    Returns
    -------
    Figure
        Red is positive, blue negative; one colour scale for all.
    """
    values = values_of(learned)
    if name not in values:
        raise ValueError(f"There is no {name!r} among the parameters: pass name=, one of {sorted(map(str, values))}.")
    W, shape = _numbers(name, values[name]), _checked_shape(shape)
    if W.ndim != 2 or not W.size:
        raise ValueError(f"{name} must have the axes (visible, hidden), got shape {W.shape}. Name weights with name=.")
    order = np.argsort(-np.linalg.norm(W, axis=0))[: whole_number("most", most)]
    limit = np.abs(W).max()
    figure, axes = _grid(len(order))
    for ax, unit in zip(axes, order, strict=False):
        image = ax.imshow(_picture(W[:, unit], shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=axes, shrink=0.6, label="weight")
    figure.suptitle(f"{name}: weights of {len(order)} hidden units, largest first")
    return figure


@renamed(var_name="name")
def plot_fantasies(
    fantasies: xr.DataTree,
    data: Any = None,
    name: str | None = None,
    *,
    shape: tuple[int, int] | None = None,
    rows: int = 8,
    columns: int = 10,
) -> Figure:
    """Show draws from a machine beside data.

    Parameters
    ----------
    fantasies : DataTree
        From ``pm.sample`` of a `generative` model. Pictures are spread evenly over each chain; a row is one chain
        (several rows a chain where there are fewer chains than rows).
    data : array_like, optional
        Rows to show beside the draws, evenly spread over the array.
    name : str, optional
        The RBM variable. Default: the only integer one.
    shape : tuple, optional
        Height and width of a picture. Default: ``data.attrs["shape"]``, else a square, else one row.
    rows : int, default 8
        At most this many, the same number for each chain.
    columns : int, default 10

    Returns
    -------
    Figure
    """
    import matplotlib.pyplot as plt

    _check_group(fantasies, "posterior", "draws of pm.sample or pymc_rbm.sample_gibbs")
    posterior = fantasies["posterior"]
    if name is None:
        names = [n for n, x in posterior.data_vars.items() if x.dtype.kind in "iu" and x.ndim == 3]
        if len(names) != 1:
            raise ValueError(
                f"Pass name=, the variable of states to show: one of {names or list(posterior.data_vars)}."
            )
        name = str(names[0])
    if name not in posterior:
        raise ValueError(f"There is no variable {name!r}: name must be one of {list(posterior.data_vars)}.")
    draws, shape = np.asarray(posterior[name]), _checked_shape(shape)
    rows, columns = whole_number("rows", rows), whole_number("columns", columns)
    if shape is None:
        known = getattr(data, "attrs", {}).get("shape")
        shape = known if known is not None and np.prod(known) == draws.shape[-1] else None
    per_chain = max(1, rows // len(draws))
    chosen = np.linspace(0, draws.shape[1] - 1, per_chain * columns).astype(int)
    pictures = draws[: max(1, min(rows, len(draws))), chosen].reshape(-1, draws.shape[-1])
    rows = len(pictures) // columns
    panels = [(f"{name}: draws, chain by chain", pictures)]
    if data is not None:
        data = _numbers("data", data)
        if data.ndim != 2 or not len(data) or data.shape[1] != draws.shape[-1]:
            raise ValueError(f"data must be rows of {draws.shape[-1]} units, as draws are, got shape {data.shape}.")
        panels.insert(0, ("data", data[np.linspace(0, len(data) - 1, rows * columns).astype(int)]))
    figure = plt.figure(figsize=(5 * len(panels), 0.55 * rows + 0.8), layout="constrained")
    for part, (title, pictures) in zip(
        figure.subfigures(1, len(panels), squeeze=False, wspace=0.08).flat, panels, strict=True
    ):
        part.suptitle(title)
        for ax, picture in zip(part.subplots(rows, columns).flat, pictures, strict=True):
            ax.imshow(_picture(picture, shape), cmap="gray_r", vmin=0, vmax=1)
            ax.set_axis_off()
    return figure


def plot_mixing(idata: xr.DataTree, var_names: Any = None, *, group: str = "posterior") -> Figure:
    """Show trace and autocorrelation of the free energy, chain by chain (ArviZ's own plots).

    Parameters
    ----------
    idata : DataTree
        Draws from a `generative` model, or with ``group="particles"`` what `fit` returned.
    var_names : str or list, optional
        Default: every variable whose name ends in ``free_energy``.
    group : str, default "posterior"

    Returns
    -------
    Figure
    """
    _check_group(idata, group, "draws of pm.sample or pymc_rbm.sample_gibbs, or group='particles' of what fit returned")
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
    plots = az.combine_plots(
        idata,
        plots=[(az.plot_trace, {}), (az.plot_autocorr, {})],
        var_names=names,
        group=group,
        backend="matplotlib",
    )
    figure = plots.viz["figure"].item()
    figure.set_layout_engine("constrained")
    figure.set_size_inches(11, 2.8 * (len(figure.axes) // 2))
    for i, ax in enumerate(figure.axes):
        ax.set_xlabel(("draw", "lag (draws)")[i % 2])
        ax.set_ylabel(("free energy (nats)", "autocorrelation")[i % 2])
    return figure


def plot_learning(learned: xr.DataTree) -> Figure:
    """Show pseudo log-likelihoods by epoch, and free energies and sweeps by iteration, as learning recorded them.

    Neither of the first two is a likelihood. If the free energy of the particles leaves that of the data, the particles
    are no longer where the data are. With tempering the third panel shows the swap rates of neighbouring temperatures
    instead of the sweeps: a rate near zero is a gap that no replica crosses.
    """
    import matplotlib.pyplot as plt

    _check_group(learned, "learning", "what pymc_rbm.fit returned")
    history = learned["learning"].dataset
    names = [
        str(n).removesuffix("_pseudo_log_likelihood") for n in history if str(n).endswith("_pseudo_log_likelihood")
    ]
    figure, axes = plt.subplots(len(names), 3, figsize=(13, 3.2 * len(names)), squeeze=False, layout="constrained")
    for (left, right, last), name in zip(axes, names, strict=True):
        left.plot(history["epoch"], history[f"{name}_pseudo_log_likelihood"])  # there may be no epochs
        left.set(xlabel="epoch", ylabel="pseudo log-likelihood per row (nats)", title=name)
        for phase in ("data", "particles"):
            xr.plot.line(history[f"{name}_free_energy_{phase}"], ax=right, label=phase, linewidth=0.8)
        right.set(ylabel="mean free energy (nats)", title=name)
        right.legend()
        swaps = history.get(f"{name}_swap_rate")
        last.plot(history["iteration"], history["sweeps"] if swaps is None else swaps, linewidth=0.8)
        label = "sweeps per iteration" if swaps is None else "swap rate of neighbours"
        last.set(xlabel="iteration", ylabel=label, title=name, ylim=(0, None))
    return figure


def plot_projections(
    idata: xr.DataTree,
    target: Any = None,
    learned: xr.DataTree | None = None,
    *,
    name: str | None = None,
    data: Any = None,
    panels: int = 6,
    points: int = 500,
) -> Figure:
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

    Returns
    -------
    Figure
    """
    _check_tree(idata, "draws of pm.sample or pymc_rbm.sample_gibbs, or what pymc_rbm.fit returned")
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
    return _panels(projected, rows, f"{name}: {what} on the leading singular directions of W", what)


def _check_group(tree: Any, group: str, needed: str) -> None:
    _check_tree(tree, needed)
    if not isinstance(group, str) or group not in tree.children:
        raise ValueError(f"There is no group {group!r} among {sorted(tree.children)}: pass {needed}.")


def _check_tree(tree: Any, needed: str) -> None:
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"Expected a DataTree, {needed}, got {type(tree).__name__}: pass that.")


def _numbers(name: str, given: Any) -> np.ndarray:
    values = receive(given, name).values
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, got {shown(given)} of {values.dtype}.")
    return values


def _checked_shape(shape: Any) -> tuple[int, int] | None:
    if shape is None:
        return None
    sides = listed("shape", shape, "two whole numbers, the height and the width of a picture")
    if len(sides) != 2:
        raise ValueError(f"shape must be two whole numbers, the height and the width of a picture, got {shown(shape)}.")
    height, width = (whole_number("each side of shape", n) for n in sides)
    return height, width


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


def _panels(projected: dict[str, np.ndarray], data: np.ndarray | None, title: str, what: str) -> Figure:
    """Draw one panel for each set of projections, over the data, all with the same axes."""
    import matplotlib.pyplot as plt

    columns = int(np.ceil(np.sqrt(len(projected))))
    lines = -(-len(projected) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(max(6, 3 * columns + 0.4), 2.8 * lines + 0.8), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    everything = [*projected.values(), *([] if data is None else [data])]
    low, high = np.min([x.min(0) for x in everything], axis=0), np.max([x.max(0) for x in everything], axis=0)
    for ax, (label, x) in zip(axes.flat, projected.items(), strict=False):
        ax.set_title(label)
        (_scatter if x.shape[1] == 2 else _histogram)(ax, x, data, what, (low[0], high[0]))
    for ax in axes.flat[len(projected) :]:
        ax.set_axis_off()
    figure.supxlabel("direction 1")
    figure.supylabel("direction 2" if low.size == 2 else "density")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), frameon=False)
    figure.suptitle(title)
    return figure


def _scatter(ax: Axes, x: np.ndarray, data: np.ndarray | None, what: str, limits: tuple[float, float]) -> None:
    if data is not None:
        ax.scatter(data[:, 0], data[:, 1], s=9, color="0.78", linewidths=0, label="data")
    ax.scatter(x[:, 0], x[:, 1], s=12, color="C0", alpha=0.7, linewidths=0, label=what)


def _histogram(ax: Axes, x: np.ndarray, data: np.ndarray | None, what: str, limits: tuple[float, float]) -> None:
    bins = [float(x) for x in np.linspace(*limits, 22)]
    if data is not None:
        ax.hist(data[:, 0], bins, density=True, color="0.75", label="data")
    ax.hist(x[:, 0], bins, density=True, histtype="step", color="C0", linewidth=1.5, label=what)


def _grid(n: int) -> tuple[Figure, list]:
    import matplotlib.pyplot as plt

    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(0.75 * columns + 1.2, 0.75 * rows + 0.6), squeeze=False, layout="constrained"
    )
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, list(axes.flat)


def _picture(x: np.ndarray, shape: tuple[int, int] | None) -> np.ndarray:
    side = round(x.size**0.5)
    if shape is not None and np.prod(shape) != x.size:
        raise ValueError(f"shape {shape} does not fit {x.size} visible units: height times width must be {x.size}.")
    return x.reshape(shape or ((side, side) if side**2 == x.size else (1, x.size)))
