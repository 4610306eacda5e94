"""An exact climb starts from a machine that was grown: hidden units come one after the other, each where it gains most.

Where all hidden units start at small weights at once, they grow alike, and a climb ends at a poor maximum. So first one
unit climbs, with the visible biases, then a second one comes, of several tries the best, and all climb together, and
so on, as components of a mixture are inserted one by one (Verbeek, Vlassis & Kröse 2003, Neural Computation 15,
469-485) and units of an RBM added (Côté & Larochelle 2016, Neural Computation 28, 1265-1288). Units that have not come
have no weights, and log Z is a sum over the states of the others (`kernels.exact_sums`): all stages together cost
little more than the last two. (Mushrooms, 16 hidden units: 2.3 nats a row above 40,000 updates by chains and a climb
from there, on rows held out, too.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.lbfgs import Ascent
from pymc_rbm.learning.objective import direct_parameters
from pymc_rbm.learning.restarts import CLOSE
from pymc_rbm.learning.start import small_weights
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.enumeration import sizes_of
from pymc_rbm.machine.machine import HIDDEN

__all__ = ["GROWN", "Growing", "can_grow", "growing_of"]

GROWN = "growing_seed"
"""The attribute of runs that grow their machines."""

TRIES, TRY, STAGE = 4, 50, 100
"""How many weights a new unit tries, in how many iterations of L-BFGS, and how many the best of them then has."""
SCALE, LEFT = 4.0, 0.1
"""The size of the fields that new weights send, and those of units that are left when one gains nothing."""
MOST_UNITS = 64
"""The most hidden units that come one after the other."""

Point = dict[str, np.ndarray]


def can_grow(model: pm.Model, observed: list[Observed]) -> bool:
    """Whether weights and biases of all machines are free variables themselves, which can be 0 for a while."""
    return all(
        None not in direct_parameters(model, x) and (sizes_of(x.machine)[HIDDEN] or 0) <= MOST_UNITS for x in observed
    )


@dataclass(frozen=True)
class Growing:
    """Climbs of ``ascent`` with one hidden unit of each machine, two of each, and so on."""

    model: pm.Model
    learner: Learner
    ascent: Ascent
    seed: int
    """Of the new weights."""
    fresh: bool = True
    """Whether no unit has come yet, and the parameters are another start."""

    def __call__(self, after_each: Callable[[], bool]) -> bool:
        """Grow the machines from independent units, and leave the parameters where that ends.

        Once a unit gains nothing all that are left come at small weights. Where a climb from where the parameters were
        ends as high they stay there: units that help only together do not grow.
        ``after_each`` is called after each unit; a true value ends it, and is returned.
        """
        point = {p.name: p.get_value() for p in self.ascent.parameters}
        first, value = self._values(point), -np.inf
        names = {
            x.name: [rv.name for rv in direct_parameters(self.model, x) if rv is not None]
            for x in self.learner.observed
        }
        if self.fresh:
            for W, _, c in names.values():
                point[W], point[c] = np.zeros_like(point[W]), np.zeros_like(point[c])
        units = max(point[W].shape[1] for W, *_ in names.values())
        come = max(int(point[W].any(0).sum()) for W, *_ in names.values())
        for unit in range(come, units):
            moving, rng = self._moving(point, names, unit), np.random.default_rng([self.seed, unit])
            before = value
            ends = [self._climb(self._with_unit(point, names, unit, rng), moving, TRY) for _ in range(TRIES)]
            value, point = max(ends, key=lambda end: end[0])
            value, point = max((value, point), self._climb(point, moving, STAGE), key=lambda end: end[0])
            if value < before + CLOSE:
                for later in range(unit + 1, units):
                    point = self._with_unit(point, names, later, rng, LEFT)
            self.ascent.place(self._values(point))
            if after_each():
                return True
            if value < before + CLOSE:
                break
        as_high = self.fresh and self.ascent.rough(first) >= value - CLOSE
        self.ascent.place(first if as_high else self._values(point))
        return False

    def _values(self, point: Point) -> list[np.ndarray]:
        return [point[p.name] for p in self.ascent.parameters]

    def _climb(self, point: Point, moving: Point, most: int) -> tuple[float, Point]:
        """Return the objective that a climb of some parameters reaches, and where."""
        value = self.ascent.rough(self._values(point), self._values(moving), most)
        return value, {p.name: p.get_value() for p in self.ascent.parameters}

    def _moving(self, point: Point, names: dict[str, list[str]], unit: int) -> Point:
        """Return which parameters move: all but those of hidden units that have not come."""
        moving = {name: np.ones(x.shape, bool) for name, x in point.items()}
        for W, _, c in names.values():
            moving[W][:, unit + 1 :] = moving[c][unit + 1 :] = False
        return moving

    def _with_unit(
        self, point: Point, names: dict[str, list[str]], unit: int, rng: np.random.Generator, scale: float = SCALE
    ) -> Point:
        """Return the point with random weights for a unit, whose field is 0 on average, as is what it sends."""
        changed: Point = {}
        for x in self.learner.observed:
            W, b, c = names[x.name]
            if unit >= point[W].shape[1]:
                continue
            w = small_weights(x, (len(point[W]), 1), scale, rng)[:, 0]
            middle = sum(x.machine.layers[HIDDEN].unit.ends) / 2
            changed |= {name: point[name].copy() for name in (W, b, c)}
            changed[W][:, unit] = w
            changed[c][unit] = -x.mean @ w
            changed[b] -= (middle * w).astype(changed[b].dtype)
        return point | changed


def growing_of(model: pm.Model, learner: Learner, ascent: Ascent, resume: xr.DataTree | None) -> Growing:
    """Return what grows the machines of a run, from the beginning or from where the one to ``resume`` was left.

    The learner's generator does not advance.
    """
    if resume is None:
        return Growing(model, learner, ascent, int(copy.deepcopy(learner.rng).integers(2**31)))
    return Growing(model, learner, ascent, int(resume.attrs[GROWN]), fresh=False)
