"""Callbacks of learning get a status, and may stop learning early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.likelihood.marginals import free_energies
from pymc_rbm.machine.door import data_of
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.partition.log_partition import log_partition
from pymc_rbm.support.arguments import finite_number, whole_number
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.received import receive

__all__ = ["LearningStatus", "StopOnGap", "StopOnLikelihood"]


@dataclass(frozen=True)
class LearningStatus:
    """Status of learning, as a callback of `fit` gets it.

    Attributes
    ----------
    epoch, iteration : int
        Epochs and iterations done, those of ``resume`` included.
    monitors : dict
        The monitors of the last iteration, as in the groups ``learning`` and ``particles`` of the result.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> def stop(status):
    ...     return status.epoch == 2
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 2)), pm.Flat("b", shape=9), pm.Flat("c", shape=2)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="pcd", on_epoch=stop, random_seed=1, progressbar=False)
    >>> learned["learning"].sizes["epoch"]
    2
    """

    epoch: int
    iteration: int
    monitors: dict[str, np.ndarray]
    _learned: Callable[[], xr.DataTree] = field(repr=False)
    _machines: Callable[[bool], dict[str, Machine]] = field(repr=False)
    _rows: Callable[[], dict[str, np.ndarray]] = field(repr=False)
    _labels: Callable[[str], Labels] = field(repr=False, default=Labels)

    def learned(self) -> xr.DataTree:
        """Return what `fit` would return now."""
        return self._learned()

    def machines(self, averaged: bool = False) -> dict[str, Machine]:
        """Return the machines at the current or averaged parameters, by name; this is cheaper than `learned`."""
        return self._machines(averaged)

    def labels(self, name: str) -> Labels:
        """Return the names that the model has for the units of an RBM variable."""
        return self._labels(name)

    def rows(self) -> dict[str, np.ndarray]:
        """Return the rows learned from, by name of RBM variable; of a large table some, evenly spread."""
        return self._rows()


class _Stop:
    """Base of callbacks that evaluate the held-out rows of the only observed RBM every ``every`` epochs."""

    def __init__(self, held_out: Any, every: int):
        self.every = whole_number("every", every)
        self._held_out = receive(held_out, "held_out")
        values = self._held_out.values
        if np.ma.is_masked(values) or not np.isfinite(values).all():
            raise ValueError(
                "held_out must be whole rows of finite numbers, but contains NaN, infinity or missing entries: "
                "leave such rows out."
            )
        self.rows = np.atleast_2d(np.ma.getdata(values))
        self.epochs: list[int] = []
        self.values: list[float] = []

    def __call__(self, status: LearningStatus) -> bool:
        """Evaluate the held-out rows, and return whether to stop."""
        if status.epoch % self.every:
            return False
        machines = status.machines()
        if len(machines) != 1:
            raise ValueError(
                f"Early stopping needs a model with one observed RBM, got the RBMs {sorted(machines)}. "
                "Write a callback of your own, which gets status.machines()."
            )
        [(name, machine)] = machines.items()
        visible = machine.layers[VISIBLE]
        self.rows = np.ma.getdata(data_of(self._held_out, visible, status.labels(name), "held_out").values)
        self.epochs.append(status.epoch)
        self.values.append(self._measure(status, name, machine))
        return self._enough(status)

    @staticmethod
    def _free_energy(rows: np.ndarray, machine: Machine) -> float:
        return float(np.mean(free_energies(machine.numeric(), rows)))

    def _measure(self, status: LearningStatus, name: str, machine: Machine) -> float:
        raise NotImplementedError

    def _enough(self, status: LearningStatus) -> bool:
        raise NotImplementedError


class StopOnLikelihood(_Stop):
    """Stop when the held-out log-likelihood has not risen for a while: ``fit(on_epoch=StopOnLikelihood(rows))``.

    Parameters
    ----------
    held_out : array_like, shape (rows, visible)
        Rows that are not learned from.
    patience : int, default 5
        Stop when so many evaluations in a row did not exceed the best one.
    every : int, default 10
        Epochs between evaluations.
    temperatures : int, default 1000
        Temperatures of annealed importance sampling, where log Z cannot be enumerated. Its noise is in the values then,
        and its bias makes them a little too high.

    Attributes
    ----------
    epochs, values : list
        Epochs of the evaluations, and mean log-likelihoods in nats a row.
    best : DataTree
        What `fit` would have returned at the best evaluation.

    Notes
    -----
    A maximum chosen on the held-out rows is too high for new rows: report the likelihood of a third set.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> lines = pmr.datasets.bars_and_stripes(3)
    >>> stop = pmr.StopOnLikelihood(lines[10:], patience=2, every=2)
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 2)), pm.Flat("b", shape=9), pm.Flat("c", shape=2)
    ...     v = pmr.RBM("v", W, b, c, observed=lines[:10])
    ...     learned = pmr.fit(6, method="pcd", on_epoch=stop, random_seed=1, progressbar=False)
    >>> stop.epochs, len(stop.values)
    ([2, 4, 6], 3)
    """

    def __init__(self, held_out: Any, patience: int = 5, every: int = 10, temperatures: int = 1000):
        super().__init__(held_out, every)
        self.patience = whole_number("patience", patience)
        self.temperatures = whole_number("temperatures", temperatures, 2)
        self.best: xr.DataTree | None = None

    def _measure(self, status: LearningStatus, name: str, machine: Machine) -> float:
        shrunk = (self.rows.sum(0) + machine.layers[VISIBLE].unit.middle) / (len(self.rows) + 1)
        log_z = log_partition(
            machine, base_mean=shrunk, temperatures=self.temperatures, random_seed=0, progressbar=False
        ).estimate
        return -self._free_energy(self.rows, machine) - log_z

    def _enough(self, status: LearningStatus) -> bool:
        best = int(np.argmax(self.values))
        if best == len(self.values) - 1:
            self.best = status.learned()
        return len(self.values) - 1 - best >= self.patience


class StopOnGap(_Stop):
    """Stop on overfitting: when held-out rows get less likely than rows learned from (Hinton 2012, section 6).

    log Z cancels in the difference of mean free energies, held-out rows minus rows learned from, so no estimate of it
    is needed: ``fit(on_epoch=StopOnGap(rows))``.

    Parameters
    ----------
    held_out : array_like, shape (rows, visible)
    largest : float, default 1.0
        Stop when the gap exceeds so many nats a row.
    every : int, default 10
        Epochs between evaluations.

    Attributes
    ----------
    epochs, values : list
        Epochs of the evaluations, and the gaps.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> lines = pmr.datasets.bars_and_stripes(3)
    >>> stop = pmr.StopOnGap(lines[10:], largest=2.0, every=2)
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 2)), pm.Flat("b", shape=9), pm.Flat("c", shape=2)
    ...     v = pmr.RBM("v", W, b, c, observed=lines[:10])
    ...     learned = pmr.fit(6, method="pcd", on_epoch=stop, random_seed=1, progressbar=False)
    >>> stop.epochs
    [2, 4, 6]
    """

    def __init__(self, held_out: Any, largest: float = 1.0, every: int = 10):
        super().__init__(held_out, every)
        self.largest = finite_number("largest", largest)

    def _measure(self, status: LearningStatus, name: str, machine: Machine) -> float:
        return self._free_energy(self.rows, machine) - self._free_energy(status.rows()[name], machine)

    def _enough(self, status: LearningStatus) -> bool:
        return self.values[-1] > self.largest
