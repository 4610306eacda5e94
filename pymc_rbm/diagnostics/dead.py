"""Hidden units that do nothing: their mean is the same for all rows of the data and all draws."""

from __future__ import annotations

import numpy as np

from pymc_rbm.diagnostics.examine import activity
from pymc_rbm.diagnostics.failures import DEAD_UNITS
from pymc_rbm.diagnostics.thresholds import IDLE
from pymc_rbm.diagnostics.verdict import FINISHED, Finding
from pymc_rbm.machine.machine import HIDDEN, Machine
from pymc_rbm.sampling.observables import SATURATED

__all__ = ["dead_units", "judge_dead"]


def dead_units(machine: Machine, states: np.ndarray, rng: np.random.Generator) -> dict[str, int]:
    """Return how many hidden units have a mean, given v, that ranges over less than `IDLE` between its extremes.

    Those are ``idle`` whose mean is not at an extreme: their weights are almost zero. Others are ``saturated``. Where
    hidden units have no extremes, or there are none, both are 0.

    Parameters
    ----------
    machine : Machine
    states : ndarray, shape (states, visible)
        Rows of the data, and draws.
    rng : Generator
    """
    if len(machine.layers) == 1 or not machine.layers[HIDDEN].unit.finite:
        return {"hidden_idle": 0, "hidden_saturated": 0}
    own = activity(machine, states[None], rng)
    [low], [high] = own["hidden_low"], own["hidden_high"]
    dead, extreme = high - low < IDLE, (high < SATURATED) | (low > 1 - SATURATED)
    return {"hidden_idle": int((dead & ~extreme).sum()), "hidden_saturated": int((dead & extreme).sum())}


def judge_dead(counts: dict[str, int], units: int, verdict: str, learned: bool) -> list[Finding]:
    """Return a finding about dead units, given the verdict on learning, and whether anything was learned.

    Units without weights are no failure where learning has finished, since a climb that gave them some gained nothing,
    nor where it has not begun. Saturated ones do not come back by themselves.
    """
    begun = learned and verdict != FINISHED
    dead = counts["hidden_saturated"] + (counts["hidden_idle"] if begun else 0)
    if not dead:
        return []
    have = "1 hidden unit has" if dead == 1 else f"{dead} of {units} hidden units have"
    return [DEAD_UNITS.finding(verdict, f"{have} the same mean for all rows and draws")]
