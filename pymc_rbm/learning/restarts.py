"""An exact climb starts from the best of several points.

At W = 0 all hidden units are alike, and the gradient by W is the data's covariance: where no two units are correlated
(three bits of even parity) that is a saddle, to which a climb from small weights is drawn however much there is to
learn. So some other starts are tried, from larger weights, and the best is climbed from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc as pm

from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.lbfgs import Ascent
from pymc_rbm.learning.objective import direct_names
from pymc_rbm.learning.start import start_values
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.enumeration import cheapest_layer, widest_layer
from pymc_rbm.machine.normalisable import is_gaussian

__all__ = ["CLOSE", "climb_from_the_best"]

SCALES = 2.0, 4.0, 1.0, 8.0
"""The sizes of the fields on the hidden units at other starts, used in turn."""
MOST_STARTS = 8
AGREE = 3
"""How many starts must end as high as the best one for no more to be tried."""
ENTRIES = 2**20
"""The most entries of data and states over all starts, so that only climbs of milliseconds are repeated."""
CLOSE = 1e-4
"""By how many nats a row rough climbs to the same maximum may differ."""


def climb_from_the_best(
    ascent: Ascent, model: pm.Model, observed: list[Observed], start: dict[str, Any] | None, learner: Learner
) -> int:
    """Try other starts by rough climbs, and leave the parameters at the best one's; return how many were tried.

    The first is where learning starts anyway, and is kept where no other ends higher. Starts that agree are enough, but
    not where all end no higher than independent units, at the saddle. What ``start`` names stays as it
    is. The learner's generator does not advance.
    """
    points = _other_points(model, observed, start, learner)
    first = [p.get_value() for p in ascent.parameters]
    most = int(np.clip(ENTRIES // sum(map(_entries, observed)), 1, MOST_STARTS))
    if most == 1 or all(np.array_equal(x, y) for x, y in zip(first, next(points), strict=True)):
        return 1
    tried, ends = [first], [ascent.rough(first)]
    alone = _alone(ascent, model, observed)
    while len(tried) < most and (max(ends) < alone + CLOSE or sum(end > max(ends) - CLOSE for end in ends) < AGREE):
        tried.append(next(points))
        ends.append(ascent.rough(tried[-1]))
    best = int(np.argmax(ends)) if max(ends) > ends[0] + CLOSE else 0
    ascent.place(tried[best])
    return len(tried)


def _other_points(
    model: pm.Model, observed: list[Observed], start: dict[str, Any] | None, learner: Learner
) -> Iterator[list[np.ndarray]]:
    """Yield start values with larger weights, one array a parameter, without end."""
    rng = np.random.default_rng(copy.deepcopy(learner.rng).integers(2**63, size=2))
    while True:
        for scale in SCALES:
            values = start_values(model, observed, start, rng, scale)
            yield [values[p.name].astype(p.dtype) for p in learner.learned]


def _alone(ascent: Ascent, model: pm.Model, observed: list[Observed]) -> float:
    """Return the objective of independent units; -inf where W, b or c are not free variables themselves."""
    point = {p.name: p.get_value() for p in ascent.parameters}
    for x in observed:
        names = direct_names(model, x)
        if not names:
            return -np.inf
        for name, value in zip(names, (0.0, x.bias, 0.0), strict=False):
            point[name] = np.broadcast_to(np.asarray(value), point[name].shape)
    return ascent.value_at(list(point.values()))


def _entries(x: Observed) -> int:
    """Return about how many numbers an evaluation of the objective computes, as fields of rows and of states."""
    states = 1 if is_gaussian(x.machine) else cheapest_layer(x.machine)[1]
    if states == np.inf:  # log Z is not a sum over states
        return ENTRIES + 1
    rows = len(x.rows if x.patterns is None else x.patterns.states)
    return widest_layer(x.machine) * (rows + int(states) * (len(x.rows) if x.by_row else 1))
