"""Run parallel tempering, and find log Z by bridge sampling between neighbouring temperatures.

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

from pymc_rbm.partition.ais import PILOT, Effort, Prepared, unseen_reasons, unseen_weight
from pymc_rbm.partition.annealing import adapted, anneal
from pymc_rbm.partition.bridging import Solution, settled
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.path import Path, States
from pymc_rbm.support.interrupts import arviz
from pymc_rbm.support.work import Work

__all__ = ["tempering"]

ENSEMBLES = 10
BURN_IN = 0.2
CHECK_TEMPERATURES = 1000
SPACING = 1.0
LEAST_OVERLAP = 0.03
MOST_RHAT = 1.1
FEW_ROUND_TRIPS = 50
"""The fewest round trips of all ensembles together, five each, that are trusted: a mode in which a tenth of them ends
is then missed with a chance of e⁻⁵."""
MOST_OLD = 0.5
ROUNDING = 1e-9
MOST_LEVELS = 200
STORED = 2**24
LEAST_DRAWS, HURRY = 20, 1.0  # draws that are needed after Ctrl-C, and seconds of processor time for them


@dataclass(frozen=True)
class Replicas:
    """Results of a parallel-tempering run: energy differences, (iterations, levels - 1, ensembles), and swaps.

    ``old`` is the share of replicas that had not been at the base when these draws began, and so remember their starts.
    """

    up: np.ndarray
    down: np.ndarray
    top_energy: np.ndarray
    rejection: np.ndarray
    round_trips: np.ndarray
    old: float


def tempering(start: Prepared, effort: Effort, rng: np.random.Generator, work: Work) -> LogPartitionEstimate:
    """Estimate log Z by parallel tempering and bridge sampling; see `log_partition`."""
    path, began = start.path, work.done
    pilot_betas = np.linspace(0, 1, PILOT + 1)
    work.begin("pilot annealing", PILOT * PILOT)
    pilot = anneal(path, pilot_betas, rng, work, PILOT)
    length = float(np.sqrt(pilot.variance).sum())
    levels = effort.temperatures or int(np.clip(length / SPACING, 2, MOST_LEVELS - 1)) + 1
    # The rate of swaps does not depend on the chains' autocorrelation.
    betas = adapted(pilot_betas, replace(pilot, drift=pilot.variance), levels, 0.3)
    iterations = max(50, effort.budget // (levels * ENSEMBLES))
    work.begin("parallel tempering", iterations * levels * ENSEMBLES)
    run = _temper(path, betas, iterations, rng, work)
    found = settled(run.up, run.down)
    diagnostics, error = _diagnosed(run, found)
    finished = len(found.influence)
    reasons = _reasons(diagnostics, run, found.moves)
    estimate = path.log_z_base + float(found.steps.sum())
    if not work.interrupted:
        # The replicas may have missed states that annealing avoids, too.
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


def _diagnosed(run: Replicas, found: Solution) -> tuple[dict[str, Any], float]:
    """Return a run's diagnostics, and the standard error of its log Z."""
    energies = run.top_energy[-len(found.influence) :]
    rhat = max(_rhat(energies.T), _rhat(found.influence.T))
    diagnostics = {
        "overlap": _overlap_matrix(found.overlap),
        "least_overlap": float(found.overlap.min()),
        "rejection": run.rejection,
        "communication_barrier": float(run.rejection.sum()),
        "round_trips": float(run.round_trips.sum()),
        "rhat": rhat,
        "drift": found.drift,
    }
    # The spread of the ensembles may still shrink by a factor of R-hat, so the error is larger by that factor.
    error = found.standard_error * min(max(1.0, rhat), 10.0)
    return diagnostics, max(error, abs(found.drift)) if found.moves else error


