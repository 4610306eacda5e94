"""Parallel tempering, and log Z by bridge sampling between neighbouring temperatures.

Replicas are swept at every temperature and neighbours are swapped, even and odd pairs in turn (Okabe et al. 2001; Syed
et al. 2022). With draws x_k at β_k and x_{k+1} at β_{k+1}, the step Δ = log Z_{k+1} - log Z_k solves

    Σ 1 / (1 + exp(Δ + F_{k+1}(x_k) - F_k(x_k)))  =  Σ 1 / (1 + exp(-Δ + F_k(x_{k+1}) - F_{k+1}(x_{k+1})))

for as many draws on either side: Bennett's acceptance ratio (1976), which is MBAR of two states (Shirts & Chodera
2008) and the best of all bridges (Meng & Wong 1996). The steps add up to log Z.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from pymc_rbm.annealing import adapted, anneal
from pymc_rbm.estimates import LogPartitionEstimate
from pymc_rbm.importance import PILOT, Effort, Prepared, unseen_reasons, unseen_weight
from pymc_rbm.paths import Path, States
from pymc_rbm.work import Work

__all__ = ["tempering"]

ENSEMBLES = 10
BURN_IN = 0.2
CHECK_TEMPERATURES = 1000
SPACING = 1.0
LEAST_OVERLAP = 0.03
MOST_RHAT = 1.1
MOST_LEVELS = 200
STORED = 2**24
LEAST_DRAWS, HURRY = 20, 1.0  # after Ctrl-C, and the seconds of the processor that they may take


@dataclass(frozen=True)
class Ladder:
    """What a parallel-tempering run leaves: (iterations, levels - 1, ensembles) energy differences and the swaps."""

    up: np.ndarray
    down: np.ndarray
    top_energy: np.ndarray
    rejection: np.ndarray
    round_trips: np.ndarray


def tempering(start: Prepared, effort: Effort, rng: np.random.Generator, work: Work) -> LogPartitionEstimate:
    """Parallel tempering and bridge sampling; see `log_partition`."""
    path, began = start.path, work.done
    pilot_betas = np.linspace(0, 1, PILOT + 1)
    work.begin("pilot annealing", PILOT * PILOT)
    pilot = anneal(path, pilot_betas, rng, work, PILOT)
    length = float(np.sqrt(pilot.variance).sum())
    levels = effort.temperatures or int(np.clip(length / SPACING, 2, MOST_LEVELS - 1)) + 1
    betas = adapted(pilot_betas, replace(pilot, drift=pilot.variance), levels, 0.3)  # swaps do not know of memory
    iterations = max(50, effort.budget // (levels * ENSEMBLES))
    work.begin("parallel tempering", iterations * levels * ENSEMBLES)
    ladder = _temper(path, betas, iterations, rng, work)
    steps = np.array([_bridge(up, down) for up, down in zip(_by_pair(ladder.up), _by_pair(ladder.down), strict=True)])
    influence, overlap = _influence(ladder, steps)
    diagnostics: dict[str, Any] = {
        "overlap": _overlap_matrix(overlap),
        "least_overlap": float(overlap.min()),
        "rejection": ladder.rejection,
        "communication_barrier": float(ladder.rejection.sum()),
        "round_trips": float(ladder.round_trips.sum()),
        "rhat": _rhat(ladder.top_energy.T),
    }
    # R-hat is the factor by which the ensembles' spread may yet shrink: until it does, the error is as much larger.
    error = float(influence.std(ddof=1) / np.sqrt(ENSEMBLES)) * min(max(1.0, diagnostics["rhat"]), 10.0)
    finished = len(ladder.up)
    reasons = _reasons(diagnostics, ladder)
    estimate = path.log_z_base + float(steps.sum())
    if not work.interrupted:
        # What annealing avoids, the replicas may have missed, too.
        check = adapted(pilot_betas, pilot, CHECK_TEMPERATURES)
        unseen = unseen_weight(start, check, estimate, PILOT, rng, work)
        diagnostics["unseen_weight"] = unseen
        reasons += unseen_reasons(unseen, PILOT)
    made = {"sweeps": work.done - began, "ensembles": ENSEMBLES, "draws": finished, "interrupted": work.interrupted}
    if work.interrupted:
        reasons.append(f"interrupted: {finished} draws of each temperature and ensemble finished")
    return LogPartitionEstimate(
        estimate,
        error,
        "tempering",
        betas=betas,
        diagnostics=diagnostics,
        reasons=tuple(reasons),
        degrees_of_freedom=ENSEMBLES - 1,
        made=made,
    )


def _reasons(found: dict, ladder: Ladder) -> list[str]:
    reasons = []
    if found["least_overlap"] < LEAST_OVERLAP:
        reasons.append(f"neighbouring temperatures overlap by {found['least_overlap']:.3f} only")
    if found["rhat"] > MOST_RHAT:
        reasons.append(f"the ensembles disagree (R-hat {found['rhat']:.2f})")
    if (ladder.round_trips < 1).any():
        n = int((ladder.round_trips < 1).sum())
        reasons.append(f"no replica of {n} of {ENSEMBLES} ensembles went from the base to the machine and back")
    return reasons


def _rhat(energies: np.ndarray) -> float:
    """R-hat over ensembles; where nothing moves it has no value: one if all agree, else infinite."""
    import arviz as az

    with np.errstate(all="ignore"):
        rhat = float(az.rhat(energies, chain_axis=0, draw_axis=1))
    return rhat if np.isfinite(rhat) else 1.0 if np.ptp(energies) == 0 else np.inf


def _temper(path: Path, betas: np.ndarray, iterations: int, rng: np.random.Generator, work: Work) -> Ladder:
    """Run the ensembles from dispersed starts at every level; the first fifth is dropped.

    Ctrl-C ends the burn-in, and all of it once there are a few draws; KeyboardInterrupt if these take too long.
    """
    levels = len(betas)
    flat = path.dispersed_states(rng, levels * ENSEMBLES)
    order = rng.permutation(levels * ENSEMBLES)
    states: States = [x[order].reshape(levels, ENSEMBLES, -1) for x in flat]
    burn_in = int(BURN_IN * iterations)
    thin = 1 + iterations * levels * ENSEMBLES // STORED
    up: list[np.ndarray] = []
    down: list[np.ndarray] = []
    top: list[np.ndarray] = []
    rejected = np.zeros(levels - 1)
    trips = _Trips(levels)
    deadline = np.inf  # in processor time: others' work is not this one's
    for i in range(iterations):
        if work.interrupted:
            if len(up) > LEAST_DRAWS:
                break
            burn_in, thin = min(burn_in, i), 1
            if i:  # the first compiles
                deadline = min(deadline, time.process_time() + HURRY)
            if time.process_time() > deadline:
                raise KeyboardInterrupt
        states, downs, ups = path.sweep_levels(rng, betas, states)
        ups, downs = ups[:-1], downs[1:]
        accept = rng.random(ups.shape) < np.exp(np.minimum(0.0, -(ups + downs)))
        kept = i >= burn_in
        if kept:
            rejected += 1 - np.exp(np.minimum(0.0, -(ups + downs))).mean(1)
        if kept and (i - burn_in) % thin == 0:
            up.append(ups)
            down.append(downs)
            top.append(path.energy([x[-1] for x in states]))
        accept[1 - i % 2 :: 2] = False
        _swap(states, accept)
        trips.swap(accept, kept)
        work.advance(levels * ENSEMBLES)
    if len(up) <= LEAST_DRAWS and work.interrupted:
        raise KeyboardInterrupt
    return Ladder(np.array(up), np.array(down), np.array(top), rejected / max(1, i + 1 - burn_in), trips.finished)


def _swap(states: States, accept: np.ndarray) -> None:
    """Swap each accepted pair (level k, level k + 1) in place; accepted pairs are disjoint."""
    level, ensemble = np.nonzero(accept)
    for x in states:
        x[level, ensemble], x[level + 1, ensemble] = x[level + 1, ensemble], x[level, ensemble].copy()


class _Trips:
    """Counts each ensemble's round trips: base, machine, base."""

    def __init__(self, levels: int):
        self.finished = np.zeros(ENSEMBLES)
        self._last = np.zeros(
            (levels, ENSEMBLES), dtype=int
        )  # the end visited last: 1 the base, 2 the machine after it

    def swap(self, accept: np.ndarray, counted: bool) -> None:
        _swap([self._last[..., None]], accept)
        arrived = self._last[0] == 2
        self.finished += arrived & counted
        self._last[0] = 1
        self._last[-1] = np.where(self._last[-1] == 1, 2, self._last[-1])


