"""Draw figures of an estimate of log Z."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pymc_rbm.support.figures import collection, panels

__all__ = ["plot_estimate"]


def plot_estimate(result: Any, ax: Any = None) -> Any:
    """Draw what a `LogPartitionEstimate` holds: estimates with intervals, log-weights, the path; into ``ax``, if given.

    Returns a PlotCollection with as many panels as there are things to show.
    """
    with_path = next((x for x in (result, *result.parts.values()) if "increment_deviation" in x.diagnostics), None)
    with_weights = next((x for x in (result, *result.parts.values()) if x.log_weights.size), None)
    with_overlap = next((x for x in (result, *result.parts.values()) if "overlap" in x.diagnostics), None)
    shown: dict[str, tuple[Any, Any]] = {"intervals": (_intervals, result)}
    shown |= {"weights": (_weights, with_weights)} if with_weights is not None else {}
    shown |= {"path": (_path, with_path)} if with_path is not None else {}
    shown |= (
        {"barrier": (_barrier, with_overlap), "overlap": (_overlap, with_overlap)} if with_overlap is not None else {}
    )
    axes = panels(ax, list(shown), (4, 3.2))
    for key, (draw, x) in shown.items():
        draw(axes[key], x)
    return collection(axes)


def _intervals(ax: Axes, result: Any) -> None:
    shown = [(result.method, result), *((name, part) for name, part in result.parts.items())]
    for i, (_, x) in enumerate(shown):
        low, high = x.interval
        ax.errorbar(x.estimate, -i, xerr=[[x.estimate - low], [high - x.estimate]], fmt="o", color=f"C{i}", capsize=3)
    ax.set_yticks([-i for i in range(len(shown))], [name for name, _ in shown])
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.locator_params(axis="x", nbins=4)
    ax.set(xlabel="log Z (nats)", ylim=(-len(shown) + 0.5, 0.5), title="95 % intervals")


def _weights(ax: Axes, result: Any) -> None:
    ax.hist(result.log_weights, bins="auto", color="0.7")
    ax.axvline(result.estimate, color="C0", label="estimate")
    ax.set(xlabel="log-weight (nats)", ylabel="particles", title=f"log-weights of {result.method}")
    ax.legend()


def _path(ax: Axes, result: Any) -> None:
    ax.plot(result.betas, np.linspace(0, 1, len(result.betas)), label="share of the sweeps")
    spread = np.cumsum(result.diagnostics["increment_deviation"])
    ax.plot(result.betas[1:], spread / max(spread[-1], 1e-300), label="share of the distance")
    ax.set(xlabel="inverse temperature β", title=f"path of {result.method}")
    ax.legend()


def _barrier(ax: Axes, result: Any) -> None:
    ax.plot(result.betas, np.r_[0, np.cumsum(result.diagnostics["rejection"])], "o-", markersize=3)
    trips = result.diagnostics["round_trips"]
    ax.set(xlabel="inverse temperature β", ylabel="summed rejection", ylim=(0, None))
    ax.set_title("communication barrier")
    ax.text(0.04, 0.96, f"{trips:,.0f} round trips", transform=ax.transAxes, va="top", fontsize="small")


def _overlap(ax: Axes, result: Any) -> None:
    image = ax.imshow(result.diagnostics["overlap"], vmin=0, cmap="Blues")
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set(xlabel="temperature", ylabel="temperature", title="overlap")
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
