"""The compiled transition of BlockGibbs updates every block in turn, by sweeps or by corrected updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.sampling.sweep import sweep
from pymc_rbm.sampling.sweep import sweeps as run_sweeps
from pymc_rbm.step_methods.blocks import Block, blocks_of
from pymc_rbm.step_methods.effects import Effect
from pymc_rbm.step_methods.metropolis import caution_range, corrected_update, moves_per_sweep
from pymc_rbm.support.fast_calls import Quick
from pymc_rbm.support.reentrant import compiled

__all__ = ["compile_transition", "moved", "one_move", "transition_graph"]


def compile_transition(
    model: pm.Model, rvs: list[TensorVariable], n: int, compile_kwargs: dict, blocks: list[Block] | None = None
):
    """Compile (rng, cautions, values…) -> (rng, new value of each variable, statistics, acceptance).

    ``blocks`` are `blocks_of` the model, if they are known.

    Returns
    -------
    inputs : list of str
        Names of the values.
    ranges : list of (float, float)
        The start and the largest value of θ (`metropolis`) of each corrected layer, for which the function returns a
        pair of acceptance and number of proposals.
    together : int
        The most rows that are accepted or refused together.
    function
        The compiled transition.
    """
    (rng, cautions), (next_rng, *outputs), ranges, together = transition_graph(model, rvs, n, blocks)
    inputs = [x for x in explicit_graph_inputs(outputs) if x in model.value_vars]
    arguments = [In(rng, mutable=True), cautions, *inputs]
    outputs = [Out(next_rng, borrow=True), *outputs]
    function = compiled(arguments, outputs, by=pm.compile, on_unused_input="ignore", **compile_kwargs).function
    return [x.name for x in inputs], ranges, together, Quick(function)


def transition_graph(model: pm.Model, rvs: list[TensorVariable], n: int, blocks: list[Block] | None = None):
    """Return ``(rng, cautions)``, a graph of what `compile_transition` compiles, ``ranges`` and ``together``."""
    rng = next_rng = pt.random.rng("rng")
    cautions = pt.dvector("cautions")
    new: dict[Variable, TensorVariable] = {}
    described: list[tuple[Machine, TensorVariable]] = []
    ranges: list[tuple[float, float]] = []
    together = 1
    acceptance: list[TensorVariable] = []
    seen: set[Variable] = set()  # visible variables, which several hidden ones may share
    for block in blocks_of(model, rvs) if blocks is None else blocks:
        changes = bool(set(ancestors([block.state[VISIBLE]])) & set(new))
        block = _updated(block, new)
        theta = {layer: cautions[len(ranges) + k] for k, layer in enumerate(block.proposals)}
        ranges += [
            caution_range(block.machine.layers[i].unit, block.units[i], block.together[i]) for i in block.proposals
        ]
        together = max([together, *block.together.values()])
        state, next_rng, counts = moved(block, n, next_rng, theta)
        acceptance += counts
        for layer, rv in block.rvs.items():
            x, held = state[layer], block.held[layer]
            new[model.rvs_to_values[rv]] = (x if held is None else x[~held]).astype(rv.dtype)
        source = None if VISIBLE in block.rvs else block.rvs[HIDDEN].owner.inputs[2]
        if source is None or not (changes or source in seen):
            described.append((block.machine, state[VISIBLE]))
            seen.add(source)

    values = [model.rvs_to_values[rv] for rv in rvs]
    outputs = [*(new[x] for x in values), *_statistics(described, values, new), *acceptance]
    return (rng, cautions), [next_rng, *outputs], ranges, together


def _statistics(described, values, new) -> list[TensorVariable]:
    changed = [pt.neq(new[x], x) for x in values]
    with_hidden = [(machine, v) for machine, v in described if len(machine.layers) > 1]
    has_energy = all(machine.layers[VISIBLE].bias is not None for machine, _ in described)
    statistics = [
        sum(machine.free_energy(v).mean() for machine, v in described) if has_energy else np.nan,
        sum(x.sum() for x in changed) / sum(x.size for x in changed),
        sum(v.mean() for _, v in described) / len(described),
        sum(machine.mean(HIDDEN, machine.at(v)).mean() for machine, v in with_hidden) / len(with_hidden)
        if with_hidden
        else np.nan,
    ]
    return [pt.as_tensor(s).astype("float64") for s in statistics]


def _updated(block: Block, new: dict[Variable, TensorVariable]) -> Block:
    """Return the block with the new values of the variables that were updated before it."""
    known = [p for p in block.machine.parameters if p is not None]
    graphs = [pt.as_tensor(x) for x in [*known, *(x for x in block.state if x is not None)]]
    later = iter(graph_replace(graphs, new, strict=False))
    machine = block.machine.with_parameters([None if p is None else next(later) for p in block.machine.parameters])
    state = [None if x is None else next(later) for x in block.state]
    offsets = {i: Effect(e.layers, tuple(e(e.layers, new))) for i, e in block.offsets.items()}
    proposals = {i: Effect(e.layers, tuple(e(e.layers, new))) for i, e in block.proposals.items()}
    return replace(block, machine=machine, state=state, offsets=offsets, proposals=proposals)


def moved(block: Block, n: int, rng: TensorVariable, theta: dict[int, TensorVariable]):
    """Move a block n times; return its state, the next rng and each corrected layer's acceptance and proposals."""
    # Where the other layer is given, one exact draw will do.
    alone = len(block.held) > 1 and sum(held is not True for held in block.held) < 2
    depends = any(set(ancestors(e.outputs)) & set(e.layers) for e in block.offsets.values())
    if block.proposals or depends:
        return _repeated(block, n, rng, theta)
    machine = block.machine
    biases = [layer.bias for layer in machine.layers]
    for i, effect in block.offsets.items():  # as biases that send the same field
        biases[i] = biases[i] + effect.outputs[0] / machine.layers[i].unit.scaled(pt.as_tensor(1.0))
    shifted = machine.with_parameters(replace(machine.by_kind, biases=tuple(biases)))
    if alone:
        state, rng = sweep(shifted, block.state, rng, block.held)
    else:
        state, rng = run_sweeps(shifted, block.state, rng, n, block.held)
    return state, rng, []


