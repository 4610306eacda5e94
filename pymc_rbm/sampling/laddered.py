"""Draw from a machine with several modes by chains that swap with those of the machines on a ladder."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.progress import track

from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.ladder import Ladder, Rung, ladder_to, recorded_ladder, with_prefix
from pymc_rbm.sampling.observables import functionals
from pymc_rbm.support.arguments import one_of
from pymc_rbm.support.interrupts import DeferredInterrupt
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.work import can_show, parts_of

__all__ = ["LADDERED", "check_method", "first_ladder", "learned_ladder", "run_ladder"]

LADDERED = "pt", "ptt"
METHODS = "gibbs", *LADDERED
CHUNK_ENTRIES = 2**20
CHAINS = 100
"""The number of chains that find where the rungs of a new ladder must be."""


def check_method(method: Any) -> None:
    """Refuse what is not a method of drawing."""
    one_of("method", method, METHODS)


def first_ladder(machine: Machine, learned: Any, method: str, start: np.ndarray, rng: np.random.Generator) -> Ladder:
    """Return a ladder to the machine: the one that it was learned along, or one along the straight way.

    Its chains at the top begin at ``start``, and have never been at the bottom.
    """
    if method == "pt":
        ladder = _with_chains(ladder_to(machine, max(len(start), CHAINS), rng), len(start), rng)
    else:
        ladder = _with_chains(learned_ladder(machine, learned), len(start), rng)
    ladder.rungs[-1] = Rung.new(machine, np.array(start), ladder.top.acceptance)
    return Ladder(ladder.rungs)


def learned_ladder(machine: Machine, learned: Any) -> Ladder:
    """Return the ladder along which the machine was learned, or raise ValueError where none was recorded."""
    found = recorded_ladder(learned, machine)
    if found is None:
        raise ValueError(
            "method='ptt' needs what pymc_rbm.fit(method='ptt') returned with this machine, but learned has no "
            "ladder to it. Pass that result as learned=, or take method='pt'."
        )
    name, group = found
    return Ladder.of(machine, with_prefix(group, f"{name}_ladder_"))


def _with_chains(ladder: Ladder, chains: int, rng: np.random.Generator) -> Ladder:
    """Return the ladder with ``chains`` chains, each with the states of one of its present chains."""
    had = len(ladder.top.states)
    chosen = rng.permutation(had)[:chains] if chains <= had else rng.integers(had, size=chains)
    return Ladder([Rung.new(x.machine, x.states[chosen], x.acceptance) for x in ladder.rungs])


def run_ladder(
    ladder: Ladder, rng: np.random.Generator, draws: int, tune: int, lifts: int, states: bool, progressbar: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """Lift and keep draws; return functionals by name, shape (chain, draw, …), last states, and figures of the ladder.

    Ctrl-C returns the draws so far, and raises KeyboardInterrupt where there are none.
    """
    machine, (chains, size) = ladder.top.machine, ladder.top.states.shape
    each = size * ladder.top.states.itemsize
    check_memory(
        chains * draws * each,
        f"Keeping {draws:,} draws of {chains:,} chains, {each:,} bytes each,",
        "Keep fewer draws, each after more lifts, or take fewer chains.",
    )
    kept: dict[str, list[np.ndarray]] = {}
    tuning = [(1, False)] * tune
    steps = tuning + [(k, True) for k in parts_of(draws, max(1, CHUNK_ENTRIES // (chains * size)))]
    with DeferredInterrupt() as interrupt:
        for n, stored in track(steps, "Sampling", disable=not can_show(progressbar), transient=True):
            found = []
            for _ in range(n if stored else 1):
                for _ in range(lifts if stored else 1):
                    ladder.lift(rng)
                found.append(ladder.top.states)
                if interrupt.pending:
                    break
            if stored:
                block = np.moveaxis(np.array(found), 0, 1)
                for name, x in (functionals(machine, block) | ({"states": block} if states else {})).items():
                    kept.setdefault(name, []).append(x)
            else:
                ladder.mend(rng)
            if interrupt.pending:
                break
    if not kept:
        raise KeyboardInterrupt
    figures = {
        "rungs": len(ladder.rungs),
        "least_acceptance": float(ladder.acceptances.min()),
        "round_trips": int(ladder.trips.sum()),
        "renewals": ladder.renewals,
    }
    return {name: np.concatenate(x, 1) for name, x in kept.items()}, ladder.top.states, figures
