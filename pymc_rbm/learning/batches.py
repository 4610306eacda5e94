"""The rows of an epoch, in random order and in parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_rbm.support.generators import generator_at

__all__ = ["Batches", "Within"]


@dataclass(frozen=True)
class Within:
    """Where in an epoch learning is: the generator's state before it gave the order of rows, and the parts done."""

    began: Any
    iterations: int

    def generator(self) -> np.random.Generator:
        """One that gives the same order."""
        return generator_at(self.began)


class Batches:
    """Random parts of the rows of some data sets, as many of each; sets with equally many rows stay paired.

    Sizes of parts differ by at most one, the larger ones first. A set with fewer rows than parts is gone through as
    often as it takes, so that no part is empty.

    Parameters
    ----------
    counts : list of int
        Rows of each set.
    parts : int
    rng : Generator
        ``began`` is its state before it gave the order: a generator of that state gives the same order.
    """

    def __init__(self, counts: list[int], parts: int, rng: np.random.Generator):
        self.began = rng.bit_generator.state
        orders = {n: np.concatenate([rng.permutation(n) for _ in range(-(-parts // n))]) for n in sorted(set(counts))}
        self._orders, self._parts = [orders[n] for n in counts], parts

    def together(self, first: int) -> int:
        """How many parts there are from ``first`` on of one size for each set."""
        larger = (len(order) % self._parts for order in self._orders)
        return min((n if first < n else self._parts) - first for n in larger)

    def rows(self, first: int, n: int) -> list[np.ndarray]:
        """``n`` parts from ``first`` on, which are `together`: an array (part, row) for each set."""
        return [_neighbours(order, self._parts, first, n) for order in self._orders]


def _neighbours(order: np.ndarray, parts: int, first: int, n: int) -> np.ndarray:
    size, larger = divmod(len(order), parts)
    begin = first * size + min(first, larger)
    size += first < larger
    return order[begin : begin + n * size].reshape(n, size)
