"""Fresh draws measure how much the objective of learning still rises, where log Z is too large a sum.

Newton's decrement, half the gradient times the step that Fisher's information makes of it, predicts the rise. It is
biased upwards by half a nat a parameter and draw, because noise always leads up; with the step of one half of the draws
and the gradient of the other it is not. The gain of the step is then measured, again by draws that did not choose it:
the truth lies between what a climb gains on its own draws and on others (Mak, Morton & Wood 1999, Oper. Res. Lett. 24,
47-56).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched
from pymc_rbm.diagnostics.progress.rise import Rise
from pymc_rbm.diagnostics.progress.saddles import steps_by_pairs
from pymc_rbm.learning.goal import Goal, LogSums, Penalty, free_energies_of, slopes_of
from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.chains import run_chains
from pymc_rbm.support.convergence import ESS, RHAT

__all__ = ["DRAWS", "Draw", "Sampled", "climbed_by_draws", "drawing", "gain_by_draws"]

ROUNDS, HALVINGS = 8, 14
PRODUCTS, CONVERGED = (5, 60), 1e-3
"""The fewest and most products with Fisher's information, and the share of the decrement up to which the last counts as
converged."""
DIFFERENCE, DAMPING = 1e-4, 1e-4
APART = 5
DRAWS = 2000, 32_000
"""The fewest and most draws; in between their number makes the prediction's error an eighth of what matters."""
WORK = 2e11
"""The most products of weights and states for a round of draws, and for a step: some seconds each."""
NOTHING = 0.25
"""The share of what matters above which a step off a saddle is taken: from a saddle it may lead far."""
EFFECTIVE = 0.25
"""The effective share of draws that a measured gain needs."""


Draw = Callable[[Machine, int], np.ndarray]


@dataclass(frozen=True)
class Sampled:
    """Data, draws and penalty for a climb by draws.

    Attributes
    ----------
    data : callable
        Takes a machine, returns the rows as sums over their missing entries.
    draw : callable
        Takes a machine and a number, returns at most so many independent visible states of it.
    masks, penalty, rest
        As in `Goal`.
    """

    data: Callable[[Machine], LogSums]
    draw: Draw
    masks: list[np.ndarray]
    penalty: Penalty
    rest: list[np.ndarray] | None = None

    def goal(self, machine: Machine, draws: np.ndarray) -> Goal:
        """Return the objective minus its value at ``machine`` as a goal, estimated from ``draws`` of that machine."""
        offsets = np.log(len(draws)) - free_energies_of(machine, draws)
        log_z = LogSums(draws, np.zeros(1, int), np.ones(1), offsets)
        return Goal(machine, self.masks, self.data(machine), log_z, self.penalty, self.rest)


def drawing(watched: Watched, table: xr.Dataset, rng: np.random.Generator) -> Draw | None:
    """Return a function that draws independent states of machines like the examined one; None if chains do not mix.

    Each state is the end of a chain of its own, ``APART`` autocorrelation times (of ``table``) after an examined draw.
    """
    machine, states = watched.machine, watched.states
    if machine is None or states is None:
        return None
    rhat = float(table["rhat"].max())
    if rhat > RHAT or not table["ess_bulk"].min() >= ESS:
        return None
    apart = int(np.ceil(APART * float(table["autocorrelation"].max()) * (watched.sweeps or 1)))
    entries = sum(p.size for p in machine.parameters)
    most = min(int(WORK / (entries * apart)), max(DRAWS[0], int(WORK / (100 * entries))))
    if most < DRAWS[0]:
        return None
    pool = states.reshape(-1, states.shape[-1])

    def draw(other: Machine, n: int) -> np.ndarray:
        chosen = pool[rng.integers(len(pool), size=min(n, most))]
        return run_chains(other, chosen, rng, 1, apart, 1)[1]

    return draw


def climbed_by_draws(sampled: Sampled, machine: Machine, matters: float) -> Rise:
    """Climb from ``machine`` by natural gradients until it is clear whether the objective rises by what matters."""
    gain, variance, most = 0.0, 0.0, np.inf
    size = sum(int(mask.sum()) for mask in sampled.masks)
    n = int(np.clip(8 * np.sqrt(size) / matters, *DRAWS))
    for _ in range(ROUNDS):
        halves = np.array_split(sampled.draw(machine, n), 2)
        goals = [sampled.goal(machine, x) for x in halves]
        at = goals[0].packed(machine.parameters)
        slopes = [goal(at)[1] for goal in goals]
        solved = [_natural(goals[0], np.concatenate(halves), at, slope) for slope in slopes]
        steps = [step for step, _ in solved]
        predicted = (steps[0] @ slopes[1] + steps[1] @ slopes[0]) / 4
        error = _error(predicted, len(halves[0]), size)
        most = gain + max(predicted, 0.0) + 2 * np.hypot(error, np.sqrt(variance))
        most = most if all(done for _, done in solved) else np.inf
        off = _off_saddle(goals, halves[0])
        if most <= matters and off.gain <= NOTHING * matters:
            break
        best = max(_line(goals, at, steps), off, key=lambda move: move.gain)
        gain, variance, most = gain + best.gain, variance + best.variance, np.inf
        if gain - 2 * np.sqrt(variance) > matters or best.gain == 0:
            break
        machine = goals[0].machine_at(best.to)
    return Rise(gain, float(np.sqrt(variance)), most)


