"""Run particles on at the last parameters, and compare what they were with what they become."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched
from pymc_rbm.diagnostics.thresholds import DATA_DISTANCE
from pymc_rbm.learning.estimators.names import argument_of
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.chains import run_chains
from pymc_rbm.sampling.ladder import Ladder, recorded_ladder
from pymc_rbm.sampling.laddered import LADDERED, first_ladder, run_ladder
from pymc_rbm.sampling.observables import functionals, leading_directions
from pymc_rbm.support.convergence import ESS_PER_CHAIN, RHAT, columns, convergence, two_sample

__all__ = ["RUN_ON_CHAINS", "RUN_ON_DRAWS", "compare", "data_distance", "independent_draws", "run_on"]

RUN_ON_CHAINS, RUN_ON_DRAWS = 32, 200
RUN_ON_SWEEPS = 1, 4, 16, 64  # sweeps per draw, tried in turn until the chains agree
MOST_SWEEPS = 100  # a draw, of a ladder: a lift has as many as there are rungs
MORE_OF_SMALL, SMALL = 4, 2**13  # so many times that, where a machine has at most so many weights: some seconds


def run_on(
    machine: Machine,
    name: str,
    particles: np.ndarray,
    rng: np.random.Generator,
    progressbar: bool,
    learned: xr.DataTree | None = None,
) -> tuple[Watched, dict[str, np.ndarray]]:
    """Continue the particles as chains, with more sweeps a draw until they agree; return their functionals before, too.

    Where ``learned`` has a ladder to the machine they go on swapping along it, as they did while learning. Where
    replicas at higher temperatures carried them while learning, and plain sweeps let them disagree, they swap along a
    ladder of temperatures.
    """
    before = {key: x[0] for key, x in columns(functionals(machine, particles[None])).items()}
    v = particles[rng.permutation(len(particles))[:RUN_ON_CHAINS]]
    if recorded_ladder(learned, machine) is not None:
        found = _run(machine, name, v, rng, progressbar, first_ladder(machine, learned, "ptt", v, rng))[0]
    else:
        found, agree = _run(machine, name, v, rng, progressbar)
        carried = learned is not None and argument_of(learned.attrs.get("method", "")) in LADDERED
        if not agree and carried and machine.others_sum_out(VISIBLE):
            found = _run(machine, name, v, rng, progressbar, first_ladder(machine, None, "pt", v, rng))[0]
    return found, before


def _run(
    machine: Machine,
    name: str,
    v: np.ndarray,
    rng: np.random.Generator,
    progressbar: bool,
    ladder: Ladder | None = None,
) -> tuple[Watched, bool]:
    """Return chains from ``v``, along a ladder if there is one, and whether they agree."""
    small = sum(c.weights.size for c in machine.couplings) <= SMALL
    most, agree = MOST_SWEEPS * (MORE_OF_SMALL if small else 1), False
    for sweeps in RUN_ON_SWEEPS:
        if ladder is not None and 1 < sweeps > most // len(ladder.rungs):
            break
        if ladder is None:
            kept, last = run_chains(machine, v, rng, RUN_ON_DRAWS, 0, sweeps, progressbar=progressbar)
        else:
            kept, last, _ = run_ladder(ladder, rng, RUN_ON_DRAWS, 0, sweeps, True, progressbar)
        states = kept.pop("states")
        table = convergence(kept)
        agree = bool(table["rhat"].max() <= RHAT and table["ess_bulk"].min() >= ESS_PER_CHAIN * len(v))
        if agree:
            break
    return Watched(name, machine, kept, states, last, sweeps, ladder is not None), agree


def independent_draws(watched: Watched, table: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the functionals at draws that are so far apart that they are nearly independent."""
    steps = np.ceil(table["autocorrelation"].fillna(1.0).values)
    return {
        key: x[:, :: int(min(step, RUN_ON_DRAWS))].ravel()
        for (key, x), step in zip(columns(watched.functionals).items(), steps, strict=True)
    }


def compare(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], key: str, tolerated: float = 0.0
) -> tuple[list[str], dict[str, Any]]:
    """Compare two samples by functional; return the names that differ beyond chance and tolerance, and figures."""
    found = {name: two_sample(a[name], b[name], len(a)) for name in a}
    beyond = [name for name, (distance, by_chance) in found.items() if distance > max(by_chance, tolerated)]
    dim = f"{key}_functional"
    columns = np.reshape(list(found.values()), (-1, 2)).T
    figures: dict[str, Any] = {dim: list(found)}
    return beyond, figures | {key: (dim, columns[0]), f"{key}_by_chance": (dim, columns[1])}


def data_distance(machine: Machine, rows: np.ndarray, draws: dict[str, np.ndarray]) -> tuple[list[str], dict[str, Any]]:
    """Return the projections in which draws and data differ, and all figures."""
    projections = columns({"projection": (rows @ leading_directions(machine))[None]})
    return compare({key: x[0] for key, x in projections.items()}, draws, "data_distance", DATA_DISTANCE)
