"""Find unnormalised probabilities of rows with missing entries, which are summed out with all other layers.

Rows with the same entries missing are treated together, as machines that differ in their biases (`clamping`). Their
log Z has a closed form where no couplings are left, is a sum over the states of the smaller layer where it has at most
2¹⁶, and is otherwise an estimate by annealed importance sampling, with particles of its own for every row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.likelihood.clamping import clamped
from pymc_rbm.machine.enumeration import is_enumerable
from pymc_rbm.machine.machine import Layer, Machine
from pymc_rbm.machine.validation import check_states
from pymc_rbm.partition.annealing import Run, adapted, anneal, explored
from pymc_rbm.partition.estimate import FEW_EFFECTIVE, log_mean_exp
from pymc_rbm.partition.exact import enumerated
from pymc_rbm.partition.path import Path, States
from pymc_rbm.sampling.sweep import kept_layers, sweep
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.work import Work

__all__ = ["Marginals", "free_energies", "marginals"]

CHUNK_ENTRIES = 2**20
PILOT = 50
SWEEPS = 20
VARIANCE = 0.1
"""The variance of a row's log-weights to aim at; the log of their mean weight is then off by about 0.05 / particles."""


@dataclass(frozen=True)
class Marginals:
    """Sums ``log Σ exp(-E)`` over all units that are not known, one a row, with standard errors, 0 where exact.

    ``annealed`` says which rows are estimates, ``uncertain`` how many of these have too few effective particles, so
    that their errors cannot be trusted.
    """

    values: np.ndarray
    errors: np.ndarray
    annealed: np.ndarray
    uncertain: int


