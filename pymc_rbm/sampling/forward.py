"""Draw forward from p(v), as when PyMC draws from an RBM.

Everything here is the package's own symbolic graphs, compiled once a process, so that no back end has a sampler of its
own. The drawing Op calls `draw_visible` whatever the back end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out

from pymc_rbm.machine.enumeration import cheapest_layer, is_enumerable, joint_states, log_weights_of_states, sized
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.machine.validation import check_states, normalisable_machine
from pymc_rbm.sampling.dispersal import spread
from pymc_rbm.sampling.sweep import sweep, sweeps, sweeps_of_a_piece
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.generators import advance
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.work import parts_of

__all__ = ["draw_visible", "exact_source"]

Shapes = tuple[tuple[int, ...], ...]


def draw_visible(rng: np.random.Generator, rows: int, n_sweeps: int, machine: Machine) -> np.ndarray:
    """Draw independent rows of visible states, shape (rows, visible); ``rng`` advances.

    Draws are exact if one side can be enumerated; otherwise each row is the end of a chain of ``n_sweeps`` sweeps that
    started from a dispersed state of its own.
    """
    machine = normalisable_machine(machine)
    check_states(machine, rows, f"Drawing {rows:,} rows", "Draw fewer at a time.")
    if is_enumerable(machine):
        return exact_source(machine)(rng, rows)
    template, parameters = machine.template, machine.parameters
    first, *others = parts_of(n_sweeps, sweeps_of_a_piece(machine, rows)) or [0]
    next_rng, v = _chain_function(template)(rng, rows, first, *parameters)
    for n in others:
        next_rng, v = _further_function(template)(next_rng, v, n, *parameters)
    advance(rng, next_rng)
    return v


def exact_source(machine: Machine) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Return a function (rng, rows) -> exact draws of the visible states, for a machine that can be enumerated."""
    template, parameters = machine.template, machine.parameters
    shapes = tuple(p.shape for p in parameters)
    layer, cdf = _enumerated_cdf(template, shapes, *(p.tobytes() for p in parameters))
    function = _visible_of_index_function(template, shapes, layer)

    def draw(rng: np.random.Generator, rows: int) -> np.ndarray:
        indices = np.searchsorted(cdf, rng.random(rows) * cdf[-1], side="right")
        next_rng, v = function(rng, indices, *parameters)
        advance(rng, next_rng)
        return v

    return draw


@lru_cache(maxsize=4)
def _enumerated_cdf(template: Machine, shapes: Shapes, *parameters: bytes) -> tuple[int, np.ndarray]:
    """Return the smaller layer and the cumulated weights of its joint states, kept for the next draws."""
    layer, log_weights = _log_weights_function(template, shapes)
    log_p = log_weights(*(np.frombuffer(p).reshape(shape) for p, shape in zip(parameters, shapes, strict=True)))
    return layer, np.cumsum(np.exp(log_p - log_p.max()))


@remembered(64)
def _log_weights_function(template: Machine, shapes: Shapes):
    machine, inputs = sized(template, shapes)
    layer, count = cheapest_layer(machine)
    log_weights = log_weights_of_states(machine, layer, np.arange(int(count)))
    return layer, pytensor.function(inputs, log_weights, on_unused_input="ignore")


@remembered(64)
def _visible_of_index_function(template: Machine, shapes: Shapes, layer: int):
    """Compile (rng, indices, parameters…) -> (rng, v), where v is drawn given the indexed states of ``layer``."""
    machine, inputs = sized(template, shapes)
    rng, indices = pt.random.rng("rng"), pt.lvector("indices")
    states, next_rng = joint_states(machine, layer, indices), rng
    if layer == HIDDEN:
        (states, _), next_rng = sweep(machine, [None, states], rng, clamped=[None, True])
    arguments, outputs = [In(rng, mutable=True), indices, *inputs], [Out(next_rng, borrow=True), states]
    return pytensor.function(arguments, outputs, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def _chain_function(template: Machine):
    """Compile (rng, rows, sweeps, parameters…) -> (rng, v), by chains from dispersed states."""
    machine, inputs = template.symbolic()
    rng, rows, n = pt.random.rng("rng"), pt.lscalar("rows"), pt.lscalar("sweeps")
    visible = machine.layers[VISIBLE]
    start, next_rng = spread(machine, (rows, visible.bias.shape[0]), rng)
    (v, *_), next_rng = sweeps(machine, machine.at(start), next_rng, n)
    return pytensor.function([In(rng, mutable=True), rows, n, *inputs], [Out(next_rng, borrow=True), v])


@remembered(64)
def _further_function(template: Machine):
    """Compile (rng, v, sweeps, parameters…) -> (rng, v), which continues chains."""
    machine, inputs = template.symbolic()
    rng, n = pt.random.rng("rng"), pt.lscalar("sweeps")
    v = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype)
    (new, *_), next_rng = sweeps(machine, machine.at(v), rng, n)
    return pytensor.function([In(rng, mutable=True), v, n, *inputs], [Out(next_rng, borrow=True), new])
