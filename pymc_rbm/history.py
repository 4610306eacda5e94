"""Monitors of learning, by iteration and by epoch, as they come."""

from __future__ import annotations

import time

import arviz as az
import numpy as np
import xarray as xr

__all__ = ["History"]

RHAT_DRAWS = 500
SECONDS_BETWEEN_RHATS = 1.0


class History:
    """Monitors by iteration and by epoch, as they come."""

    functionals = ("free_energy", "visible_mean", "hidden_mean")

    def __init__(self, names: list[str], persistent: bool = True):
        self.names, self.persistent = names, persistent
        self._iterations: list[list[np.ndarray]] = []
        self._epochs: list[list[float]] = []
        self._rhat, self._rhat_at = np.nan, time.perf_counter()

    def add(self, monitors: list[np.ndarray]) -> None:
        """Add an iteration: the learning rate, then data free energy and three particle functionals a machine."""
        self._iterations.append(monitors)

    def add_epoch(self, pseudo_log_likelihood: list[float]) -> None:
        """Add an epoch's pseudo log-likelihood, one a machine."""
        self._epochs.append(pseudo_log_likelihood)

    def _series(self, position: int, last: int = 0) -> np.ndarray:
        return np.array([row[position] for row in self._iterations[-last:]])

    @property
    def last_gap(self) -> float:
        """Free-energy gap of the last iteration, particles minus data, summed over machines."""
        row = self._iterations[-1]
        return float(sum(row[2 + 4 * i].mean() - row[1 + 4 * i] for i in range(len(self.names))))

    def monitors(self, with_rhat: bool) -> dict[str, float]:
        """What the progress bar shows. R-hat costs time, so it is renewed at most once a second."""
        if with_rhat and time.perf_counter() - self._rhat_at > SECONDS_BETWEEN_RHATS and len(self._iterations) > 20:
            if self.persistent and self._iterations[-1][2].size > 1:
                chains = self._series(2, RHAT_DRAWS).T
                self._rhat = float(az.rhat(chains, chain_axis=0, draw_axis=1))
            self._rhat_at = time.perf_counter()
        return {
            "pseudo_log_likelihood": sum(self._epochs[-1]),
            "free_energy_gap": self.last_gap,
            "rhat": self._rhat,
        }

    def particles(self) -> dict[str, np.ndarray]:
        """Functionals of the persistent chains, shape (chain, draw)."""
        return {
            f"{name}_{functional}": self._series(2 + 4 * i + j).T
            for i, name in enumerate(self.names)
            for j, functional in enumerate(self.functionals)
        }

    def learning(self) -> xr.Dataset:
        """Monitors by iteration and by epoch."""
        out = {"learning_rate": ("iteration", self._series(0))}
        for i, name in enumerate(self.names):
            out[f"{name}_free_energy_data"] = ("iteration", self._series(1 + 4 * i))
            means = np.array([row[2 + 4 * i].mean() for row in self._iterations])
            out[f"{name}_free_energy_particles"] = ("iteration", means)
            out[f"{name}_pseudo_log_likelihood"] = ("epoch", np.array([row[i] for row in self._epochs]))
        lengths = {"iteration": len(self._iterations), "epoch": len(self._epochs)}
        return xr.Dataset(out, coords={name: np.arange(n) for name, n in lengths.items()})

    @classmethod
    def of(cls, learned: xr.DataTree, names: list[str]) -> History:
        """The history that ``learned`` holds, to be continued."""
        history = cls(names)
        monitors = learned["learning"].to_dataset()
        chains = learned["particles"].to_dataset() if "particles" in learned else None
        columns = [np.asarray(monitors["learning_rate"])]
        for name in names:
            columns.append(np.asarray(monitors[f"{name}_free_energy_data"]))
            if chains is None:  # only the mean over particles was kept
                columns += [np.asarray(monitors[f"{name}_free_energy_particles"])] * 3
            else:
                columns += [np.asarray(chains[f"{name}_{functional}"]).T for functional in cls.functionals]
        history._iterations = [list(row) for row in zip(*columns, strict=True)]
        pseudo = [np.asarray(monitors[f"{name}_pseudo_log_likelihood"]) for name in names]
        history._epochs = [list(row) for row in zip(*pseudo, strict=True)]
        return history
