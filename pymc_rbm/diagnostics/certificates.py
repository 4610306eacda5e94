"""Chains from other starts, and hidden units, show failures of a learning run that its particles do not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.dead import dead_units, judge_dead
from pymc_rbm.diagnostics.decline import Approach, approach
from pymc_rbm.diagnostics.excursions import Excursions, excursions
from pymc_rbm.diagnostics.failures import OUT_OF_EQUILIBRIUM
from pymc_rbm.diagnostics.modes import judge_modes, judge_weights, machine_weights, modes_of
from pymc_rbm.diagnostics.verdict import FINISHED, Finding
from pymc_rbm.machine.machine import Machine

__all__ = ["Certificates", "Examined"]

MOST_STATES = 2000
"""Hidden units are examined on at most this many rows, and as many draws."""


@dataclass(frozen=True)
class Examined:
    """What is known of a learning run so far.

    Attributes
    ----------
    learned : DataTree
    name : str
    machine : Machine
    particles : ndarray or None, shape (particles, visible)
        The particles that the gradients came from.
    draws : ndarray or None, shape (draws, visible)
        States of chains that went on from particles.
    laddered : bool
        Whether these chains swap along a ladder, which plain chains from elsewhere do not.
    stuck : bool
        Whether chains did not mix, or are not known to. Where they did, from all starts, there are no modes to look at.
    verdict : str
        The verdict on learning.
    matters : float
        The rise of the objective that matters, in nats a row.
    gained : float
        By how much the machine is better than independent units, or NaN.
    """

    learned: xr.DataTree
    name: str
    machine: Machine
    particles: np.ndarray | None
    draws: np.ndarray | None
    laddered: bool
    stuck: bool
    verdict: str
    matters: float
    gained: float

    @property
    def rows(self) -> np.ndarray:
        """The rows of the data that `fit` kept."""
        return np.asarray(self.learned["data"].dataset[f"{self.name}_rows"])

    @property
    def weights(self) -> np.ndarray:
        """The weights of the rows, which sum to one."""
        kept = self.learned["data"].dataset
        weights = np.asarray(kept.get(f"{self.name}_row_weights", np.ones(len(self.rows))), "float64")
        return weights / weights.sum()

    @property
    def independent_rows(self) -> float:
        """The number of independent rows with the same sampling error as the kept ones; infinite where all are kept."""
        of_all = self.learned["objective"].dataset if "objective" in self.learned else {}
        total, kept = float(of_all.get(f"{self.name}_rows", 0.0)), len(self.rows)
        return kept / (1 - kept / total) if kept < total else np.inf


class Certificates:
    """Findings about chains and about learning, and the figures behind them."""

    def __init__(self, run: Examined, rng: np.random.Generator):
        self.run, self._rng = run, rng
        self.chains, self.learning, self.figures = list[Finding](), list[Finding](), dict[str, Any]()
        self._elsewhere: np.ndarray | None = None

    def look_at_units(self) -> None:
        """Count hidden units that do nothing on rows, on draws and, if they were run, on chains from other starts."""
        run = self.run
        states = [x for x in (run.rows, run.draws, self._elsewhere) if x is not None]
        some = np.concatenate([x[self._rng.permutation(len(x))[:MOST_STATES]] for x in states])
        counts = dead_units(run.machine, some, self._rng)
        self.figures |= {key: ((), n) for key, n in counts.items()}
        units = np.shape(run.machine.layers[-1].bias)[-1]
        self.learning += judge_dead(counts, units, run.verdict, learned=not run.gained <= run.matters)

    def look_elsewhere(self, sweeps: int, progressbar: bool) -> None:
        """Run chains from random starts, and from rows of the data, for ``sweeps`` sweeps."""
        run = self.run
        found = excursions(run.machine, run.rows, run.weights, sweeps, self._rng, progressbar)
        self._elsewhere = np.concatenate([found.tail, found.tail_from_data]).reshape(-1, run.rows.shape[1])
        path = approach(found.sweeps, found.looks, run.rows, run.weights)
        if path is not None:
            self._judge(path)
        if run.stuck:
            self._look_at_modes(found)

    def _judge(self, path: Approach) -> None:
        looks = {"approach_sweeps": path.sweeps, "approach": path.distance, "approach_error": path.error}
        self.figures |= {key: ("look", x) for key, x in looks.items()} | {"approach_lost": ((), path.lost)}
        if path.declines and self.run.verdict != FINISHED and not self.run.laddered:
            seen = (
                f"chains from random starts are nearest to the data after about {path.nearest:,} sweeps, and after "
                f"{path.sweeps[-1]:,} sweeps they are further away again, by {path.lost:.0%} of the squared distance "
                "between independent units and the data"
            )
            self.learning.append(OUT_OF_EQUILIBRIUM.finding(self.run.verdict, seen))

    def _look_at_modes(self, found: Excursions) -> None:
        run = self.run
        modes = modes_of(run.machine, found, run.rows, run.weights)
        if modes is None:
            return
        self.chains += judge_modes(modes, run.particles, plain=not run.laddered)
        self.figures |= {"mode_data": ("mode", modes.data), "mode_visited": ("mode", modes.visited)}
        if run.verdict == FINISHED:
            return
        start = run.rows if run.particles is None else run.particles
        weights = machine_weights(run.machine, run.learned, modes, start, self._rng)
        if weights is not None:
            self.figures |= {"mode_machine": ("mode", weights.values), "mode_machine_error": ("mode", weights.errors)}
            self.learning += judge_weights(modes, weights, run.independent_rows, run.matters, run.verdict)
