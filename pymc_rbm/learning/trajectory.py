"""A machine that is learned has a ladder: earlier machines are its rungs, and the particles are the chains at its top.

Every `EVERY` updates the particles swap with the chains of the last rung, and some of the lower rungs are swept and
swap, too. Where swaps between the machine and the last rung have become rarer than `sampling.ladder.LEAST`, the machine
of this moment becomes a rung, and rungs that are not needed any more are left out. Where they are rarer than
`sampling.ladder.TORN`, the updates since the last swap tore the machine off its ladder, and are taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.along import along
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.sampling.ladder import LEAST, MOST_RUNGS, TORN, Energies, Ladder, Rung, with_prefix

__all__ = ["EVERY", "LEAST", "Trajectory", "torn"]

EVERY = 5
"""The number of updates between two swaps with the last rung."""
LOWER = 5
"""The number of lower rungs that are swept and swap with those below at such a swap, in turn."""
FEWEST_LIFTS, MOST_LIFTS = 50, 1000
"""The fewest and most lifts through all rungs from which log Z is found."""


class Trajectory:
    """The ladder of one machine while it is learned; its top is where the learner has the machine and the particles.

    Parameters
    ----------
    name : str
        Of the machine's RBM.
    machine : Machine
        Where learning starts, with numbers.
    bottom : Rung
        Which can be drawn from exactly: independent units, or a machine of which few hidden units have weights.
    rng : Generator
    """

    def __init__(self, name: str, machine: Machine, bottom: Rung, rng: np.random.Generator):
        self.name, self.rejected = name, 0
        self._energies: Energies | None = None  # of the top and the last rung, if nothing has moved since
        self.log_z: LogPartitionEstimate | None = None
        self.ladder = Ladder([bottom])
        self.ladder.reach(machine, rng)
        self.add(1.0)

    def overlap(self, machine: Machine, states: np.ndarray, rng: np.random.Generator) -> float:
        """Return how often swaps of the machine, which becomes the top, and the last rung would be accepted."""
        self._at(machine, states)
        self._energies = self.ladder.energies_of_top(rng)
        return float(self._energies.acceptances.mean())

    def _at(self, machine: Machine, states: np.ndarray) -> None:
        self.ladder.top.machine, self.ladder.top.states, self._energies = machine, states, None

    def add(self, overlap: float) -> None:
        """Make the top a rung, given its overlap with the last rung, and leave out rungs that are not needed."""
        ladder, self._energies = self.ladder, None
        ladder.top.acceptance = overlap
        ladder.rungs.append(ladder.top.copy())
        ladder.top.acceptance = 1.0
        ladder.thin(moving=True)
        while len(ladder.rungs) > MOST_RUNGS:
            ladder.thin(forced=True, moving=True)

    def go_back(self) -> np.ndarray:
        """Go back to the last rung, and return its states."""
        self.rejected, self._energies = self.rejected + 1, None
        self.ladder.rungs[-1] = self.ladder.rungs[-2].copy()
        self.ladder.top.acceptance = 1.0
        return self.ladder.top.states

    def swap(self, rng: np.random.Generator, sweeps: int) -> np.ndarray:
        """Swap with the last rung, sweep and swap some lower ones, and return the particles' states afterwards."""
        self.ladder.swap_top(rng, self._energies)
        self._energies = None
        self.ladder.mend(rng, moving=True)
        self.ladder.lift_lower(rng, sweeps, LOWER)
        return self.ladder.top.states

    def jump(self, machine: Machine, rng: np.random.Generator) -> np.ndarray:
        """Add rungs from the top to another machine, which becomes the top, and return states of that machine."""
        self.ladder.reach(machine, rng)
        return self.ladder.top.states

    def measure(
        self, machine: Machine, states: np.ndarray, rng: np.random.Generator, updates: int, stop: Callable[[], bool]
    ) -> None:
        """Find log Z of the machine, with a tenth of the work of ``updates`` updates, or less if ``stop`` says so."""
        self._at(machine, states)
        ladder = Ladder.of(machine, self.ladder.arrays())
        ladder.settle_acceptances()
        lifts = updates // (10 * len(ladder.rungs))
        self.log_z = along(ladder, int(np.clip(lifts, FEWEST_LIFTS, MOST_LIFTS)), rng, stop)

    def report(self) -> dict[str, float]:
        """Return the figures of this moment, by name."""
        ladder = self.ladder
        return {
            f"{self.name}_rungs": len(ladder.rungs),
            f"{self.name}_swap_rate": float(ladder.acceptances.min()),
            f"{self.name}_round_trips": int(ladder.trips.sum()),
            f"{self.name}_renewals": ladder.renewals,
            f"{self.name}_rejected": self.rejected,
        }

    # ------------------------------------------------------------------------------------------------ to keep it

    def state(self) -> dict[str, np.ndarray]:
        """Return everything as arrays by name."""
        found = self.ladder.arrays() | {"rejected": np.array(self.rejected)}
        return {f"{self.name}_ladder_{key}": x for key, x in found.items()}

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Go back to a `state`."""
        own = with_prefix(values, f"{self.name}_ladder_")
        self.ladder, self.rejected = Ladder.of(self.ladder.top.machine, own), int(own["rejected"])


def torn(overlaps: list[float]) -> bool:
    """Whether some machine is torn off its ladder."""
    return min(overlaps) < TORN