def _reasons(found: dict, run: Replicas, moves: bool) -> list[str]:
    reasons = []
    if found["least_overlap"] < LEAST_OVERLAP:
        reasons.append(f"neighbouring temperatures overlap by only {found['least_overlap']:.3f}")
    if found["rhat"] > MOST_RHAT:
        reasons.append(f"independent sets of chains disagree (R-hat {found['rhat']:.2f})")
    if moves:
        reasons.append(
            f"the estimate still moves, by {found['drift']:.2f} nats from the first half of the draws to the second"
        )
    if run.old > MOST_OLD:
        reasons.append(f"{run.old:.0%} of the replicas have never been at the base, so that they remember their starts")
    if (run.round_trips < 1).any():
        n = int((run.round_trips < 1).sum())
        reasons.append(f"in {n} of {ENSEMBLES} ensembles no replica went from the base to the machine and back")
    elif found["round_trips"] < FEW_ROUND_TRIPS:
        reasons.append(
            f"{found['round_trips']:.0f} round trips of replicas from the base to the machine are too few (at least "
            f"{FEW_ROUND_TRIPS})"
        )
    return reasons


def _rhat(series: np.ndarray) -> float:
    """Return R-hat over ensembles; where nothing moves, one if all agree and infinity if not."""
    az = arviz()

    if np.ptp(series) < ROUNDING:
        return 1.0
    with np.errstate(all="ignore"):
        rhat = float(az.rhat(series, chain_axis=0, draw_axis=1))
    return rhat if np.isfinite(rhat) else np.inf


def _temper(path: Path, betas: np.ndarray, iterations: int, rng: np.random.Generator, work: Work) -> Replicas:
    """Run the ensembles from dispersed starts at every temperature.

    The first fifth of the iterations is dropped, or three times as many as half of the replicas need to come to the
    base, where they are drawn anew and forget their starts, but at most half of what a fifth leaves. Ctrl-C ends the
    burn-in, and the run once there are a few draws; KeyboardInterrupt is raised if these take too long.
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
    old: list[float] = []
    half = iterations
    rejected = np.zeros(levels - 1)
    trips = _Trips(levels)
    deadline = np.inf  # in processor time, so that other processes do not count
    for i in range(iterations):
        if work.interrupted:
            if len(up) > LEAST_DRAWS:
                break
            burn_in, thin = min(burn_in, i), 1
            if i:  # the first iteration compiles
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
            old.append(trips.old)
        accept[1 - i % 2 :: 2] = False
        _swap(states, accept)
        trips.swap(accept, kept)
        if half == iterations and trips.old <= 0.5:
            half = i + 1
        work.advance(levels * ENSEMBLES)
    if len(up) <= LEAST_DRAWS and work.interrupted:
        raise KeyboardInterrupt
    first = int(np.clip((3 * half - burn_in) // thin, 0, len(up) // 2))
    ups, downs, energies = (np.array(x[first:]) for x in (up, down, top))
    return Replicas(ups, downs, energies, rejected / max(1, i + 1 - burn_in), trips.finished, old[first])


def _swap(states: States, accept: np.ndarray) -> None:
    """Swap each accepted pair (level k, level k + 1) in place; accepted pairs are disjoint."""
    level, ensemble = np.nonzero(accept)
    for x in states:
        x[level, ensemble], x[level + 1, ensemble] = x[level + 1, ensemble], x[level, ensemble].copy()


class _Trips:
    """Counter of each ensemble's round trips from the base to the machine and back."""

    def __init__(self, levels: int):
        self.finished = np.zeros(ENSEMBLES)
        self._last = np.zeros(
            (levels, ENSEMBLES), dtype=int
        )  # the end that was visited last: 1 is the base, 2 the machine after it

    @property
    def old(self) -> float:
        """The share of replicas that have not yet been at the base."""
        return float((self._last == 0).mean())

    def swap(self, accept: np.ndarray, counted: bool) -> None:
        _swap([self._last[..., None]], accept)
        arrived = self._last[0] == 2
        self.finished += arrived & counted
        self._last[0] = 1
        self._last[-1] = np.where(self._last[-1] == 1, 2, self._last[-1])


def _overlap_matrix(overlap: np.ndarray) -> np.ndarray:
    """Return the matrix of overlaps, neighbours' beside the diagonal: rows sum to one, equal neighbours have ½."""
    matrix = np.diag(overlap, 1) + np.diag(overlap, -1)
    return matrix + np.diag(1 - matrix.sum(1))
