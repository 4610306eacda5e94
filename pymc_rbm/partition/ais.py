"""Annealing estimates log Z: forward from below, in reverse from above, and one direction checks the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.annealing import Run, adapted, anneal, explored, fitted_base, visible_starts
from pymc_rbm.partition.estimate import LogPartitionEstimate, log_mean_exp, weight_diagnostics
from pymc_rbm.partition.path import Path, States
from pymc_rbm.support.work import Work

__all__ = ["Effort", "Prepared", "ais", "prepared", "reverse_ais", "unseen_reasons", "unseen_weight"]

CHAINS, CHAIN_SWEEPS = 100, 30
PILOT = 100
CHECKED = 20
UNSEEN = 0.5
MOST_VARIANCE = 0.5
MOST_TEMPERATURES = 10**7
"""The most temperatures that a budget is spent on, some hundreds of megabytes. Harder machines need more particles."""
NORMAL = 1.96
"""How many standard errors are half of a 95 % interval."""


@dataclass(frozen=True)
class Effort:
    """How much work to do: a number of temperatures, or a target error within a budget of chains times sweeps."""

    particles: int = 100
    temperatures: int | None = None
    target_error: float = 0.05
    budget: int = 1_000_000


@dataclass(frozen=True)
class Prepared:
    """A path with a fitted base, and states of the machine that were not made by annealing."""

    path: Path
    states: States


def prepared(
    machine: Machine, base_mean: np.ndarray | None, rows: np.ndarray | None, rng: np.random.Generator, work: Work
) -> Prepared:
    """Run the machine's chains from dispersed starts, and fit the base to their means or to those of the data."""
    path = Path(machine, tuple(np.zeros_like(layer.bias) for layer in machine.layers))
    work.begin("exploring", CHAINS * CHAIN_SWEEPS)
    states = explored(path, CHAINS, CHAIN_SWEEPS, rng, work)
    fitted = fitted_base(path, states, rng, base_mean)
    if not np.isfinite(fitted.log_z_base):
        raise ValueError(
            "The means of the machine's own chains are not finite, so the machine cannot be normalised. Make its "
            "weights smaller."
        )
    spread = np.linspace(0, CHAINS - 1, CHECKED).astype(int)
    states = [x[spread] for x in states]
    given = None if rows is None or not len(rows) else visible_starts(path, rows)
    if given is not None:
        chosen = rng.choice(len(given[0]), min(CHECKED, len(given[0])), replace=False)
        states = [np.concatenate([x, y[chosen]]) for x, y in zip(states, given, strict=True)]
    return Prepared(fitted, states)


def ais(start: Prepared, effort: Effort, rng: np.random.Generator, work: Work) -> LogPartitionEstimate:
    """Run annealed importance sampling with temperatures that a pilot run placed; see `log_partition`."""
    return _forward(start, effort, rng, work)[0]


def _forward(start: Prepared, effort: Effort, rng: np.random.Generator, work: Work) -> tuple[LogPartitionEstimate, Run]:
    path, began = start.path, work.done
    run, betas = _main_run(path, effort, rng, work)
    log_weights = path.log_z_base + run.increments
    estimate, error = log_mean_exp(log_weights)
    found, reasons = weight_diagnostics(log_weights)
    if not work.interrupted:
        found["unseen_weight"] = unseen_weight(start, betas, estimate, run.finished, rng, work)
        reasons += unseen_reasons(found["unseen_weight"], run.finished)
        # The error covers one particle more, or less, of those that weigh most.
        error = float(np.hypot(error, np.log1p(min(UNSEEN, found["unseen_weight"])) / NORMAL))
    if work.interrupted:
        reasons.append(run.interruption)
    made = {"particles": run.finished, "interrupted": work.interrupted, "sweeps": work.done - began}
    diagnostics = {**found, "increment_deviation": np.sqrt(run.variance)}
    result = LogPartitionEstimate(estimate, error, "ais", log_weights, betas, diagnostics, tuple(reasons), made=made)
    return result, run


