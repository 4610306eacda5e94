"""Compile the moves of rungs once for each form of machine: sweeps, free energies, and what a swap needs.

States are (chains, visible) or, with clamped units, (chains, rows, visible).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out

from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.sweep import sweeps as run_sweeps
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.fast_calls import Quick
from pymc_rbm.support.generators import advance

__all__ = ["form_of", "free_energy", "pair_function", "swept"]


def swept(
    machine: Machine, states: np.ndarray, rng: np.random.Generator, sweeps: int = 1, held: np.ndarray | None = None
) -> np.ndarray:
    """Return the visible states after some sweeps; the generator moves on."""
    given = [] if held is None else [held]
    function = _sweep_function(*form_of(machine, held is not None))
    next_rng, new = function(rng, states, sweeps, *given, *machine.parameters)
    advance(rng, next_rng)
    return new


def free_energy(machine: Machine, states: np.ndarray) -> np.ndarray:
    """Return ``F`` of visible states."""
    return _energy_function(*form_of(machine, states.ndim > 2))(states, *machine.parameters)[0]


def form_of(machine: Machine, clamped: bool) -> tuple[Machine, str, tuple[int, ...], bool]:
    """Return what functions are compiled for: biases may differ by row where states have an axis of rows."""
    return machine.template, machine.dtype, tuple(map(np.ndim, machine.parameters)), clamped


def _symbolic(template: Machine, dtype: str, ndims: tuple[int, ...]) -> tuple[Machine, list[pt.TensorVariable]]:
    inputs = [pt.tensor(dtype=dtype, shape=(None,) * n) for n in ndims]
    return template.with_parameters(inputs), inputs


def _states_of(template: Machine, clamped: bool) -> pt.TensorVariable:
    return pt.tensor(dtype=template.layers[VISIBLE].unit.dtype, shape=(None,) * (2 + clamped))


def _masks_of(template: Machine, clamped: bool) -> tuple[list[pt.TensorVariable], list[Any] | None]:
    """Return the input that says which units are held, if there is one, and what sweeps take for it."""
    if not clamped:
        return [], None
    held = pt.tensor(dtype="bool", shape=(None, None))
    return [held], [held, *[None] * (len(template.layers) - 1)]


@remembered(64)
def _sweep_function(template: Machine, dtype: str, ndims: tuple[int, ...], clamped: bool):
    machine, inputs = _symbolic(template, dtype, ndims)
    rng, v, n = pt.random.rng("rng"), _states_of(template, clamped), pt.lscalar("sweeps")
    held, masks = _masks_of(template, clamped)
    (new, *_), next_rng = run_sweeps(machine, machine.at(v), rng, n, masks)
    return pytensor.function([In(rng, mutable=True), v, n, *held, *inputs], [Out(next_rng, borrow=True), new])


@remembered(64)
def _energy_function(template: Machine, dtype: str, ndims: tuple[int, ...], clamped: bool):
    machine, inputs = _symbolic(template, dtype, ndims)
    v = _states_of(template, clamped)
    return pytensor.function([v, *inputs], [machine.free_energy(v)], on_unused_input="ignore")


@remembered(64)
def pair_function(template: Machine, dtype: str, ndims: tuple[int, ...], clamped: bool):
    """Compile (rng, x, y, sweeps, held, lower, upper machine) -> rng, y swept, F_upper at x and y, and F_lower at y."""
    (low, below), (high, above) = (_symbolic(template, dtype, ndims) for _ in range(2))
    rng, n = pt.random.rng("rng"), pt.lscalar("sweeps")
    x, y = (_states_of(template, clamped) for _ in range(2))
    held, masks = _masks_of(template, clamped)
    (new, *_), next_rng = run_sweeps(high, high.at(y), rng, n, masks)
    energies = [high.free_energy(x), high.free_energy(new), low.free_energy(new)]
    inputs = [In(rng, mutable=True), x, y, n, *held, *below, *above]
    return Quick(pytensor.function(inputs, [Out(next_rng, borrow=True), new, *energies], on_unused_input="ignore"))
