"""Sum rows of data over their missing entries: over all completions, or over draws of completions."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.learning.goal import LogSums, free_energies_of
from pymc_rbm.learning.patterns import MOST_COMPLETIONS, completed, number_of_completions
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.sweep import sweeps as run_sweeps
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED

__all__ = ["data_sums"]

DRAWN, LEAST_DRAWN, SWEEPS = 2**13, 10, 100
"""How many completions are drawn for all rows together, and for each row at least, and after how many sweeps."""


def data_sums(
    machine: Machine, rows: np.ndarray, weights: np.ndarray, missing: np.ndarray | None, rng: np.random.Generator
) -> LogSums:
    """Return the data's term of the log-likelihood, ``Σ w log Σ_missing exp(-F)`` with weights that sum to one.

    The sum is over all completions where there are at most 2¹⁶. Otherwise some are drawn, by clamped Gibbs that starts
    at the rows as they are filled in, and the sum is relative to that of ``machine``.
    """
    weights = weights / weights.sum()
    if missing is None or not missing.any():
        return LogSums(rows, np.arange(len(rows)), weights)
    unit = machine.layers[VISIBLE].unit
    if np.isfinite(total := number_of_completions(unit, missing)) and total <= MOST_COMPLETIONS:
        each = [completed(unit, row, where) for row, where in zip(rows, missing, strict=True)]
        sizes = np.array([len(x) for x in each])
        return LogSums(np.concatenate(each).astype(unit.dtype), np.cumsum(sizes) - sizes, weights)
    n = max(LEAST_DRAWN, DRAWN // len(rows))
    known = np.repeat(~missing, n, axis=0)
    _, states = _clamped_function(machine.template)(rng, np.repeat(rows, n, axis=0), known, SWEEPS, *machine.parameters)
    offsets = np.log(n) - free_energies_of(machine, states)
    return LogSums(states, np.arange(0, len(states), n), weights, offsets)


@remembered(64)
def _clamped_function(template: Machine):
    """Compile (rng, rows, known, sweeps, parameters…) -> rng, rows with the rest drawn given the known entries."""
    machine, inputs = template.symbolic()
    rng, v = pt.random.rng("rng"), pt.matrix(dtype=template.layers[VISIBLE].unit.dtype)
    known, n = pt.matrix(dtype="bool"), pt.lscalar("sweeps")
    (v_new, *_), next_rng = run_sweeps(machine, machine.at(v), rng, n, clamped=machine.at(known))
    return pytensor.function([rng, v, known, n, *inputs], [next_rng, v_new], mode=INTERPRETED)
