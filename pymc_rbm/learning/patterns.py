r"""Exact sums see the data as different rows, how much each counts, and what completes rows with missing entries.

With w the weights of the patterns that differ, the data's term of the log-likelihood is

.. math::

    \sum_r w_r \log \sum_{x \text{ completes } r} \exp(-F(x)),

the likelihood of what is known where entries are missing at random (Little & Rubin 2002, section 6.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.units.unit import Unit

__all__ = ["MOST_COMPLETIONS", "Patterns", "completed", "number_of_completions"]

MOST_COMPLETIONS = 2**16
MOST_MEMBERS = 2**20
"""The most entries of a table of completions, which has a column for each completion of the row with the most."""


@dataclass(frozen=True)
class Patterns:
    """The different rows of some data, with their weights and completions.

    Attributes
    ----------
    states : ndarray, shape (states, visible)
        Whole rows that differ.
    weights : ndarray, shape (patterns,)
    members : ndarray of int, shape (patterns, most), optional
        Which states complete each pattern, -1 where there are fewer; by default each is its own.
    """

    states: np.ndarray
    weights: np.ndarray
    members: np.ndarray | None = None

    @classmethod
    def of(cls, unit: Unit, rows: np.ndarray, weights: np.ndarray, missing: np.ndarray | None) -> Patterns | None:
        """Return the patterns of some rows; None where the rows with ``missing`` entries have too many completions."""
        if missing is None:
            return cls(*_different(rows, weights)) if unit.finite else cls(rows, weights)
        if number_of_completions(unit, missing) > MOST_COMPLETIONS:
            return None
        both, weights = _different(np.hstack([np.where(missing, 0, rows), missing]), weights)
        rows, missing = both[:, : rows.shape[1]], both[:, rows.shape[1] :].astype(bool)
        each = [completed(unit, row, where) for row, where in zip(rows, missing, strict=True)]
        sizes = np.array([len(x) for x in each])
        if len(each) * sizes.max() > MOST_MEMBERS:
            return None
        states, where = np.unique(np.concatenate(each), axis=0, return_inverse=True)
        members = np.full((len(each), sizes.max()), -1)
        members[np.arange(sizes.max()) < sizes[:, None]] = where.ravel()
        return cls(states.astype(unit.dtype), weights, members)

    def free_energies(self, machine: Machine, states: Any) -> TensorVariable:
        """Return minus the log sum of each pattern, with ``states`` as a variable."""
        each = machine.free_energy(states, VISIBLE)
        if self.members is None:
            return each
        return -pt.logsumexp(pt.switch(self.members >= 0, -each[self.members], -np.inf), axis=1)


def _different(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, where = np.unique(rows, axis=0, return_inverse=True)
    return found, np.bincount(where.ravel(), weights, len(found))


def number_of_completions(unit: Unit, missing: np.ndarray) -> float:
    """Return how many whole rows complete rows whose ``missing`` entries are True; infinity for real units."""
    if not unit.finite:
        return np.inf
    logs, start = np.zeros(len(missing)), 0
    for family, n in unit.parts(missing.shape[1]):
        logs += np.log(len(family.states or ())) * missing[:, start : start + n].sum(1) / family.width
        start += n
    return float(np.exp(np.minimum(logs, 700)).sum())


def completed(unit: Unit, row: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return all completions of a row."""
    found, start = row[None].astype("float64"), 0
    for family, n in unit.parts(len(row)):
        states = np.reshape(np.array(family.states, "float64"), (-1, family.width))
        for i in range(start, start + n, family.width):
            if missing[i]:
                before = np.repeat(found, len(states), axis=0)
                before[:, i : i + family.width] = np.tile(states, (len(found), 1))
                found = before
        start += n
    return found
