"""Short runs of chains are loops in Python around one sweep, which NumPy does.

Where there is no kernel, numba takes the half of a minute for a loop of sweeps, and saves NumPy a third of the time of
a sweep of a thousand chains, or a fraction of a millisecond of a few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out

from pymc_rbm.machine.enumeration import is_binary_pair
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.sweep import kept_layers, sweep
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED

__all__ = ["by_steps", "sweeper"]

LONG = 10_000
"""From so many sweeps on, which take NumPy some seconds more than numba, a loop is worth compiling."""


def by_steps(machine: Machine, total: int) -> bool:
    """Whether ``total`` sweeps are few, without a kernel, and free of loops: NumPy does these."""
    has_loops = any(machine.own_coupling(i) for i in range(len(machine.layers)))
    return total <= LONG and not is_binary_pair(machine) and not has_loops


def sweeper(machine: Machine, parameters: Sequence[Any], ndim: int, masked: bool = False) -> Callable[..., Any]:
    """Return a function of (rng, states, n) that returns the generator and the states of all layers after n sweeps.

    States have ``ndim`` axes; those of layers that a sweep draws before it reads them may be None. The number of sweeps
    is at least one. If it is ``masked``, the function also takes a mask, of visible units that keep their value.
    """
    reads = _read(machine, masked)
    one = _sweep_function(machine.template, ndim, tuple((x.dtype.name, x.ndim) for x in parameters), masked)

    def swept(rng, state, n, *held):
        for _ in range(n):
            rng, *state = one(rng, *(state[i] for i in reads), *held, *parameters)
        return rng, state

    return swept


def _read(machine: Machine, masked: bool) -> list[int]:
    """Return the layers of which a sweep needs the states, visible units that keep their value among them."""
    return sorted({*kept_layers(machine), *([VISIBLE] if masked else [])})


@remembered(64)
def _sweep_function(template: Machine, ndim: int, kinds: tuple[tuple[str, int], ...], masked: bool):
    """Prepare (rng, layers that are read, held, parameters) -> rng, states of all layers after a sweep."""
    inputs = [pt.tensor(dtype=dtype, shape=(None,) * k) for dtype, k in kinds]
    machine, rng = template.with_parameters(inputs), pt.random.rng("rng")
    reads = {i: pt.tensor(dtype=template.layers[i].unit.dtype, shape=(None,) * ndim) for i in _read(template, masked)}
    held = [pt.tensor(dtype="bool", shape=(None, None))] if masked else []
    clamped = [*held, *[None] * (len(template.layers) - 1)] if held else None
    state, next_rng = sweep(machine, [reads.get(i) for i in range(len(template.layers))], rng, clamped)
    arguments, outputs = [*reads.values(), *held, *inputs], [Out(next_rng, borrow=True), *state]
    return pytensor.function([In(rng, mutable=True), *arguments], outputs, on_unused_input="ignore", mode=INTERPRETED)