def _repeated(block: Block, n: int, rng: TensorVariable, theta: dict[int, TensorVariable]):
    """Run n sweeps of `one_move`, each with enough moves of each turn to choose every unit about once."""
    machine = block.machine
    effects = [*block.offsets.values(), *block.proposals.values()]
    given = list(dict.fromkeys(v for e in effects for v in e.given))
    first = [
        machine.mean(i, block.state).astype(layer.unit.dtype) if x is None else x.astype(layer.unit.dtype)
        for i, (layer, x) in enumerate(zip(machine.layers, block.state, strict=True))
    ]
    parameters = [None if p is None else pt.as_tensor(p) for p in machine.parameters]
    masks = [m if m is None or m is True else pt.as_tensor(m) for m in block.held]
    turns = 1 if block.turns is None else len(block.turns)
    tensors = [x for x in (*parameters, *masks) if x is not None and x is not True]
    # Each once: a parameter may stand for two, and a dependant may read it, too.
    arguments = list(dict.fromkeys([*tensors, *theta.values(), *given]))

    # Everything but the state enters as an explicit argument, so that it is computed once.
    def one(*args):
        rest = iter(args)
        turn = next(rest) if turns > 1 else None
        before, inner_rng = [next(rest) for _ in first], next(rest)
        inner = dict(zip(arguments, rest, strict=True))
        held = [inner.get(m, m) for m in masks]
        state, inner_rng, counts = one_move(
            replace(block, machine=machine.with_parameters([inner.get(p) for p in parameters]), held=held),
            before,
            inner_rng,
            {layer: inner[x] for layer, x in theta.items()},
            {v: inner[v] for v in given},
            turn,
        )
        # A loop takes back what it gives only where the type says the same of the number of rows.
        state = [pt.specify_shape(new, old.type.shape) for new, old in zip(state, before, strict=True)]
        return *state, inner_rng, *counts

    units = [machine.layers[layer].unit for layer in theta]
    moves = n * turns * moves_per_sweep(units, list(theta.values()))
    results = pytensor.scan(
        one,
        sequences=[pt.arange(moves) % turns] if turns > 1 else [],
        outputs_info=[*first, rng, *[None] * len(theta)],
        non_sequences=arguments,
        n_steps=moves,
        return_updates=False,
    )
    states, rng, counts = results[: len(first)], results[len(first)], results[len(first) + 1 :]
    return [x[-1] for x in states], rng, [x.sum(0) for x in counts]


def one_move(
    block: Block,
    state: Sequence[Any],
    rng: TensorVariable,
    theta: dict[int, TensorVariable],
    given: dict[Variable, Variable] | None = None,
    turn: TensorVariable | None = None,
):
    """Update each layer that is not clamped once: exactly, or by a corrected update of the units whose turn it is."""
    state, counts = list(state), {}
    machine = block.machine
    for layer in (layer for group in machine.blocks() for layer in group):
        held = block.held[layer]
        if held is True:
            continue
        if layer in block.proposals:
            effect = partial(block.proposals[layer], given=given)
            if layer in block.joint:
                apart, update = machine.without_own_coupling(layer), block.joint[layer]
                state[layer], rng, *pair = update(apart, layer, state, rng, effect, theta[layer], held)
            else:
                if turn is not None:
                    others = ~pt.as_tensor(block.turns)[turn]
                    held = others if held is None else held | others
                state[layer], rng, *pair = corrected_update(machine, layer, state, rng, effect, theta[layer], held)
            counts[layer] = pt.stack(pair)
            continue
        offset = block.offsets[layer](state, given)[0] if layer in block.offsets else 0
        rng, new = machine.layers[layer].unit.sample(machine.field(layer, state) + offset, rng)
        state[layer] = new if held is None else pt.where(held, state[layer], new)
    return state, rng, [counts[layer] for layer in theta]
