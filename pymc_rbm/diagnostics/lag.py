r"""Measure how far the particles of a learning run lag behind the last moves of its parameters.

Particles that do not keep up with the parameters have the statistics of an earlier machine. Let δ be the last moves of
the parameters θ and ``g(v) = -∂F(v)/∂θ · δ``, whose mean is the slope of log Z along them. Fresh sweeps at fixed
parameters take it from the particles' mean to that of the machine, by a difference Δ. The same difference would a step
of ``Δ/s²`` times δ make, with s² the variance of g under the machine; between the two ends of that step there are

.. math:: \mathrm{KL} = \frac{\Delta^2}{2 s^2}

nats, to second order: the least of all distributions with that mean of g (its Chernoff exponent). Learning comes to
rest where the particles, not the machine, have the data's statistics, so that it is this likelihood that a row loses.
It does not depend on the length of δ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import xarray as xr

from pymc_rbm.diagnostics.progress.finishing import averaged_machine
from pymc_rbm.learning.goal import free_energies_of
from pymc_rbm.machine.machine import Machine
from pymc_rbm.support.convergence import FALSE_ALARM, rounding

__all__ = ["Lag", "lag", "last_moves", "slopes_along"]

DIFFERENCE = 1e-4
"""The step of the differences, where δ is scaled so that its largest entry is one."""
Moves = list[np.ndarray]


@dataclass(frozen=True)
class Lag:
    """How far particles lag behind the last moves of the parameters.

    Attributes
    ----------
    nats : float
        ``Δ²/(2s²)`` without the part of Δ² that is Monte Carlo error: unbiased to first order, and so below 0 at times.
    error : float
        The standard error of ``nats``; up to 1.4 times too large where there is no lag.
    least : float
        A lower bound of the true nats, wrong with a chance of `FALSE_ALARM`: nats with |Δ| less by so many errors.
    moves : float
        How much of the moves the particles have yet to follow, ``Δ/s²``; negative where they are ahead.
    """

    nats: float
    error: float
    least: float
    moves: float

    def figures(self) -> dict[str, float]:
        """Return scalars for the report."""
        return {"lag": self.nats, "lag_error": self.error, "lag_at_least": self.least, "lag_in_moves": self.moves}


def lag(machine: Machine, moves: Moves, particles: np.ndarray, fresh: np.ndarray) -> Lag | None:
    """Return how far particles lag behind the last moves of a machine; None where g is the same for all states.

    Parameters
    ----------
    machine : Machine
        The machine at the last parameters.
    moves : list of ndarray
        How far each of its parameters moved last.
    particles : ndarray, shape (particles, visible)
        Independent of each other.
    fresh : ndarray, shape (chains, draws, visible)
        Draws of chains that went on from particles at these parameters, without the way there. The means of chains are
        taken as independent, so that autocorrelation within them does no harm. They share starts with the particles:
        this makes the error too large, if anything. Where chains stay in modes Δ is that within modes only.
    """
    behind = slopes_along(machine, moves, particles)
    ahead = slopes_along(machine, moves, fresh.reshape(-1, fresh.shape[-1])).reshape(fresh.shape[:2])
    spread = float(ahead.var())
    if not spread > rounding(ahead) ** 2 or len(behind) < 2 or len(ahead) < 2:
        return None
    delta = float(ahead.mean() - behind.mean())
    error = behind.var(ddof=1) / len(behind) + ahead.mean(1).var(ddof=1) / len(ahead)
    square = delta**2 - error
    least = max(abs(delta) - scipy.stats.norm.isf(FALSE_ALARM / 2) * np.sqrt(error), 0.0)
    of_square = np.sqrt(4 * max(square, 0.0) * error + 2 * error**2)
    nats, error_of_nats, least_nats = (float(x) / (2 * spread) for x in (square, of_square, least**2))
    return Lag(nats, error_of_nats, least_nats, delta / spread)


def last_moves(learned: xr.DataTree, name: str, machine: Machine) -> Moves | None:
    """Return by how much the last parameters differ from the average over the second half of learning.

    None where the average is what `fit` returned, which the particles have followed, or where nothing has moved.
    """
    before = averaged_machine(learned, name)
    if learned.attrs.get("iterate") == "average" or before is None:
        return None
    moves = [np.asarray(p) - q for p, q in zip(machine.parameters, before.parameters, strict=True)]
    return moves if any(x.any() for x in moves) else None


def slopes_along(machine: Machine, moves: Moves, states: np.ndarray) -> np.ndarray:
    """Return ``-∂F(v)/∂θ · δ`` of each state, by central differences."""
    largest = max(float(np.abs(x).max(initial=0)) for x in moves)
    h = DIFFERENCE / largest
    ends = [[p + s * h * d for p, d in zip(machine.parameters, moves, strict=True)] for s in (1, -1)]
    there, back = (free_energies_of(machine.with_parameters(x), states) for x in ends)
    return (back - there) / (2 * h)
