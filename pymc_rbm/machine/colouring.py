"""Find classes of units in one layer that are not coupled to each other, so that a sweep can update them at once."""

from __future__ import annotations

import numpy as np

from pymc_rbm.units.unit import Unit

__all__ = ["MOST_CLASSES", "classes_of", "coloured", "own_entries", "unit_numbers"]

MOST_CLASSES = 6
"""With more classes than this, or one for each unit, a loop updates units one by one, instead of many blocks."""

Classes = tuple[tuple[int, ...], ...]


def unit_numbers(unit: Unit, size: int) -> np.ndarray:
    """Return, for each of ``size`` entries, the number of the unit that it belongs to."""
    widths = [family.width for family, n in unit.parts(size) for _ in range(n // family.width)]
    return np.repeat(np.arange(len(widths)), widths)


def own_entries(unit: Unit, size: int) -> np.ndarray:
    """Return the mask of pairs of entries of the same unit: the diagonal, in blocks of the units' widths."""
    number = unit_numbers(unit, size)
    return number[:, None] == number


def classes_of(pattern: np.ndarray, unit: Unit) -> Classes | None:
    """Return classes of entries whose units ``pattern`` does not couple, in sweep order; None if there are too many.

    ``pattern``, shape (size, size), is zero where two entries are not coupled; batch axes are joined.
    """
    size = pattern.shape[-1]
    coupled = (pattern != 0).reshape(-1, size, size).any(0)
    number = unit_numbers(unit, size)
    starts = np.unique(number, return_index=True)[1]
    by_unit = np.add.reduceat(np.add.reduceat(coupled, starts, axis=0), starts, axis=1) > 0
    np.fill_diagonal(by_unit, False)
    colours = coloured(by_unit | by_unit.T)
    n = colours.max(initial=-1) + 1
    if n > min(MOST_CLASSES, len(colours) - 1):
        return None
    return tuple(tuple(np.flatnonzero(colours[number] == k).tolist()) for k in range(n))


def coloured(adjacency: np.ndarray) -> np.ndarray:
    """Colour a graph so that neighbours differ, greedily, always the most constrained vertex next (Brélaz 1979).

    It uses two colours wherever two are enough, and returns a colour, from 0, for each vertex.
    """
    n = len(adjacency)
    colours, degree = np.full(n, -1), adjacency.sum(1)
    taken = np.zeros((n, n + 1), dtype=bool)  # for each vertex the colours of its neighbours
    saturation = np.zeros(n, dtype=int)
    for _ in range(n):
        open_ = np.where(colours < 0, saturation * (n + 1) + degree, -1)
        vertex = int(open_.argmax())
        colours[vertex] = int((~taken[vertex]).argmax())
        neighbours = adjacency[vertex]
        saturation[neighbours] += ~taken[neighbours, colours[vertex]]
        taken[neighbours, colours[vertex]] = True
    return colours
