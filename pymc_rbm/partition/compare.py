"""Annealing and tempering, which share little, estimate log Z until they agree or the budget is used up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pymc_rbm.partition.ais import Effort, Prepared, ais
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.tempering import tempering
from pymc_rbm.support.work import Work

__all__ = ["compared"]

FIRST_SHARE = 0.1
GROWTH = 4
NO_MATTER = 0.1


def compared(
    start: Prepared,
    effort: Effort,
    rng: np.random.Generator,
    work: Work,
    recorded: LogPartitionEstimate | None = None,
) -> LogPartitionEstimate:
    """Run longer and longer rounds, each from scratch, until both estimates agree, reliably and precisely enough.

    An estimate that is ``recorded`` already stands in for tempering in a round of its own, if that is the last one.
    """
    budget, latest = max(1000, int(FIRST_SHARE * effort.budget)), None
    if recorded is not None and recorded.reliable:
        annealed = ais(start, replace(effort, budget=budget), rng, work)
        found = _combined(annealed, recorded, effort, work)
        if work.interrupted or found.made["target_met"]:
            return found
    while True:
        try:
            found = _round(start, replace(effort, budget=budget), rng, work)
        except KeyboardInterrupt:
            if latest is None:
                raise
            return _interrupted(latest)
        if work.interrupted:
            return found if latest is None else _interrupted(latest)
        latest = found
        # Annealing and tempering may each use the budget of a round.
        if latest.made["target_met"] or work.done + 2 * GROWTH * budget > effort.budget:
            return latest
        budget *= GROWTH


def _round(start: Prepared, effort: Effort, rng: np.random.Generator, work: Work) -> LogPartitionEstimate:
    first = ais(start, effort, rng, work)
    if work.interrupted:
        return first
    try:
        return _combined(first, tempering(start, effort, rng, work), effort, work)
    except KeyboardInterrupt:
        return _interrupted(first)


def _combined(
    first: LogPartitionEstimate, second: LogPartitionEstimate, effort: Effort, work: Work
) -> LogPartitionEstimate:
    """Return the more reliable, or else more precise, estimate; its error is at least half of the difference."""
    best, other = sorted((first, second), key=lambda x: (not x.reliable, x.standard_error))
    difference = abs(first.estimate - second.estimate)
    error = max(best.standard_error, difference / 2)
    agree = difference <= 2 * np.hypot(first.standard_error, second.standard_error)
    met = agree and error <= effort.target_error and best.reliable and other.reliable
    reasons = best.reasons
    if not agree and difference > NO_MATTER:
        reasons = (*reasons, f"annealing and {second.method} differ by {difference:.2f} nats")
    if work.interrupted:
        reasons = (*reasons, "interrupted: the last round has fewer draws than planned")
    made = {"sweeps": work.done, "interrupted": work.interrupted, "target_error": effort.target_error}
    return replace(
        best,
        standard_error=error,
        method="compare",
        diagnostics={**best.diagnostics, "difference": difference},
        reasons=reasons,
        made={**made, "target_met": bool(met)},
        parts={"ais": first, second.method: second},
    )


def _interrupted(result: LogPartitionEstimate) -> LogPartitionEstimate:
    reasons = (*result.reasons, "interrupted before another estimate could check it")
    return replace(result, reasons=reasons, made={**result.made, "interrupted": True})
