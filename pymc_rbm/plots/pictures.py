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


def show(ax: Any, image: np.ndarray, **options: Any) -> Any:
    """Draw an image without axes; gaps have no colour."""
    drawn = ax.imshow(np.ma.masked_invalid(image), interpolation="nearest", **options)
    ax.set_axis_off()
    return drawn