def marginals(
    machine: Machine,
    rows: np.ndarray,
    missing: np.ndarray,
    particles: int | None,
    budget: int,
    rng: np.random.Generator,
    work: Work,
) -> Marginals:
    """Sum out the ``missing`` entries of ``rows``, both of shape (rows, visible), and all other layers.

    Annealing takes at most about ``budget`` sweeps of a particle, over all rows together. Where ``particles`` is None
    nothing is annealed: ValueError where a sum is not exact.
    """
    values, errors = np.empty(len(rows)), np.zeros(len(rows))
    annealed, effective = np.zeros(len(rows), bool), np.full(len(rows), np.inf)
    patterns, which = np.unique(missing, axis=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        for here in _chunks(np.flatnonzero(which == i), machine):
            _heed(work)
            held = clamped(machine, rows[here], pattern)
            exact = _exact(held.machine, work)
            if exact is not None:
                log_z = exact
            elif particles is None:
                raise ValueError(
                    f"Row {here[0]} has {pattern.sum()} of {len(pattern)} entries missing, too many to sum out "
                    "exactly (at most 2¹⁶ states of them, or of the hidden units). Leave such rows out, or mask "
                    "their missing entries in `observed`, so that pm.sample imputes them."
                )
            else:
                most = budget // (len(rows) * particles)
                log_z, errors[here], effective[here] = _annealed(held.machine, particles, most, rng, work)
                annealed[here] = True
            values[here] = log_z - held.energy
    few = min(FEW_EFFECTIVE, (particles or np.inf) / 2)
    return Marginals(values, errors, annealed, int((effective < few).sum()))


def free_energies(machine: Machine, rows: np.ndarray) -> np.ndarray:
    """Return ``F(v)`` of complete rows, for machines whose other layers are not coupled to each other."""
    nothing = np.zeros(rows.shape[1], bool)
    held = [clamped(machine, rows[here], nothing) for here in _chunks(np.arange(len(rows)), machine)]
    return np.concatenate([x.energy - _independent(x.machine) for x in held])


def _chunks(indices: np.ndarray, machine: Machine) -> Iterator[np.ndarray]:
    size = max(1, CHUNK_ENTRIES // (100 * max(np.size(layer.bias) for layer in machine.layers)))
    yield from (indices[i : i + size] for i in range(0, len(indices), size))


def _heed(work: Work) -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed: half of the rows, or of a sum, cannot be used."""
    if work.interrupted:
        raise KeyboardInterrupt


def _exact(machine: Machine, work: Work) -> Any:
    """Return log Z of each row's machine, or None where there are too many states."""
    if not machine.couplings:
        return _independent(machine)
    return enumerated(machine, work) if is_enumerable(machine) else None


def _independent(machine: Machine) -> Any:
    """Return log Z of each row's machine, which has no couplings; zero where it has no layers."""
    return _closed_function(machine.template)(*machine.parameters) if machine.layers else 0.0


def _annealed(
    machine: Machine, particles: int, most: int, rng: np.random.Generator, work: Work
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate log Z of each row's machine; return it with its standard error and number of effective particles."""
    rows = len(machine.layers[0].bias)
    what = f"Annealing of {particles:,} particles for each of {rows:,} rows"
    check_states(machine, rows * particles, what, "Take fewer particles.")
    layers = tuple(Layer(x.unit, np.repeat(x.bias, particles, 0)) for x in machine.layers)
    path = Path(Machine(layers, machine.couplings), tuple(x.bias for x in layers))
    work.begin("summing out", rows * particles * (SWEEPS + PILOT))
    states = explored(path, rows * particles, SWEEPS, rng, work)
    path = _fitted(path, states, particles, rng)
    betas = np.linspace(0, 1, PILOT + 1)
    pilot = _run(path, betas, rows * particles, rng, work)
    spread = pilot.increments.reshape(rows, particles).var(1, ddof=1).max()
    n = int(np.clip(PILOT * spread / VARIANCE, PILOT, max(PILOT, most)))
    betas = adapted(betas, replace(pilot, drift=pilot.variance), n)
    work.begin("summing out", rows * particles * n)
    total = _run(path, betas, rows * particles, rng, work).increments
    log_weights = (path.log_z_base + total).reshape(rows, particles)
    estimates = np.array([log_mean_exp(x) for x in log_weights])
    w = np.exp(log_weights - log_weights.max(1, keepdims=True))
    return estimates[:, 0], estimates[:, 1], w.sum(1) ** 2 / (w**2).sum(1)


def _run(path: Path, betas: np.ndarray, particles: int, rng: np.random.Generator, work: Work) -> Run:
    run = anneal(path, betas, rng, work, particles, needed=False)
    _heed(work)
    return run


def _fitted(path: Path, states: States, particles: int, rng: np.random.Generator) -> Path:
    """Return the path from independent units with the means of each row's chains, shrunk as if by one more chain."""
    _, *means = _means_function(path.template)(rng, *states, *path.machine.parameters)
    biases = []
    for layer, mean in zip(path.machine.layers, means, strict=True):
        sums = mean.reshape(-1, particles, mean.shape[-1]).sum(1)
        shrunk = (sums + layer.unit.middle) / (particles + 1)
        biases.append(np.repeat(layer.unit.bias_of_mean(shrunk), particles, 0))
    return Path(path.machine, tuple(biases))


@remembered(64)
def _closed_function(template: Machine):
    machine, inputs = template.symbolic(rows=True)
    return pytensor.function(inputs, sum(layer.log_z for layer in machine.layers), mode=INTERPRETED)


@remembered(64)
def _means_function(template: Machine):
    """Compile (rng, kept states, parameters…) -> rng, the means of units given the other layers, after a sweep."""
    machine, inputs = template.symbolic(rows=True)
    rng, kept = pt.random.rng("rng"), kept_layers(template)
    states = [pt.matrix(dtype=template.layers[i].unit.dtype) for i in kept]
    whole = [states[kept.index(i)] if i in kept else None for i in range(len(template.layers))]
    state, next_rng = sweep(machine, whole, rng)
    means = [machine.mean(i, state) for i in range(len(template.layers))]
    return pytensor.function([rng, *states, *inputs], [next_rng, *means], mode=INTERPRETED)
