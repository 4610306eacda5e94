"""Whether learning still rises: the gain in log-likelihood since an earlier look, by the particles of both.

With machines θ₀ and θ₁, particles of each, and the data's rows v,

    gain = mean_v (F_θ₀(v) - F_θ₁(v)) - log Z(θ₁) / Z(θ₀),

where the last term is Bennett's acceptance ratio of the two sets of particles (`partition.bennett`). Particles that lag
behind their machine bias it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pymc_rbm.learning.goal import free_energies_of
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.bennett import log_ratio

__all__ = ["BEYOND_NOISE", "Look", "Settling", "gain"]

BEYOND_NOISE = 2.0
"""A gain of so many standard errors is a rise. Where learning has settled one look in forty is taken for a rise, which
costs as long again. A rise that is missed is smaller than the noise, and the fall of the rate still follows."""

SHARE_OF_ERROR = 0.1
"""Of learning that was asked for, a rise by less than this share of the statistical error is not worth a word."""


@dataclass(frozen=True)
class Look:
    """Machines and the particles that stand for them, by name of RBM."""

    machines: dict[str, Machine]
    particles: dict[str, np.ndarray]


def _look(learner: Learner) -> Look:
    return Look(learner.parameters()[1], {name: x.copy() for name, x in learner.particle_states().items()})


def gain(before: Look, now: Look, rows: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return pairs (gain in log-likelihood a row, its standard error), one an RBM.

    The error is that of the particles, taken as independent; rows are the same on both sides.
    """
    found = []
    for name, old in before.machines.items():
        new = now.machines[name]

        def fall(states: np.ndarray, old: Machine = old, new: Machine = new) -> np.ndarray:
            return free_energies_of(old, states) - free_energies_of(new, states)

        step, error = log_ratio(fall(before.particles[name]), fall(now.particles[name]))
        found.append(np.array([np.average(fall(rows[name]), weights=weights[name]) - step, error]))
    return found


class Settling:
    """How long learning goes on with its full rate: until a quarter of the horizon brings no more than noise.

    Parameters
    ----------
    learner : Learner
    most : int
        The longest horizon, in epochs.
    asked : bool
        Whether the horizon was asked for: then it stays.

    Attributes
    ----------
    gain : ndarray
        The last gain that was found, of the RBM that rose most, and its standard error; NaN before the first.
    """

    def __init__(self, learner: Learner, most: int, asked: bool):
        self._learner, self.most, self.asked = learner, most, asked
        self._before: Look | None = None
        self.gain = np.full(2, np.nan)

    @property
    def rising(self) -> bool:
        """Whether the last look saw a rise."""
        return bool(self.gain[0] > BEYOND_NOISE * self.gain[1])

    @property
    def unfinished(self) -> bool:
        """Whether learning should have gone on."""
        least = SHARE_OF_ERROR * self._learner.statistical_error if self.asked else 0.0
        return bool(self.gain[0] - BEYOND_NOISE * self.gain[1] > least)

    def horizon(self, done: int, horizon: int) -> int:
        """The horizon to go on with after ``done`` epochs: twice as long where learning rises at the half of it."""
        if done == max(1, horizon // 4):
            self._before = _look(self._learner)
        elif done == horizon // 2 and self._before is not None:
            now = _look(self._learner)
            weights = {x.name: x.weights[x.kept] for x in self._learner.observed}
            found = gain(self._before, now, self._learner.some_rows(), weights)
            self.gain = max(found, key=lambda x: x[0] / max(x[1], 1e-300))
            self._before = now
            if self.rising and not self.asked:
                return min(2 * horizon, self.most)
        return horizon