def _main_run(path: Path, effort: Effort, rng: np.random.Generator, work: Work) -> tuple[Run, np.ndarray]:
    """Run a pilot, place temperatures and anneal; for a target error, repeat with more temperatures until it is met.

    With log-weights of variance σ² (about 1/temperatures) the relative variance of their mean is (exp σ² -
    1)/particles.
    """
    wanted = effort.temperatures
    length = PILOT if wanted is None else int(np.clip(wanted // 10, 5, 2 * PILOT))
    pilots = max(20, min(PILOT, effort.particles))
    pilot_betas = np.linspace(0, 1, length + 1)
    work.begin("pilot annealing", pilots * length)
    pilot = anneal(path, pilot_betas, rng, work, pilots)
    if wanted is not None:
        betas = adapted(pilot_betas, pilot, wanted)
        work.begin("annealing", effort.particles * wanted)
        return anneal(path, betas, rng, work, effort.particles), betas
    goal = min(np.log1p(effort.particles * effort.target_error**2), MOST_VARIANCE)
    variance, left = float(pilot.increments.var(ddof=1)), effort.budget
    best: tuple[Run, np.ndarray] | None = None
    while True:
        n = int(np.clip(1.2 * length * variance / goal, 2 * length, max(2, left // effort.particles)))
        n = min(n, MOST_TEMPERATURES)
        betas = adapted(pilot_betas, pilot, n)
        work.begin("annealing", effort.particles * n)
        run = anneal(path, betas, rng, work, effort.particles, needed=best is None)
        if best and run.finished < run.wanted:
            return best  # an earlier round that is complete is worth more than a few particles of this one
        best, left = (run, betas), left - effort.particles * n
        length, variance = n, float(run.increments.var(ddof=1))
        met = log_mean_exp(run.increments)[1] <= effort.target_error and variance <= 2 * MOST_VARIANCE
        if met or work.interrupted or left < 2 * effort.particles * n or n == MOST_TEMPERATURES:
            return best


def unseen_weight(
    start: Prepared, betas: np.ndarray, estimate: float, particles: int, rng: np.random.Generator, work: Work
) -> float:
    """Return the weight that a particle which ends in a state of the machine's chains would have, per sum of weights.

    With r(v) = exp(-F(v)) / (Ẑ p_ann(v)) from reverse annealing, which is about one where annealing goes as often as it
    should, the result is max r / particles.
    """
    coarse = betas[::-2] if len(betas) > 20 else betas[::-1]
    if coarse[-1] != 0:
        coarse = np.r_[coarse, 0]
    work.begin("reverse check", len(start.states[0]) * len(coarse))
    run = anneal(start.path, coarse, rng, work, len(start.states[0]), start.states, needed=False)
    implied = np.max(start.path.log_z_base - run.increments, initial=-np.inf)
    return float(np.exp(min(700.0, implied - estimate)) / particles)


def unseen_reasons(weight: float, particles: int) -> list[str]:
    """Return the reasons that `unseen_weight` gives against an estimate."""
    if weight <= UNSEEN:
        return []
    return [
        "the machine's own chains (or its data) are where annealing does not go: one particle there would weigh "
        f"{weight:.2g} times as much as all {particles} together"
    ]


def reverse_ais(
    start: Prepared, effort: Effort, rows: np.ndarray | None, rng: np.random.Generator, work: Work
) -> LogPartitionEstimate:
    """Anneal in reverse from data rows, or from the ends of a forward run; see `log_partition`."""
    path, began = start.path, work.done
    forward, forward_run = _forward(start, effort, rng, work)
    if work.interrupted:
        return forward
    starts = forward_run.states if rows is None else _chosen_rows(path, rows, effort.particles, rng)
    work.begin("reverse annealing", len(starts[0]) * len(forward.betas))
    run = anneal(path, forward.betas[::-1], rng, work, len(starts[0]), starts, needed=False)
    if run.finished < 2:
        return replace(forward, reasons=(*forward.reasons, "interrupted before the reverse runs"))
    log_weights = path.log_z_base - run.increments
    found: dict[str, float] = {}
    reasons = [f"forward annealing: {reason}" for reason in forward.reasons]
    if rows is None:
        # Over draws of the machine, such as the weighted ends of a forward run, exp(increments) has the mean Z_0 / Z.
        inverse, error = log_mean_exp(-log_weights, forward_run.increments[: run.finished])
        estimate = -inverse
        found, own_reasons = weight_diagnostics(forward_run.increments[: run.finished] - log_weights)
        reasons += own_reasons
    else:
        estimate, error = float(log_weights.mean()), float(log_weights.std(ddof=1) / np.sqrt(run.finished))
    gap = estimate - forward.estimate
    if abs(gap) > 3 * np.hypot(error, forward.standard_error) + 0.1:
        reasons.append(f"reverse and forward annealing differ by {gap:.2f} nats")
    if work.interrupted:
        reasons.append(run.interruption)
    return LogPartitionEstimate(
        estimate,
        error,
        "reverse_ais",
        log_weights,
        forward.betas,
        {**found, "gap": gap},
        tuple(reasons),
        made={"particles": run.finished, "interrupted": work.interrupted, "sweeps": work.done - began},
        parts={"ais": forward},
    )


def _chosen_rows(path: Path, rows: np.ndarray, most: int, rng: np.random.Generator) -> States:
    starts = visible_starts(path, rows)
    if starts is None:
        raise ValueError(
            "Reverse annealing from data needs hidden units that are independent given the data, and those of this "
            "machine are coupled. Leave data out, or use method='compare'."
        )
    chosen = rng.choice(len(rows), min(most, len(rows)), replace=False)
    return [x[chosen] for x in starts]
