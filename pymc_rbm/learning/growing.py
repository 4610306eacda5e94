"""An exact climb starts from a machine that was grown: hidden units come one after the other, each where it gains most.

Where all hidden units start at small weights at once, they grow alike, and a climb ends at a poor maximum. So first one
unit climbs, with the visible biases, then a second one comes, of several tries the best, and all climb together, and
so on, as components of a mixture are inserted one by one (Verbeek, Vlassis & Kröse 2003, Neural Computation 15,
469-485) and units of an RBM added (Côté & Larochelle 2016, Neural Computation 28, 1265-1288). Units that have not come
have no weights, and log Z is a sum over the states of the others (`kernels.exact_sums`): all stages together cost
little more than the last two. (Mushrooms, 16 hidden units: 2.3 nats a row above 40,000 updates by chains and a climb
from there, on rows held out, too.)

Where the likelihood has many maxima, machines that are grown from other weights end elsewhere (of mushrooms .5 nats
apart). So more of them are grown until the two best ones end alike, and the best is taken. What all of them reached is
recorded: where no two end alike, a higher maximum is likely.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.exact_sums import factors_of
from pymc_rbm.learning.lbfgs import ROUGH_ITERATIONS, Ascent
from pymc_rbm.learning.objective import direct_names
from pymc_rbm.learning.restarts import CLOSE
from pymc_rbm.learning.start import small_weights
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.enumeration import sizes_of
from pymc_rbm.machine.machine import HIDDEN

__all__ = ["ENDS", "GROWN", "Growing", "alike", "can_grow", "growing_of"]

GROWN, ENDS = "growing_seed", "growing_ends"
"""The attributes of runs that grow their machines: the seed of the weights, and the objective that all units reached at
once, then each machine that was grown."""

TRIES, TRY, STAGE = 4, 50, 100
"""How many weights a new unit tries, in how many iterations of L-BFGS, and how many the best of them then has."""
SCALE, LEFT = 4.0, 0.1
"""The size of the fields that new weights send, and those of units that are left when one gains nothing."""
MOST_UNITS = 64
"""The most hidden units that come one after the other."""
ALIKE, BY_CHANCE = 0.05, 0.05
"""Within how many nats a row of each other the two best machines are alike, and within what share of the range of all
that were grown: of four that end anywhere in it, the two best come so close by chance once in ten times."""
MOST_MACHINES, FEW_MACHINES, MANY_FACTORS = 4, 2, 2**25
"""How many machines are grown at most, and how many where an evaluation has more factors than that in log Z, and
products of rows, together."""

Point = dict[str, np.ndarray]
VALUE = itemgetter(0)


def can_grow(model: pm.Model, observed: list[Observed]) -> bool:
    """Whether weights and biases of all machines are free variables themselves, which can be 0 for a while."""
    pairs = all(len(x.machine.layers) == 2 and direct_names(model, x) for x in observed)
    return pairs and all((sizes_of(x.machine)[HIDDEN] or 0) <= MOST_UNITS for x in observed)


def growing_of(model: pm.Model, learner: Learner, ascent: Ascent, resume: xr.DataTree | None) -> Growing:
    """Return what grows the machines of a run, from the beginning or from where the one to ``resume`` was left.

    The learner's generator does not advance.
    """
    machines = [(x, W, b, c) for x in learner.observed for W, b, c in [direct_names(model, x)]]
    most = MOST_MACHINES if sum(map(_factors, learner.observed)) <= MANY_FACTORS else FEW_MACHINES
    if resume is None:
        seed, ends = copy.deepcopy(learner.rng).integers(2**31), []
    else:
        seed, ends = resume.attrs[GROWN], np.atleast_1d(resume.attrs.get(ENDS, [])).tolist()
    return Growing(ascent, machines, int(seed), most, ends, resume is None)


def _factors(x: Observed) -> float:
    """Return how many factors an evaluation of log Z has, and products one of the rows."""
    assert x.patterns is not None
    return factors_of(x.machine) + x.patterns.states.size * (sizes_of(x.machine)[HIDDEN] or 0)


def alike(ends: list[float]) -> bool:
    """Whether the two best ends are one maximum: not where ends are spread so widely that they came close by chance."""
    if len(ends) < 2:
        return False
    *_, second, best = sorted(ends)
    spread = max(ends[1:]) - min(ends[1:])
    return best - second <= (ALIKE if spread <= 2 * ALIKE else min(ALIKE, spread * BY_CHANCE))


@dataclass(frozen=True)
class Growing:
    """Climbs with one hidden unit of each machine, with two of each, and so on; and all that again, from other weights.

    Attributes
    ----------
    ascent : Ascent
    machines : list of tuple
        Each RBM, with the names of its W, b and c.
    seed : int
        That of the new weights.
    most : int
        How often the machines are grown at most.
    ends : list of float
        The objective that all units at once reached, and each time that they were grown.
    fresh : bool
        Whether no unit has come yet, and the parameters are another start.
    """

    ascent: Ascent
    machines: list[tuple[Observed, str, str, str]]
    seed: int
    most: int
    ends: list[float]
    fresh: bool

    def __call__(self, after_each: Callable[[], bool]) -> bool:
        """Grow the machines until the two best ends are alike, and leave the parameters at the best.

        Where a climb of all units at once, from where the parameters were, ends as high they stay there (or at its end,
        if others are still to come): units that help only together do not grow. ``after_each`` is called after each
        unit of the first machines, and after all others; a true value ends it, and is returned. (A run that is resumed
        within the first machines has lost that climb; all else is to the bit what it would have been.)
        """
        first = self._point()
        best = self._alone(first) if self.fresh else first
        if not self.ends:
            value, best, stopped = self._grown(best, 0, after_each)
            if stopped:
                return True
            at_once = self._climb(first, _all_of(first), ROUGH_ITERATIONS) if self.fresh else (-np.inf, best)
            if self.ascent.interrupted():
                self.ascent.place(self._values(best))
                after_each()
                return True
            self.ends.extend([at_once[0], value])
            if at_once[0] >= value - CLOSE:
                best = first if alike(self.ends) else at_once[1]
        while not alike(self.ends) and len(self.ends) <= self.most:
            value, other, stopped = self._grown(self._alone(best), len(self.ends) - 1, self.ascent.interrupted)
            if not stopped:
                best = other if value > max(self.ends) else best
                self.ends.append(value)
            self.ascent.place(self._values(best))
            if after_each() or stopped:
                return True
        self.ascent.place(self._values(best))
        return False

    def _alone(self, point: Point) -> Point:
        """Return the point with independent units."""
        changed = {name: x.copy() for name, x in point.items()}
        for x, W, b, c in self.machines:
            changed[W][:], changed[b][:], changed[c][:] = 0, x.bias, 0
        return changed

    def _grown(self, point: Point, number: int, stopped: Callable[[], bool]) -> tuple[float, Point, bool]:
        """Return the objective of machines with all units, where it is reached, and whether that was ``stopped``.

        The ``number`` is that of the machines, and goes into the seed. Once a unit gains nothing all that are left come
        at small weights.
        """
        unit = max(int(point[W].any(0).sum()) for _, W, *_ in self.machines)
        value, gains = self.ascent.value_at(self._values(point)) if unit else -np.inf, True
        units = max(point[W].shape[1] for _, W, *_ in self.machines)
        while gains and unit < units:
            before, rng = value, np.random.default_rng([self.seed, unit, number][: 3 if number else 2])
            value, point = self._best(point, unit, rng)
            unit, gains = unit + 1, value >= before + CLOSE
            if not gains:
                for later in range(unit, units):
                    point = self._with_unit(point, later, rng, LEFT)
            self.ascent.place(self._values(point))
            if stopped():
                return value, point, True
        value, point = max((value, point), self._climb(point, _all_of(point), ROUGH_ITERATIONS), key=VALUE)
        return value, point, self.ascent.interrupted()

    def _best(self, point: Point, unit: int, rng: np.random.Generator) -> tuple[float, Point]:
        """Return the objective that the best try with one more unit reaches, and where."""
        moving = _all_of(point)  # but units that have not come
        for _, W, _, c in self.machines:
            moving[W][:, unit + 1 :] = moving[c][unit + 1 :] = False
        ends = [self._climb(self._with_unit(point, unit, rng, SCALE), moving, TRY) for _ in range(TRIES)]
        best = max(ends, key=VALUE)
        return max(best, self._climb(best[1], moving, STAGE), key=VALUE)

    def _climb(self, point: Point, moving: Point, most: int) -> tuple[float, Point]:
        value = self.ascent.rough(self._values(point), self._values(moving), most)
        return value, self._point()

    def _point(self) -> Point:
        return {p.name: p.get_value() for p in self.ascent.parameters}

    def _values(self, point: Point) -> list[np.ndarray]:
        return [point[p.name] for p in self.ascent.parameters]

    def _with_unit(self, point: Point, unit: int, rng: np.random.Generator, scale: float) -> Point:
        """Return the point with random weights for a unit, whose field is 0 on average, as is what it sends."""
        changed: Point = {}
        for x, W, b, c in self.machines:
            if unit >= point[W].shape[1]:
                continue
            w = small_weights(x, (len(point[W]), 1), scale, rng)[:, 0]
            middle = sum(x.machine.layers[HIDDEN].unit.ends) / 2
            changed |= {name: point[name].copy() for name in (W, b, c)}
            changed[W][:, unit] = w
            changed[c][unit] = -x.mean @ w
            changed[b] -= (middle * w).astype(changed[b].dtype)
        return point | changed


def _all_of(point: Point) -> Point:
    return {name: np.ones(x.shape, bool) for name, x in point.items()}