def _error(predicted: float, half: int, size: int) -> float:
    """Return the standard error of the prediction by two halves of ``half`` draws each, for ``size`` parameters.

    With errors ε and ε' of the gradients, of covariance F/half, it is ``½ (g + ε)ᵀ F⁻¹ (g + ε')``.
    """
    return float(np.sqrt(4 * max(predicted, 0.0) / half + size / half**2) / 2)


def gain_by_draws(goal: Goal, x: np.ndarray) -> tuple[float, float, float]:
    """Return a lower bound of the gain of the objective at ``x``, its variance, and the share of effective draws.

    The gain is the smaller one of that by the kept rows and that by all rows, as far as these are known.
    """
    there, here = goal.machine_at(x), goal.machine
    weights = -free_energies_of(there, goal.log_z.states) - goal.log_z.offsets  # type: ignore[attr-defined]  # by draws
    most = weights.max()
    w = np.exp(weights - most)
    rows = goal.data.of_groups(there) - goal.data.of_groups(here)
    penalty = goal.penalty(there.parameters)[0] - goal.penalty(here.parameters)[0]
    others = goal.of_rest(x) - goal.of_rest(goal.packed(here.parameters))
    gain = float(goal.data.weights @ rows) + penalty - float(np.log(w.sum()) + most) + min(others, 0.0)
    effective = w.sum() ** 2 / (w**2).sum()
    return gain, max(float(1 / effective - 1 / len(w)), 0.0), effective / len(w)  # rounding may be below 0


def _kept(goal: Goal, x: np.ndarray) -> np.ndarray:
    """Return ``x`` with zeros for entries that must keep their sign and did not."""
    return np.where(goal.signs * x < 0, 0.0, x)


def _natural(goal: Goal, draws: np.ndarray, at: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, bool]:
    """Solve for the step, with Fisher's information and the penalty's curvature, by conjugate gradients.

    Returns the step, and whether they converged.
    """
    bent = -goal.packed(goal.penalty.curvatures)

    def product(x: np.ndarray) -> np.ndarray:
        h = DIFFERENCE / max(np.abs(x).max(), 1e-300)
        ahead, behind = (free_energies_of(goal.machine_at(at + s * h * x), draws) for s in (1, -1))
        y = (behind - ahead) / (2 * h)
        return goal.packed(slopes_of(goal.machine, draws, -(y - y.mean()) / len(draws))) + bent * x

    step, left = np.zeros_like(slope), slope.copy()
    along, square, reached = left.copy(), left @ left, 0.0
    damping, done = None, False
    most = int(np.clip(WORK / (10 * len(draws) * len(slope)), *PRODUCTS))
    for _ in range(min(most, len(slope))):
        done = square == 0
        if done:
            break
        image = product(along)
        damping = DAMPING * (along @ image) / (along @ along) if damping is None else damping
        image = image + damping * along
        curved = along @ image
        if curved <= 0:
            break
        length = square / curved
        step, left = step + length * along, left - length * image
        reached += length * square
        before, square = square, left @ left
        done = length * before < CONVERGED * reached
        if done:
            break
        along = left + square / before * along
    return step, done or len(slope) <= most


class Move(NamedTuple):
    """A point, with the gain of the objective there and the variance of the gain."""

    gain: float
    variance: float
    to: np.ndarray


def _line(goals: list[Goal], at: np.ndarray, steps: list[np.ndarray]) -> Move:
    """Return the best place along the mean of two steps, each measured by the draws of the other half."""
    best = Move(0.0, 0.0, at)
    for k in range(HALVINGS):
        ends = [_kept(goal, at + 0.5**k * step) for goal, step in zip(goals, steps[::-1], strict=True)]
        with np.errstate(over="ignore", invalid="ignore"):
            found = [gain_by_draws(goal, end) for goal, end in zip(goals, ends, strict=True)]
        gain, variance = np.mean([x[0] for x in found]), np.sum([x[1] for x in found]) / 4
        if min(x[2] for x in found) > EFFECTIVE and gain > best.gain:
            best = Move(float(gain), float(variance), np.mean(ends, axis=0))
        elif best.gain:
            break
    return best


def _off_saddle(goals: list[Goal], draws: np.ndarray) -> Move:
    """Return the best step off a saddle by the first half of the draws that the second half confirms, and measures.

    There are up to eight: three standard errors keep a chance gain below one in a hundred.
    """
    tried = [(*gain_by_draws(goals[0], x), x) for x in steps_by_pairs(goals[0], draws)]
    led = [(gain, x) for gain, _, share, x in tried if share > EFFECTIVE and gain > 0]
    for _, x in sorted(led, key=lambda pair: -pair[0]):  # the best one here may be too far for the other draws
        gain, variance, share = gain_by_draws(goals[1], x)
        if share > EFFECTIVE and gain > 3 * np.sqrt(variance):
            return Move(gain, variance, x)
    return Move(0.0, 0.0, goals[0].packed(goals[0].machine.parameters))
