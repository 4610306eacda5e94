"""The last steps of learning without chance: from where the chains led, the exact objective is climbed.

Particles find a good region, where a climb from small weights may end at a lower maximum (mushrooms, 16 hidden units:
.33 nats lower); a climb gains what is left there (.1 to .9 nats a row of digits and mushrooms, after 40,000 updates).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pymc as pm

from pymc_rbm.learning.keeping import Bounds
from pymc_rbm.learning.update import Learner

__all__ = ["Polish"]

FOLLOWING = 100
"""How many updates of rate zero the particles get to follow."""


@dataclass(frozen=True)
class Polish:
    """A climb of at most ``most`` iterations from where the learner is."""

    model: pm.Model
    learner: Learner
    most: int

    def __call__(self, sweeps: int, stopped: Callable[[], bool], bounds: Bounds) -> dict[str, float]:
        """Climb until ``stopped``, and return what is recorded; nothing where the learner stays where it was.

        The particles follow with so many ``sweeps`` an update.
        """
        before = self.learner.state()
        try:
            ascent = self.learner.ascent(self.model)
            ascent.interrupted = stopped
            start = ascent.value()
            end = ascent.climb(self.most, stopped)
            gain = ascent.value() - start
        except FloatingPointError:
            gain = -1.0
        if not (gain > 0 and bounds.hold_strictly()):
            self.learner.restore(before, self.learner.rng)
            return {}
        self.learner.follow(FOLLOWING, sweeps)
        return {"climb_gain": gain} | end.record(self.learner.statistical_error)
