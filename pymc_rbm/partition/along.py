"""log Z of the top of a ladder is exact at the bottom, with Bennett's ratios added from rung to rung."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.bridging import settled
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.sampling.bottom import exact_log_z_of
from pymc_rbm.sampling.ladder import LEAST_RENEWALS, Ladder, recorded_ladder, with_prefix

__all__ = ["along", "recorded_along"]

LEAST_OVERLAP = 0.03
FEWEST = 10
"""The fewest lifts that an error is taken from."""


def along(
    ladder: Ladder, lifts: int, rng: np.random.Generator, stop: Callable[[], bool] = lambda: False
) -> LogPartitionEstimate | None:
    """Estimate log Z of the ladder's top from ``lifts`` lifts, or fewer if ``stop`` says so; None if these are too few.

    Chains of one place on all rungs swap among themselves only, so that each place is one of many independent
    ensembles, and the error is that of their mean, with Student's t. It is larger where they drift together.
    """
    made: list[list[list[np.ndarray]]] = []
    while len(made) < lifts and not stop():
        made.append(ladder.lift(rng))
    if len(made) < FEWEST or len(ladder.trips) < 2:  # a single ensemble has no spread
        return None
    up, down = (np.array([[pair[i] for pair in lift] for lift in made]) * sign for i, sign in ((0, 1), (1, -1)))
    found = settled(up, down)
    error = max(found.standard_error, abs(found.drift)) if found.moves else found.standard_error
    diagnostics = {
        "least_overlap": float(found.overlap.min()),
        "rejection": 1 - ladder.acceptances,
        "communication_barrier": float((1 - ladder.acceptances).sum()),
        "round_trips": float(ladder.trips.sum()),
        "renewals": float(ladder.renewals),
        "drift": found.drift,
    }
    return LogPartitionEstimate(
        exact_log_z_of(ladder.rungs[0].machine) + float(found.steps.sum()),
        error,
        "ladder",
        diagnostics=diagnostics,
        reasons=tuple(_reasons(diagnostics, found.moves)),
        degrees_of_freedom=found.ensembles - 1,
        made={"rungs": len(ladder.rungs), "ensembles": found.ensembles, "draws": len(found.influence)},
    )


def _reasons(found: dict, moves: bool) -> list[str]:
    reasons = []
    if found["least_overlap"] < LEAST_OVERLAP:
        reasons.append(f"neighbouring rungs overlap by only {found['least_overlap']:.3f}")
    if moves:
        reasons.append(
            f"the estimate still moves, by {found['drift']:.2f} nats from the first half of the draws to the second"
        )
    if found["renewals"] < LEAST_RENEWALS:
        reasons.append(
            f"all chains at the top have become new ones from the bottom {found['renewals']:.0f} times, fewer "
            f"than {LEAST_RENEWALS}"
        )
    return reasons


def recorded_along(tree: Any, machine: Machine) -> LogPartitionEstimate | None:
    """Return the estimate that `fit` made along the ladder of this very machine; None if it made none."""
    found = recorded_ladder(tree, machine)
    if found is None:
        return None
    name, group = found
    if f"{name}_log_z_estimate" not in group:
        return None
    prefix = f"{name}_log_z_"
    values, attrs = with_prefix(group, prefix), with_prefix(group.attrs, prefix)
    diagnostics = {key: x.values[()] for key, x in with_prefix(values, "diagnostic_").items()}
    return LogPartitionEstimate(
        float(values["estimate"]),
        float(values["standard_error"]),
        "ladder",
        diagnostics=diagnostics,
        reasons=tuple(filter(None, str(attrs["reasons"]).split("; "))),
        degrees_of_freedom=int(attrs["ensembles"]) - 1,
        made={key: int(attrs[key]) for key in ("rungs", "ensembles", "draws")},
    )
