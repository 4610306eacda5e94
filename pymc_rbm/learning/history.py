"""The history of learning has monitors by iteration and by epoch, and snapshots of the particles."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.sampling.observables import WITHOUT_DIRECTIONS
from pymc_rbm.support.interrupts import arviz

__all__ = ["AXES", "History"]

PSEUDO = "_pseudo_log_likelihood"
AXES = "chain", "draw", "iteration", "epoch", "snapshot"
WINDOW = 500
SECONDS_BETWEEN_DIAGNOSTICS = 1.0
SNAPSHOTS = 8


class History:
    """Record of monitors by iteration and by epoch, and of snapshots of the particles, that grows with learning."""

    def __init__(self, names: list[str], persistent: bool = True):
        self.names, self.persistent = names, persistent
        self._iterations: list[dict[str, np.ndarray]] = []  # each dict has some iterations, along the first axis
        self._length = 0
        self._epochs: list[dict[str, float]] = []
        self._snapshots: list[tuple[int, dict[str, np.ndarray]]] = []
        self._shown, self._shown_at = {"rhat": np.nan, "ess": np.nan}, time.perf_counter()

    def add(self, monitors: dict[str, np.ndarray]) -> None:
        """Add some iterations, as `Learner.update` returns them."""
        self._iterations.append(monitors)
        self._length += len(next(iter(monitors.values())))

    def add_epoch(self, pseudo: list[float], exact: list[float] | None = None) -> None:
        """Add the pseudo log-likelihoods of an epoch, one a machine.

        Where the exact objective is climbed, ``exact`` has it and the exact log-likelihood of each machine.
        """
        row = dict(zip((f"{name}{PSEUDO}" for name in self.names), pseudo, strict=True))
        if exact is not None:
            row |= dict(zip(["objective", *(f"{name}_log_likelihood" for name in self.names)], exact, strict=True))
        self._epochs.append(row)

    def add_snapshot(self, epoch: int, horizon: int, states: dict[str, np.ndarray]) -> None:
        """Keep the particles' states if an eighth of the horizon has passed since the last ones."""
        if epoch * SNAPSHOTS // horizon > (self._snapshots[-1][0] if self._snapshots else 0) * SNAPSHOTS // horizon:
            self._snapshots.append((epoch, states))

    def __len__(self) -> int:
        return self._length

    def lengths(self) -> tuple[int, int, int]:
        """Return how many iterations, epochs and snapshots there are."""
        return len(self), len(self._epochs), len(self._snapshots)

    def cut(self, iterations: int, epochs: int, snapshots: int) -> None:
        """Forget everything after the iterations, epochs and snapshots whose numbers `lengths` returned earlier."""
        kept, self._iterations, self._length = self._iterations, [], 0
        for some in kept:
            left = {key: x[: iterations - len(self)] for key, x in some.items()}
            if len(self) < iterations:
                self.add(left)
        del self._epochs[epochs:], self._snapshots[snapshots:]

    def series(self, key: str, last: int | None = None) -> np.ndarray:
        """Return a monitor of the last iterations (all by default), along the first axis."""
        wanted, found = len(self) if last is None else last, 0
        parts = []
        for some in reversed(self._iterations):
            if found >= wanted:
                break
            parts.append(some[key])
            found += len(some[key])
        return np.concatenate(parts[::-1])[-wanted:]

    @property
    def last(self) -> dict[str, np.ndarray]:
        """The monitors of the last iteration."""
        return {key: x[-1] for key, x in self._iterations[-1].items()}

    @property
    def last_gap(self) -> float:
        """The free-energy gap of the last iteration, particles minus data, summed over machines."""
        row = self.last
        return float(sum(row[f"{name}_free_energy"].mean() - row[f"{name}_free_energy_data"] for name in self.names))

    def monitors(self, with_diagnostics: bool) -> dict[str, float]:
        """Return what the progress bar shows; R-hat and ESS, which cost time, are renewed at most once a second."""
        now = time.perf_counter()
        if with_diagnostics and now - self._shown_at > SECONDS_BETWEEN_DIAGNOSTICS and len(self) > 20:
            az = arviz()

            key = f"{self.names[0]}_free_energy"
            if self.persistent and self.last[key].size > 1:
                chains = self.series(key, WINDOW).T
                axes = {"chain_axis": 0, "draw_axis": 1}
                self._shown = {"rhat": float(az.rhat(chains, **axes)), "ess": float(az.ess(chains, **axes))}
            self._shown_at = now
        swaps = [self.last[key].min() for key in self.last if key.endswith("_swap_rate")]
        return {
            "pseudo_log_likelihood": sum(x for key, x in self._epochs[-1].items() if key.endswith(PSEUDO)),
            "free_energy_gap": self.last_gap,
            **self._shown,
            "sweeps": int(self.last["sweeps"]),
            "swap_rate": float(min(swaps, default=np.nan)),
        }

    def particles(self) -> dict[str, np.ndarray]:
        """Return functionals of the persistent chains, shape (chain, draw)."""
        return {f"{name}_{x}": self.series(f"{name}_{x}").T for name in self.names for x in self.functionals(name)}

    def functionals(self, name: str) -> list[str]:
        """Return the names of the functionals that are recorded of a machine's particles."""
        return [x for x in WITHOUT_DIRECTIONS if f"{name}_{x}" in self.last]

    def snapshots(self) -> xr.Dataset | None:
        """Return states of the particles at some epochs, dims (snapshot, chain, unit), or None."""
        if not self._snapshots:
            return None
        epochs = [epoch for epoch, _ in self._snapshots]
        states = {
            name: (("snapshot", "chain", f"{name}_unit"), np.array([x[name] for _, x in self._snapshots]))
            for name in self.names
        }
        return xr.Dataset(states, coords={"epoch": ("snapshot", epochs)})

    def learning(self) -> xr.Dataset:
        """Return the monitors by iteration and by epoch as a Dataset."""
        out: dict[str, Any] = {}
        of_particles = {f"{name}_{x}" for name in self.names for x in WITHOUT_DIRECTIONS}
        for key in self._iterations[0]:
            if key in of_particles:
                if key.endswith("_free_energy"):
                    means = np.concatenate([some[key].mean(1) for some in self._iterations])
                    out[f"{key}_particles"] = ("iteration", means)
            else:
                values = self.series(key)
                out[key] = (("iteration", *(f"{key}_dim_{i}" for i in range(values.ndim - 1))), values)
        for key in self._epochs[0] if self._epochs else [f"{x}{PSEUDO}" for x in self.names]:
            out[key] = ("epoch", np.array([row[key] for row in self._epochs]))
        lengths = {"iteration": len(self), "epoch": len(self._epochs)}
        return xr.Dataset(out, coords={name: np.arange(n) for name, n in lengths.items()})

    @classmethod
    def of(cls, learned: xr.DataTree, names: list[str]) -> History:
        """Return the history in ``learned``, to be continued."""
        history = cls(names)
        columns = {str(key): x for key, x in learned["learning"].to_dataset().items()}
        if "particles" in learned:
            chains = learned["particles"].to_dataset()
            columns |= {str(key): x.transpose("draw", "chain") for key, x in chains.items()}
        else:  # the file has only the mean over particles
            for name in names:
                mean = columns[f"{name}_free_energy_particles"].expand_dims({"chain": 1}, axis=1)
                columns |= {f"{name}_{x}": mean for x in WITHOUT_DIRECTIONS}
        by_epoch = {key: x.values for key, x in columns.items() if "epoch" in x.dims}
        by_iteration = {
            key: np.ascontiguousarray(x.values)  # means are summed in the order of memory, which must not change
            for key, x in columns.items()
            if "epoch" not in x.dims and not key.endswith("_free_energy_particles")
        }
        history.add(by_iteration)
        history._epochs = [dict(zip(by_epoch, row, strict=True)) for row in zip(*by_epoch.values(), strict=True)]
        if "particle_history" in learned:
            kept = learned["particle_history"].to_dataset()
            history._snapshots = [
                (int(epoch), {name: kept[name].values[i] for name in names}) for i, epoch in enumerate(kept["epoch"])
            ]
        return history
