"""Make graphs for machines along the path from a base of independent units, and compile functions from them.

A sweep begins with a block of layers that are independent given the rest, so these sum out, and everything here is a
function of the *rest*: ``F_β(rest) = -log Σ_first exp(-E_β)``, the free energy of the visible units in a restricted
machine. Weights of marginal states vary less than those of joint ones, at the same price (Salakhutdinov & Murray 2008).

Functions take base biases and parameters of the machine, and those that draw advance the generator; `path.Path` holds
the numbers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import BinaryLevels, BinaryWalk, along_path
from pymc_rbm.machine.enumeration import is_binary_pair
from pymc_rbm.machine.machine import Machine, State
from pymc_rbm.sampling.sweep import kept_layers, sweep
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED, by_kernels

__all__ = [
    "base_function",
    "dispersed_function",
    "draws_function",
    "energy_function",
    "levels_function",
    "marginal_energy",
    "means_function",
    "reverse_sweep",
    "step_function",
    "walk_function",
    "walkable",
]


def marginal_energy(machine: Machine, state: State) -> TensorVariable:
    """Return ``F(rest) = -log Σ exp(-E)``, summed over states of the layers that are not kept, one value a row.

    ``F(rest) = E_rest - Σ_i log_normaliser_i(field_i)`` over these layers ``i``, all of the first block of a sweep.
    """
    kept = kept_layers(machine)
    summed_out = [i for i in range(len(machine.layers)) if i not in kept]
    inner = Machine(
        tuple(machine.layers[i] for i in kept),
        tuple(
            replace(c, first=kept.index(c.first), second=kept.index(c.second))
            for c in machine.couplings
            if c.first in kept and c.second in kept
        ),
    )
    summed = sum(machine.layers[i].log_normaliser(machine.field(i, state)) for i in summed_out)
    return inner.energy([state[i] for i in kept]) - summed


def reverse_sweep(machine: Machine, state: State, rng: TensorVariable) -> tuple[list[TensorVariable], TensorVariable]:
    """Run the reversal of `sweep` on the kept layers: draw the layers that it forgets, then the others backwards.

    A sweep draws the first block from the rest, updates the others in turn and forgets what is not kept. Each update
    is reversible with respect to p, so the product backwards is the reversal; in a restricted machine it is the sweep
    itself.
    """
    first, *others = machine.blocks()
    kept = kept_layers(machine)
    for block in [[i for i in first if i not in kept], *reversed(others), [i for i in first if i in kept]]:
        if block:
            held = [None if i in block else True for i in range(len(machine.layers))]
            state, rng = sweep(machine, state, rng, held, backwards=True)
    return list(state), rng


def walkable(machine: Machine) -> Machine:
    """Return the machine with arrays for parameters: of its own type for two binary layers, otherwise float64.

    In float32 the free energies of a step are rounded, each unit's by about 10⁻⁷ of its field; sums are in float64.
    """
    return machine.numeric(machine.dtype if is_binary_pair(machine) else "float64")


def _symbols(
    template: Machine, own_biases: bool = False, dtype: str = "float64"
) -> tuple[Machine, Machine, list[TensorVariable], list[TensorVariable]]:
    """Return symbolic target and base, and the biases and parameters that these are made of."""
    machine, parameters = template.symbolic(own_biases, dtype)
    base = [layer.bias.type() for layer in machine.layers]
    return machine, machine.without_couplings(base), base, parameters


def _state_symbols(template: Machine, ndim: int) -> list[TensorVariable]:
    return [
        pt.tensor(dtype=template.layers[i].unit.dtype, shape=(None,) * ndim, name=f"state_{i}")
        for i in kept_layers(template)
    ]


def _whole(template: Machine, kept: Any) -> list[Any]:
    """Return a state with one entry a layer, None where a sweep draws the layer before reading it."""
    state: list[Any] = [None] * len(template.layers)
    for i, x in zip(kept_layers(template), kept, strict=True):
        state[i] = x
    return state


def _compile(rng: Any, inputs: list[Any], next_rng: Any, outputs: list[Any], walks: bool = False) -> Any:
    """Compile a function of the generator; ``walks`` have a kernel, or a mode of their own."""
    inputs, outputs = [In(rng, mutable=True), *inputs], [Out(next_rng, borrow=True), *outputs]
    if walks:
        return by_kernels(inputs, outputs, on_unused_input="ignore", mode=_mode_of_walks())
    return pytensor.function(inputs, outputs, on_unused_input="ignore", mode=INTERPRETED)


def _mode_of_walks() -> Any:
    # If they were taken out of the loop, the machines of all temperatures would be in memory at once.
    return pytensor.compile.get_default_mode().excluding("scan_push_out_seq")


@remembered(64)
def base_function(template: Machine, own_biases: bool):
    """Compile (base, parameters) -> log Z of the base."""
    _, base, biases, parameters = _symbols(template, own_biases)
    log_z = sum(layer.log_z for layer in base.layers)
    return pytensor.function([*biases, *parameters], log_z, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def energy_function(template: Machine):
    """Compile (states, parameters) -> F of the machine, by row."""
    machine, parameters = template.symbolic()
    states = _state_symbols(template, 2)
    energy = marginal_energy(machine, _whole(template, states))
    return by_kernels([*states, *parameters], energy, on_unused_input="ignore")


@remembered(64)
def draws_function(template: Machine, own_biases: bool):
    """Compile (rng, rows, base, parameters) -> rng, draws of the base."""
    _, base, biases, parameters = _symbols(template, own_biases)
    rng, rows = pt.random.rng("rng"), pt.lscalar("rows")
    next_rng, states = rng, []
    for i in kept_layers(template):
        layer = base.layers[i]
        field = layer.unit.scaled(layer.bias)
        next_rng, x = layer.unit.sample(pt.broadcast_to(field, (rows, field.shape[-1])), next_rng)
        states.append(x)
    return _compile(rng, [rows, *biases, *parameters], next_rng, states)


@remembered(64)
def dispersed_function(template: Machine, own_biases: bool):
    """Compile (rng, rows, parameters) -> rng, dispersed states."""
    machine, parameters = template.symbolic(own_biases)
    rng, rows = pt.random.rng("rng"), pt.lscalar("rows")
    next_rng, start = rng, []
    for layer in machine.layers:
        next_rng, x = layer.unit.dispersed((rows, layer.bias.shape[-1]), next_rng)
        start.append(x)
    kept = kept_layers(template)
    drawn, next_rng = sweep(machine, start, next_rng, [None if i in kept else True for i in range(len(start))])
    states = [pt.concatenate([start[i][: rows // 2], drawn[i][rows // 2 :]]) for i in kept]
    return _compile(rng, [rows, *parameters], next_rng, states)


@remembered(64)
def means_function(template: Machine):
    """Compile (rng, states, parameters) -> rng, shrunk means of all layers."""
    machine, parameters = template.symbolic()
    rng, states = pt.random.rng("rng"), _state_symbols(template, 2)
    state, next_rng = sweep(machine, _whole(template, states), rng)
    means, rows = [], states[0].shape[0] if states else 1
    for i, layer in enumerate(machine.layers):
        each, neutral = machine.mean(i, state), layer.unit.mean(pt.zeros_like(layer.bias))
        neutral = pt.switch(pt.isinf(neutral), each.mean(0), neutral)
        difference = each.mean(0) - neutral
        noise = 4 * each.var(0) / rows
        kept = 1 - noise / pt.maximum(difference**2, noise + 1e-300)
        means.append(neutral + kept * difference * rows / (rows + 1))
    return _compile(rng, [*states, *parameters], next_rng, means)


@remembered(128)
def walk_function(template: Machine, own_biases: bool, reverse: bool, dtype: str):
    """Compile (rng, temperatures, states, base, parameters) -> rng, increments, states; see `Path.walk`."""
    machine, _, base, parameters = _symbols(template, own_biases, dtype)
    rng, betas, states = pt.random.rng("rng"), pt.vector("betas", dtype=dtype), _state_symbols(template, 2)
    walk = partial(_walk, reverse)
    *outputs, next_rng = along_path(BinaryWalk, walk, machine, base, states, rng, [betas], name="Walk", reverse=reverse)
    return _compile(rng, [betas, *states, *base, *parameters], next_rng, outputs, walks=True)


@remembered(128)
def step_function(template: Machine, own_biases: bool, reverse: bool, dtype: str):
    """Prepare (rng, beta, next beta, states, base, parameters) -> rng, increment, states: a step, by NumPy.

    A loop of 20 seconds' compiling is worth that only if it is long: on a hundred thousand entries NumPy takes 1.3 to
    1.6 times as long for a step as numba.
    """
    machine, _, base, parameters = _symbols(template, own_biases, dtype)
    rng, betas, states = pt.random.rng("rng"), [pt.scalar(dtype=dtype) for _ in range(2)], _state_symbols(template, 2)
    increment, new, next_rng = _step(reverse, machine, base, states, rng, *betas)
    return _compile(rng, [*betas, *states, *base, *parameters], next_rng, [increment, *new])


def _step(
    reverse: bool, machine: Machine, base: Any, states: Any, rng: Any, beta: Any, next_beta: Any
) -> tuple[TensorVariable, list[TensorVariable], TensorVariable]:
    """Return increment, kept states and rng of one step of `Path.walk` as a graph."""
    old, base_machine = _whole(machine, states), machine.without_couplings(base)
    here, there = machine.interpolate(base_machine, beta), machine.interpolate(base_machine, next_beta)
    if reverse:
        new, rng = reverse_sweep(here, old, rng)
        increment = marginal_energy(here, new) - marginal_energy(there, new)
    else:
        increment = marginal_energy(here, old) - marginal_energy(there, old)
        new, rng = sweep(there, old, rng)
    return increment.astype("float64"), [new[i] for i in kept_layers(machine)], rng


def _walk(reverse: bool, machine: Machine, base: Any, states: Any, rng: Any, betas: Any) -> list[Any]:
    """Return increments, states and rng of `Path.walk` as a graph."""
    kept = kept_layers(machine)

    def step(beta, next_beta, *args):
        rest = iter(args)
        old, rng, inner_base = [next(rest) for _ in kept], next(rest), [next(rest) for _ in base]
        increment, new, rng = _step(reverse, machine.with_parameters(list(rest)), inner_base, old, rng, beta, next_beta)
        return *new, rng, increment

    *traces, next_rng, increments = pytensor.scan(
        step,
        sequences=[betas[:-1], betas[1:]],
        outputs_info=[*states, rng, None],
        non_sequences=[*base, *map(pt.as_tensor, machine.parameters)],
        return_updates=False,
    )
    return [increments, *(x[-1] for x in traces), next_rng]


@remembered(64)
def levels_function(template: Machine, dtype: str):
    """Compile (rng, levels below, own, above, states, base, parameters) -> rng, steps, states for `Path`."""
    machine, _, base, parameters = _symbols(template, dtype=dtype)
    rng, betas = pt.random.rng("rng"), [pt.vector(dtype=dtype) for _ in range(3)]
    states = _state_symbols(template, 3)
    *outputs, next_rng = along_path(BinaryLevels, _levels, machine, base, states, rng, betas, name="Levels")
    return _compile(rng, [*betas, *states, *base, *parameters], next_rng, outputs, walks=True)


def _levels(machine: Machine, base: Any, states: Any, rng: Any, *betas: Any) -> list[Any]:
    """Return steps, states and rng of `Path.sweep_levels` as a graph."""
    kept = kept_layers(machine)

    def step(*args):
        rest = iter(args)
        levels = [next(rest) for _ in betas]
        old, rng = _whole(machine, [next(rest) for _ in kept]), next(rest)
        inner_biases, inner = [next(rest) for _ in base], machine.with_parameters(list(rest))
        inner_base = inner.without_couplings(inner_biases)
        below, own, above = (inner.interpolate(inner_base, beta) for beta in levels)
        new, rng = sweep(own, old, rng)
        energy = marginal_energy(own, new)
        steps = [(marginal_energy(x, new) - energy).astype("float64") for x in (below, above)]
        return rng, *steps, *(new[i] for i in kept)

    next_rng, down, up, *new = pytensor.scan(
        step,
        sequences=[*betas, *states],
        outputs_info=[rng, *[None] * (2 + len(kept))],
        non_sequences=[*base, *map(pt.as_tensor, machine.parameters)],
        return_updates=False,
    )
    return [down, up, *new, next_rng]