def _by_pair(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def _bridge(up: np.ndarray, down: np.ndarray) -> float:
    """Solve Bennett's equation for Δ: its two sides are monotone, so that there is one root between the extremes."""
    low, high = min((-up).min(), down.min()) - 1, max((-up).max(), down.max()) + 1

    def difference(step):
        return scipy.special.expit(-step - up).sum() - scipy.special.expit(step - down).sum()

    return float(scipy.optimize.brentq(difference, low, high, xtol=1e-10))


def _influence(ladder: Ladder, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each ensemble's linear influence on log Z, and the overlap of neighbours.

    At the root, ensemble e moves Δ_k by g_ek / g'_k, g the equation's left minus right side: the infinitesimal
    jackknife over ensembles, which are independent. It carries the memory of the chains and what neighbouring steps
    share.
    """
    forward = scipy.special.expit(-steps[:, None] - ladder.up)
    backward = scipy.special.expit(steps[:, None] - ladder.down)
    g = (forward - backward).mean(0)
    slope = (forward * (1 - forward) + backward * (1 - backward)).mean((0, 2))
    return (g / slope[:, None]).sum(0), slope


def _overlap_matrix(overlap: np.ndarray) -> np.ndarray:
    """Overlaps of neighbours beside the diagonal, what is left on it: rows sum to one, equal neighbours have ½."""
    matrix = np.diag(overlap, 1) + np.diag(overlap, -1)
    return matrix + np.diag(1 - matrix.sum(1))
