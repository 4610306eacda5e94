"""Many small pictures are one image, with gaps between them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["mosaic", "show"]

GAP = 1
"""Pixels between two pictures."""


def mosaic(pictures: np.ndarray, shape: tuple[int, int] | None, columns: int) -> np.ndarray:
    """Return pictures, one a row of ``pictures``, side by side in ``columns`` columns, with NaN between them.

    ``shape`` is the height and the width of each; by default a square where one fits, else one line.
    """
    units = pictures.shape[1]
    side = round(units**0.5)
    if shape is not None and np.prod(shape) != units:
        raise ValueError(f"shape {shape} does not fit {units} visible units: height times width must be {units}.")
    height, width = shape or ((side, side) if side**2 == units else (1, units))
    rows = -(-len(pictures) // columns)
    image = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.nan)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        image[top : top + height, left : left + width] = picture.reshape(height, width)
    return image


def show(ax: Any, image: np.ndarray, colours: str, gaps: str, low: float, high: float) -> Any:
    """Draw an image without axes, in a colour map of matplotlib from ``low`` to ``high`` and a colour for the gaps."""
    from matplotlib import colormaps

    shown = np.ma.masked_invalid(image)
    cmap = colormaps[colours].with_extremes(bad=gaps)
    drawn = ax.imshow(shown, interpolation="nearest", cmap=cmap, vmin=low, vmax=high)
    ax.grid(False)
    ax.set_axis_off()
    return drawn
