"""Tables of named items: their order, their correlations, and heat maps with their names."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["alike_together", "correlations", "fitted_names", "heatmap"]

MOST_NAMES = 40
"""More lines than that have no room for names."""
MOST_ORDERED = 500
"""Of more items a second and more would go into the best order of the leaves."""
MOST_NUMBERS = 120
"""More cells than that have no room for numbers."""


def alike_together(x: np.ndarray, correlation: bool = False) -> np.ndarray:
    """Return an order of the rows of ``x`` in which those that are alike stand together.

    It is that of the leaves of SciPy's average-linkage clustering, optimally ordered up to 500 (Bar-Joseph, Gifford &
    Jaakkola 2001), by Euclidean distances, or where ``x`` is a matrix of correlations by 1 - r.
    """
    if len(x) < 3:
        return np.arange(len(x))
    best = len(x) <= MOST_ORDERED
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if correlation:
        distance = np.clip(1 - np.nan_to_num(x), 0, 2)
        np.fill_diagonal(distance, 0)
        x = squareform(distance, checks=False)
    return leaves_list(linkage(x, "average", optimal_ordering=best))


def correlations(rows: np.ndarray) -> np.ndarray:
    """Return the correlations of columns, each by the rows that know both; NaN where a column is constant."""
    x = np.ma.filled(np.ma.asarray(rows).astype("float64"), np.nan)
    if np.isnan(x).any():
        import pandas as pd

        return pd.DataFrame(x).corr(min_periods=2).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant column has none
        return np.atleast_2d(np.corrcoef(x, rowvar=False))


def heatmap(
    ax: Any, values: np.ndarray, lines: Any, columns: Any, limit: float, label: str, numbers: bool = True
) -> None:
    """Draw values as colours, red positive and blue negative, with names of lines and columns where there is room."""
    image = ax.imshow(np.ma.masked_invalid(values), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set_facecolor("0.8")
    fitted_names(ax.yaxis, lines)
    fitted_names(
        ax.xaxis, columns, upright=max(map(len, map(str, columns)), default=0) > (3 if len(columns) > 4 else 10)
    )
    ax.tick_params(length=0)
    ax.grid(False)
    if numbers and values.size <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * limit else "black"
                ax.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=7)
    ax.figure.colorbar(image, ax=ax, label=label, fraction=0.05)


def fitted_names(axis: Any, names: Any, upright: bool = False) -> None:
    """Write names along an axis; none where there are more than fit."""
    names = [str(x) for x in names]
    if len(names) > MOST_NAMES:
        axis.set_ticks([])
        axis.set_label_text(f"{len(names)} items")
        return
    size = 8 if len(names) <= 20 else 6
    axis.set_ticks(range(len(names)), names, fontsize=size, rotation=90 if upright else 0)
