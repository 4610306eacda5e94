"""An epoch goes through all rows in random order and in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_rbm.support.generators import generator_at

__all__ = ["Batches", "Within"]


@dataclass(frozen=True)
class Within:
    """A place within an epoch: the generator's state before it drew the order of rows, and the batches done."""

    began: Any
    iterations: int

    def generator(self) -> np.random.Generator:
        """Return a generator that draws the same order."""
        return generator_at(self.began)


class Batches:
    """Random batches of rows of several data sets, equally many of each; sets with as many rows stay paired.

    Sizes of batches differ by at most one, the larger ones first. A set with fewer rows than batches is gone through
    as often as it takes, so that no batch is empty.

    Parameters
    ----------
    counts : list of int
        The number of rows of each set.
    parts : int
        The number of batches.
    rng : Generator
        ``began`` is its state before it drew the order: a generator in that state draws the same order.
    """

    def __init__(self, counts: list[int], parts: int, rng: np.random.Generator):
        self.began = rng.bit_generator.state
        orders = {n: np.concatenate([rng.permutation(n) for _ in range(-(-parts // n))]) for n in sorted(set(counts))}
        self._orders, self._parts = [orders[n] for n in counts], parts

    def together(self, first: int) -> int:
        """Return how many batches from ``first`` on have the same size in each set."""
        larger = (len(order) % self._parts for order in self._orders)
        return min((n if first < n else self._parts) - first for n in larger)

    def rows(self, first: int, n: int) -> list[np.ndarray]:
        """Return ``n`` batches from ``first`` on, which are `together`: an array (batch, row) for each set."""
        return [_neighbours(order, self._parts, first, n) for order in self._orders]


def _neighbours(order: np.ndarray, parts: int, first: int, n: int) -> np.ndarray:
    size, larger = divmod(len(order), parts)
    begin = first * size + min(first, larger)
    size += first < larger
    return order[begin : begin + n * size].reshape(n, size)
