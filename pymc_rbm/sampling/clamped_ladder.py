"""Rows with some visible units clamped at known values have ladders, one for each row.

The free units m of a row given the known ones k have the density ``p_t(v_m | v_k) ∝ exp(-F_t(v_k, v_m))`` on the rung
with the machine t. All rows share these machines. Where they lie on the straight way from independent units to a
machine, each row's conditionals do, too: its biases are those of the machine plus what ``v_k`` sends, ``v_kᵀW`` (or
``v_kᵀU`` inside a layer), which is linear in the weights. At the bottom the free units are independent of each other
and of the known ones, and drawn exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.ladder import SETTLE, Ladder, Rung, ladder_from, uncoupled
from pymc_rbm.sampling.laddered import learned_ladder
from pymc_rbm.sampling.rung_moves import swept
from pymc_rbm.support.memory import check_memory

__all__ = ["check_sums_out", "clamped_ladder", "figures_of_rows", "lifted", "placing_chains"]

MOST_CHAINS, LEAST_CHAINS, ENTRIES = 100, 20, 2**24
"""The most and the fewest chains of each row that find where rungs must be, and the most entries of their states."""
TYPICAL_RUNGS = 20


def check_sums_out(machine: Machine) -> None:
    """Refuse a machine whose hidden units do not sum out, which the swaps of visible states need."""
    if not machine.others_sum_out(VISIBLE):
        raise ValueError(
            f"Swaps along a ladder need the free energy of the visible units, which this machine of "
            f"{len(machine.layers)} layers does not have: its hidden units are coupled to each other. Make all but one "
            "layer's units visible and missing, as pymc_rbm.DeepBoltzmannMachine does, or take method='gibbs'."
        )


def placing_chains(rows: np.ndarray, chains: int) -> int:
    """Return how many chains of each row place the rungs; MemoryError where their states would not fit."""
    number = max(chains, int(np.clip(ENTRIES // rows.size, LEAST_CHAINS, MOST_CHAINS)))
    check_memory(
        TYPICAL_RUNGS * number * rows.nbytes,
        f"A ladder of some {TYPICAL_RUNGS} rungs for {number} chains of {rows.shape} states",
        "Take fewer rows at a time, or method='gibbs'.",
    )
    return number


def clamped_ladder(
    machine: Machine,
    learned: Any,
    method: str,
    start: np.ndarray,
    held: np.ndarray,
    chains: int,
    rng: np.random.Generator,
) -> Ladder:
    """Return a ladder for each row, whose first ``chains`` chains are at their ``start`` on the top rung.

    Parameters
    ----------
    machine : Machine
        With numbers; biases may differ by row.
    learned
        What `fit` returned, for "ptt".
    method : {"pt", "ptt"}
        Along the straight way from independent units, or along the machines of learning above these.
    start : ndarray, shape (placing chains, rows, visible)
        States, with the known values.
    held : ndarray of bool, shape (rows, visible)
        The known ones.
    chains : int
        How many are kept when the rungs are placed.
    rng : Generator
    """
    if method == "pt":
        ladder = ladder_from(_bottom(machine, start, held, rng), machine, rng)
    else:
        first, *others = (rung.machine for rung in learned_ladder(machine, learned).rungs)
        ladder = ladder_from(_bottom(first, start, held, rng), first, rng)  # whatever learning began with
        for each in others:
            ladder.rungs.append(Rung.new(each, swept(each, ladder.top.states, rng, SETTLE, held), held=held))
        ladder.settle_acceptances()
        while ladder.mend(rng):
            ladder.lift(rng)
    kept = [Rung.new(x.machine, x.states[:chains], x.acceptance, held) for x in ladder.rungs]
    kept[-1] = Rung.new(machine, start[:chains], ladder.top.acceptance, held)
    return Ladder(kept, np.ones(len(held), "int64"))


def _bottom(machine: Machine, start: np.ndarray, held: np.ndarray, rng: np.random.Generator) -> Rung:
    """Return independent units, free ones with the means of the machine's own chains, and draws of these units.

    The means are those of each row where biases differ by row, and otherwise over all rows in which a unit is free.
    """
    layer = machine.layers[VISIBLE]
    states, free = swept(machine, start, rng, SETTLE, held), np.broadcast_to(~held, start.shape)
    over = 0 if np.ndim(layer.bias) > 1 else (0, 1)
    mean = ((states * free).sum(over) + layer.unit.middle) / (free.sum(over) + 1)
    bottom = uncoupled(machine, layer.unit.bias_of_mean(mean))
    return Rung.new(bottom, swept(bottom, states, rng, held=held), held=held)


def lifted(ladder: Ladder, rng: np.random.Generator, lifts: int, mend: bool) -> np.ndarray:
    """Make ``lifts`` lifts and return the states at the top; while rungs are still placed, mend after each lift."""
    for _ in range(lifts):
        ladder.lift(rng)
        if mend:
            ladder.mend(rng)
    return ladder.top.states


def figures_of_rows(ladder: Ladder) -> dict[str, np.ndarray]:
    """Return, by row, the round trips of all chains, how often they were renewed, and the least acceptance of pairs."""
    return {
        "round_trips": ladder.trips.sum(0),
        "renewals": ladder.renewals,
        "acceptance": np.min([rung.acceptance for rung in ladder.rungs[1:]], axis=0),
    }
