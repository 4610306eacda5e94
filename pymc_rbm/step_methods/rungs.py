r"""Rungs lead from independent units to the conditional of an RBM variable in a model.

Given all other variables y of the model the variable v has the density ``exp(-F(v; θ(y)) + D(v; y))``, with D the
log-density of what depends on v (`effects`). Let ``y°`` be one value of y, and ``M_t`` the machine with the parameters
``(1 - t) θ_0 + t θ(y°)``, where θ_0 are those of independent units. The rung t has the density

.. math::  p_t(x) \propto \exp(\ell_t(x)),  \qquad  \ell_t(x) = -F(x; M_t) + t\,D(x; y^\circ).

It is drawn exactly at t = 0, and swept by the same updates as v itself: what dependants add to fields, their slopes and
their log-densities are multiplied by t. It does not depend on y, which is what makes swaps right (`swapping`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import HIDDEN, VISIBLE
from pymc_rbm.sampling.dispersal import spread
from pymc_rbm.sampling.sweep import sweeps
from pymc_rbm.step_methods.blocks import Block
from pymc_rbm.step_methods.effects import Effect
from pymc_rbm.step_methods.transition import moved
from pymc_rbm.support.fast_calls import Quick
from pymc_rbm.support.modes import INTERPRETED, by_python
from pymc_rbm.support.reentrant import compiled

__all__ = ["RungFunctions", "check_swaps", "rung_functions"]

SETTLE = 20
"""The number of sweeps of the chains that find the means of the independent units."""


@dataclass(frozen=True)
class RungFunctions:
    """Compiled functions of the rungs of one variable. ``rest`` are the values of other variables, by position."""

    value: str
    """Name of the variable's value."""
    rest: list[str]
    cautions: slice
    """The step's θ (`metropolis`) that belong to the variable."""
    together: bool
    """Whether all rows swap together, because what depends on them joins them."""
    mask: np.ndarray | None
    """Which entries of all rows the value has; None where it has all."""
    means: Callable
    """(rng, chains, value, rest…) -> rng, means of the machine's units over chains from dispersed starts."""
    bias_of_mean: Callable
    bottom: Callable
    """(rng, base, value, rest…) -> rng, value: an exact draw of independent units."""
    pair: Callable
    """(rng, cautions, t_low, t_high, base, low, high, rest…) -> rng, high swept, ℓ_high - ℓ_low at low and at high."""
    log_density: Callable
    """(t, base, value, rest…) -> ℓ_t, by row."""

    def swapped(self, low: np.ndarray, high: np.ndarray, swap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both values after the rows where ``swap`` is true have changed places."""
        if not self.together:
            swap = swap[..., None]
            swap = swap if self.mask is None else np.broadcast_to(swap, self.mask.shape)[self.mask]
        return np.where(swap, high, low), np.where(swap, low, high)


def check_swaps(block: Block) -> None:
    """Refuse a block whose hidden units are a part of the state: swaps are judged by p(v), where these are summed out.

    Raises
    ------
    ValueError
    """
    if VISIBLE in block.rvs and (HIDDEN in block.rvs or block.held[HIDDEN:] == [True]):
        raise ValueError(
            f"BlockGibbs cannot swap {block.rvs[VISIBLE].name}, whose hidden units are observed or have dependants of "
            "their own, along a ladder, because such units cannot be summed out. Take method='gibbs' "
            "for it, in a step of its own."
        )


def rung_functions(model: pm.Model, block: Block, cautions: slice, compile_kwargs: dict) -> RungFunctions:
    """Compile the functions of the rungs of a block of visible units; ``cautions`` are the places of its θ."""
    rv, held, machine = block.rvs[VISIBLE], block.held[VISIBLE], block.machine
    value, unit, bias = model.rvs_to_values[rv], machine.layers[VISIBLE].unit, machine.layers[VISIBLE].bias
    of_rows = bias.ndim > 1  # then the independent units have biases of their own in each row, too
    v, chains = block.state[VISIBLE], pt.lscalar("chains")
    base = pt.tensor("base", dtype="float64", shape=(None,) * (v.ndim if of_rows else 1))
    t, low, high = pt.dscalar("t_high"), value.type(), value.type()
    t_low, theta, rng = pt.dscalar("t_low"), pt.dvector("cautions"), pt.random.rng("rng")

    at_t = _tempered(block, t, base)
    density, together = _log_density(at_t)
    density = density.astype("float64")
    state, next_rng, _ = moved(at_t, 1, rng, {layer: theta[k] for k, layer in enumerate(block.proposals)})
    swept, next_rng = graph_replace([_as_value(state[VISIBLE], held, rv), next_rng], {value: high}, strict=False)
    steps = [
        graph_replace(density, {value: x}, strict=False) - graph_replace(density, {value: x, t: t_low}, strict=False)
        for x in (low, swept)
    ]
    bottom_rng, free = unit.sample(unit.scaled(pt.broadcast_to(base, v.shape)), rng)
    bottom = _as_value(free, held, rv)
    means_rng, means = _means(block, chains, rng, of_rows)

    outputs = [density, *steps, bottom, means]
    rest = [x for x in explicit_graph_inputs(outputs) if x in model.value_vars and x is not value]

    def of(arguments: list[Any], results: list[Any], by: Callable = pm.compile, **more: Any) -> Any:
        ins = [In(x, mutable=True) if x is rng else x for x in [*arguments, *rest]]
        outs = [Out(x, borrow=True) if x.type == rng.type else x for x in results]
        return compiled(ins, outs, by=by, on_unused_input="ignore", **compile_kwargs | more).function

    return RungFunctions(
        value.name,
        [x.name for x in rest],
        cautions,
        together,
        None if held is None else rv.owner.inputs[1].data,
        of([rng, chains, value], [means_rng, means], by=by_python, mode=INTERPRETED),
        unit.bias_of_mean,
        Quick(of([rng, base, value], [bottom_rng, bottom])),
        Quick(of([rng, theta, t_low, t, base, low, high], [next_rng, swept, *steps])),
        Quick(of([t, base, value], [density])),
    )


def _as_value(x: TensorVariable, held: Any, rv: TensorVariable) -> TensorVariable:
    return (x if held is None else x[~held]).astype(rv.dtype)


def _tempered(block: Block, t: TensorVariable, base: TensorVariable) -> Block:
    """Return the block on the rung t."""
    machine = block.machine
    zeros = [pt.zeros_like(pt.as_tensor(layer.bias)) for layer in machine.layers[HIDDEN:]]

    def scaled(e: Effect) -> Effect:  # -inf, of states that are impossible, is none where dependants do not count
        return Effect(e.layers, tuple(pt.switch(pt.eq(t, 0), 0.0, t * x) for x in e.outputs))

    return replace(
        block,
        machine=machine.interpolate(machine.without_couplings([base, *zeros]), t),
        offsets={i: scaled(e) for i, e in block.offsets.items()},
        proposals={i: scaled(e) for i, e in block.proposals.items()},
    )


def _log_density(block: Block) -> tuple[TensorVariable, bool]:
    """Return ``-F + D`` at the state of a block, by row; or of all rows, and True, where D may join them."""
    v = block.state[VISIBLE]
    total, together = -block.machine.free_energy(v), False
    for effect in block.offsets.values():  # D is the field that it adds, times the state
        total = total + (effect(block.state)[0] * v).sum(-1)
    for effect in block.proposals.values():
        d = effect(block.state)[0]
        together = d.ndim < v.ndim - 1
        total = (total.sum() if together else total) + (d.sum(-1) if d.ndim == v.ndim else d)
    return total, together


def _means(block: Block, chains: TensorVariable, rng: TensorVariable, of_rows: bool):
    """Return the next rng and the means of free units over chains of the machine from dispersed starts.

    Where each row has a machine of its own the means are those of rows, else over all rows in which a unit is free.
    """
    machine, held, v = block.machine, block.held[VISIBLE], block.state[VISIBLE]
    unit = machine.layers[VISIBLE].unit
    x, rng = spread(machine, (chains, *v.shape), rng, pairs=not unit.finite)
    free = pt.ones_like(v, dtype="float64") if held is None else pt.as_tensor(~held).astype("float64")
    start = x if held is None else pt.where(held, v, x).astype(x.dtype)
    clamped = None if held is None else [held, *[None] * (len(machine.layers) - 1)]
    (x, *_), rng = sweeps(machine, machine.at(start), rng, SETTLE, clamped)
    free = pt.broadcast_to(free, x.shape)
    over = 0 if of_rows else tuple(range(v.ndim))
    return rng, ((x * free).sum(over) + unit.middle) / (free.sum(over) + 1)
