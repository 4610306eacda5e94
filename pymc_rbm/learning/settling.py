"""Particles tell whether the log-likelihood still rises, and whether the average is better than the last iterate.

With machines θ₀ and θ₁, particles of each, and the data's rows v,

    gain = mean_v (F_θ₀(v) - F_θ₁(v)) - log Z(θ₁) / Z(θ₀),

where the last term is Bennett's acceptance ratio of the two sets of particles (`partition.bennett`), which particles
that lag behind their machine bias. Where log Z is a sum over few states the average and the end are compared exactly.
(Whether learning rises is not: single iterates wander by more than what matters.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pymc_rbm.learning.goal import exact_log_z, free_energies_of, value_at
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.enumeration import is_tractable
from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.bennett import log_ratio

__all__ = ["Look", "Settling", "gain", "quarters"]

BEYOND_NOISE = 2.0
"""A gain of at least this many standard errors is beyond doubt."""
SHARE_OF_ERROR, MATTERS = 0.1, 0.03
"""A gain below this share of the statistical error, or so many nats a row if that is less, does not matter. What a run
has yet to gain is about what its last quarter gained, or twice that."""
MOST_DRAWS = 100
UPDATES_A_DRAW = 100
"""A look takes one draw for this many updates, so that three looks are at most a few percent of learning."""
ENTRIES = 2**23
"""The most entries of states in a look."""


@dataclass(frozen=True)
class Look:
    """Machines and draws of their particles, shape (…, chains, visible), by name of RBM."""

    machines: dict[str, Machine]
    draws: dict[str, np.ndarray]


def gain(
    before: Look, now: Look, rows: dict[str, np.ndarray], weights: dict[str, np.ndarray], exact: bool = False
) -> list[np.ndarray]:
    """Return pairs (gain in log-likelihood a row, its standard error), one an RBM.

    The error is that of the particles, whose chains are taken as independent; rows are the same on both sides. With
    ``exact`` there is none where log Z is a sum over few states, and draws do not matter.
    """
    found = []
    for name, old in before.machines.items():
        new = now.machines[name]

        def fall(states: np.ndarray, old: Machine = old, new: Machine = new) -> np.ndarray:
            flat = states.reshape(-1, states.shape[-1])
            return (free_energies_of(old, flat) - free_energies_of(new, flat)).reshape(states.shape[:-1])

        log_z = exact_log_z(old) if exact else None
        if log_z is not None:
            step, error = value_at(log_z, new) - value_at(log_z, old), 0.0
        else:
            step, error = log_ratio(fall(before.draws[name]), fall(now.draws[name]))
        found.append(np.array([np.average(fall(rows[name]), weights=weights[name]) - step, error]))
    return found


def quarters(horizon: int) -> tuple[int, int]:
    """Return when the first and the second quarter of a horizon end."""
    return max(1, horizon // 4), max(1, horizon // 2)


class Settling:
    """Decide how long learning keeps its full rate, and whether it returns the average or the last iterate.

    Parameters
    ----------
    learner : Learner
    most : int
        The longest horizon, in epochs.
    asked : bool
        Whether the horizon was asked for: then it stays.
    steady : bool
        Whether the optimiser stands still at rate zero, so that more particles can be drawn for a look.

    Attributes
    ----------
    gain : ndarray
        The last gain that was found, of the RBM that rose most, and its standard error; NaN before the first.
    gain_of_average : ndarray
        That of the average of the iterates over the last one, of all RBMs together.
    """

    def __init__(self, learner: Learner, most: int, asked: bool, steady: bool):
        self._learner, self.most, self.asked, self._steady = learner, most, asked, steady
        self._before: Look | None = None
        self._settled = False
        self.gain = self.gain_of_average = np.full(2, np.nan)

    @property
    def rising(self) -> bool:
        """Whether the last look saw a rise that matters and exceeds its error; a rise that is missed here is lost."""
        return bool(self.gain[0] > max(self.gain[1], self._matters))

    @property
    def unfinished(self) -> bool:
        """Whether the last look saw, beyond doubt, a rise that matters (statistically, if the end was asked for)."""
        least = SHARE_OF_ERROR * self._learner.statistical_error if self.asked else self._matters
        return bool(self.gain[0] - BEYOND_NOISE * self.gain[1] > least)

    @property
    def _matters(self) -> float:
        return min(SHARE_OF_ERROR * self._learner.statistical_error, MATTERS)

    @property
    def seen(self) -> bool:
        """Whether two looks told whether the objective rose."""
        return bool(np.isfinite(self.gain[0]))

    def horizon(self, quarters: int, horizon: int, updates: int, sweeps: int, last: bool = False) -> int:
        """Return the horizon to go on with, which is doubled if learning still rose in the second of its ``quarters``.

        ``updates`` are those done so far, ``sweeps`` those of the last one. The ``last`` look prolongs nothing.
        """
        if self._settled or quarters == 0:
            return horizon
        if self._before is None:
            self._settled = quarters > 1  # the first one was over too soon
            self._before = None if self._settled else self._look(updates, sweeps)
            return horizon
        if quarters == 1:
            return horizon
        now = self._look(updates, sweeps)
        found = self._gains(self._before, now)
        self.gain, self._before = max(found, key=lambda x: x[0] / max(x[1], 1e-300)), now
        longer = horizon if self.asked or last or not self.rising else min(2 * horizon, self.most)
        self._settled = longer <= horizon
        return longer

    def take_the_better(self, updates: int, sweeps: int) -> bool:
        """Leave the learner at the average of the iterates unless the last one is better; return whether it is there.

        Better by two standard errors, which are 0 where log Z is exact: particles that lag behind the last machine
        speak for it, and not for the average. Of short runs, and where draws cannot be had, the last one is kept.
        """
        draws = self._draws(updates)
        if not self._steady or draws < 2:
            return False
        exact = all(is_tractable(machine) for machine in self._learner.parameters(averaged=False)[1].values())
        last, average = (self._look(0 if exact else updates, sweeps, averaged=x) for x in (False, True))
        gains, errors = np.transpose(self._gains(last, average, exact=True))
        self.gain_of_average = np.array([gains.sum(), np.linalg.norm(errors)])
        if not self.gain_of_average[0] >= -BEYOND_NOISE * self.gain_of_average[1]:  # nor where NaN: not normalisable
            return False
        self._learner.go_to_the_average(draws, sweeps)
        return True

    def _draws(self, updates: int) -> int:
        largest = max(x.nbytes for x in self._learner.particle_states().values())
        return int(min(MOST_DRAWS, updates // UPDATES_A_DRAW, ENTRIES // largest))

    def _look(self, updates: int, sweeps: int, averaged: bool = False) -> Look:
        n = self._draws(updates) if self._steady else 0
        draws = self._learner.draws(n, sweeps, averaged) if n else self._learner.particle_states()
        return Look(self._learner.parameters(averaged)[1], draws)

    def _gains(self, before: Look, now: Look, exact: bool = False) -> list[np.ndarray]:
        weights = {x.name: x.weights[x.kept] for x in self._learner.observed}
        return gain(before, now, self._learner.some_rows(), weights, exact)
