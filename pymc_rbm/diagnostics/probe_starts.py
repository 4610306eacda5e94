"""Probes start from states that were chosen to lead to other modes, if there are any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out

from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.partition.annealing import steps_of_segment
from pymc_rbm.partition.path import Path
from pymc_rbm.sampling.dispersal import dispersed_states, heated
from pymc_rbm.sampling.observables import functionals, leading_directions
from pymc_rbm.sampling.sweep import sweep
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.units.unit import Unit

__all__ = ["annealed", "base_path", "bias_of", "nearest", "starts"]

EACH = 4  # the number of probes of a kind
TEMPERATURES = 200
HOT_SWEEPS = 20
MOST_STATES = 1000
"""The most draws from which means of hidden units are taken."""


def starts(machine: Machine, states: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return visible states to start probes from, by kind, given states of the draws, shape (rows, visible).

    For finite visible units: ``complement``, every unit of a drawn state turned to its other extreme. ``reflection``: a
    drawn state mirrored, about the middle of the units' range, across a leading singular direction of W, and rounded.
    ``extreme``: the states with the largest and the smallest projection on such a direction. ``tempered``: annealed
    from independent uniform units to the machine.

    Real units have no extremes, but their hidden units have: they are drawn given hidden states. ``complement``: the
    hidden state of a drawn one, turned. ``extreme``: hidden states with the largest and the smallest projection on a
    right singular vector. ``tempered``: at rising β of ``exp(-βE)``, from where modes overlap.

    All have ``dispersed``: every level of activity, of real units that of the hidden ones (`dispersal`); and, where
    hidden units are finite, ``rare``: the hidden state of a drawn one with one unit at the value that draws have least.
    """
    unit = machine.layers[VISIBLE].unit
    found = {"dispersed": dispersed_states(machine, EACH, rng)}
    if unit.finite:
        found |= _of_finite_units(machine, states, rng)
    some = states[rng.permutation(len(states))[:MOST_STATES]]
    if len(machine.layers) > 1 and machine.layers[HIDDEN].unit.finite:
        found |= _of_hidden_states(machine, some, rng, complement_and_extreme=not unit.finite)
    if not unit.finite:
        found["tempered"] = _melted(machine, np.concatenate([*found.values(), some[:EACH]]), rng)
    return {kind: x.astype(unit.dtype) for kind, x in found.items() if len(x)}


def _of_finite_units(machine: Machine, states: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    unit, size = machine.layers[VISIBLE].unit, states.shape[1]
    (low, high), middle = unit.ends, unit.middle
    directions = leading_directions(machine).T
    chosen = states[rng.permutation(len(states))[:EACH]].astype("float64")
    found = {"complement": nearest(unit, low + high - chosen)}
    mirrored = [x - 2 * ((x - middle) @ u) * u for u in directions for x in chosen[:2]]
    found["reflection"] = nearest(unit, np.reshape(mirrored, (-1, size)))
    far = np.max(high - low) / np.finfo(float).eps  # far beyond the units' range, however small the entries of u are
    found["extreme"] = nearest(unit, np.reshape([far * s * u for u in directions for s in (1, -1)], (-1, size)))
    path = base_path(machine, np.zeros(size))
    found["tempered"] = annealed(path, path.base_states(rng, EACH)[0], rng, TEMPERATURES)[0]
    return found


def _of_hidden_states(
    machine: Machine, states: np.ndarray, rng: np.random.Generator, complement_and_extreme: bool
) -> dict[str, np.ndarray]:
    """Draw visible units given hidden states that were chosen to lead to other modes."""
    unit, (means_of, draw) = machine.layers[HIDDEN].unit, _hidden_functions(machine.template)
    means = means_of(states, *machine.parameters)
    hidden = {"rare": _rare(unit, means)}
    if complement_and_extreme:
        low, high = unit.ends
        hidden["complement"] = nearest(unit, low + high - means[:EACH])
        _, s, directions = np.linalg.svd(np.asarray(machine.couplings[0].weights), full_matrices=False)
        far = np.max(high - low) / np.finfo(float).eps
        ends = [far * sign * u for u in directions[: EACH // 2][s[: EACH // 2] > 0] for sign in (1, -1)]
        hidden["extreme"] = nearest(unit, np.reshape(ends, (-1, means.shape[1])))
    chosen = {kind: h.astype(unit.dtype) for kind, h in hidden.items() if len(h)}
    return {kind: _drawn(draw, rng, h, *machine.parameters) for kind, h in chosen.items()}


def _rare(unit: Unit, means: np.ndarray) -> np.ndarray:
    """Return hidden states of draws with one unit set to the value that draws have least often, the rarest value first.

    A value's share among draws is its frequency for one-hot units, else how near the mean is to the value's end. Values
    with a share of a tenth or more need no probe.
    """
    candidates, start = [], 0
    for family, n in unit.parts(means.shape[1]):
        own = means[:, start : start + n].mean(0)
        if family.width > 1:
            candidates += [
                (own[k], start + k // family.width * family.width, family, k % family.width) for k in range(n)
            ]
        else:
            low, high = family.ends
            level = (own - low) / (high - low)
            candidates += [(s[k], start + k, family, e) for e, s in ((low, 1 - level), (high, level)) for k in range(n)]
        start += n
    rare = sorted((x for x in candidates if x[0] < 1 / 10), key=lambda x: x[0])[: 2 * EACH]
    found = nearest(unit, means[np.arange(len(rare)) % len(means)])
    for h, (_, entry, family, value) in zip(found, rare, strict=True):
        h[entry : entry + family.width] = np.eye(family.width)[value] if family.width > 1 else value
    return found


def _melted(machine: Machine, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Run chains of real units at rising β, from one at which the barrier between two states is one nat, to β = 1."""
    others = states[rng.permutation(len(states))]
    own, other, between = (
        functionals(machine, x.astype(states.dtype))["free_energy"] for x in (states, others, (states + others) / 2)
    )
    barrier = float((between - np.minimum(own, other)).max())
    rising = np.geomspace(1 / max(barrier, 2.0), 1, TEMPERATURES)
    advance, v = _heated_function(machine.template), states[rng.permutation(len(states))[: 2 * EACH]]
    for beta in (*np.full(HOT_SWEEPS, rising[0]), *rising):
        v = _drawn(advance, rng, v, beta, *machine.parameters)
    return v


def _drawn(function: Callable[..., Any], rng: np.random.Generator, *arguments: Any) -> np.ndarray:
    """Draw by a compiled function, and advance the generator."""
    next_rng, x = function(rng, *arguments)
    rng.bit_generator.state = next_rng.bit_generator.state
    return x


@remembered(64)
def _heated_function(template: Machine):
    """Compile (rng, v, beta, parameters…) -> rng, v after a sweep of the machine at β."""
    machine, inputs = template.symbolic()
    rng, beta = pt.random.rng("rng"), pt.dscalar("beta")
    v = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype)
    hot = heated(machine, beta)
    (new, *_), next_rng = sweep(hot, hot.at(v), rng)
    outputs = [Out(next_rng, borrow=True), new.astype(v.dtype)]
    return pytensor.function([In(rng, mutable=True), v, beta, *inputs], outputs, mode=INTERPRETED)


@remembered(64)
def _hidden_functions(template: Machine):
    """Compile (v, parameters…) -> means of the hidden units, and (rng, h, parameters…) -> rng, visible units."""
    machine, inputs = template.symbolic()
    units = [layer.unit for layer in machine.layers]
    rng, v, h = pt.random.rng("rng"), pt.matrix(dtype=units[VISIBLE].dtype), pt.matrix(dtype=units[HIDDEN].dtype)
    options = {"mode": INTERPRETED, "on_unused_input": "ignore"}
    means = pytensor.function([v, *inputs], machine.mean(HIDDEN, machine.at(v)), **options)
    (new, _), next_rng = sweep(machine, [None, h], rng, clamped=[None, True])
    inputs, outputs = [In(rng, mutable=True), h, *inputs], [Out(next_rng, borrow=True), new]
    return means, pytensor.function(inputs, outputs, **options)


def nearest(unit: Unit, x: np.ndarray) -> np.ndarray:
    """Return the states nearest to rows of real numbers, unit by unit; the first state of those equally near."""
    found, start = [], 0
    for family, n in unit.parts(x.shape[-1]):
        states = np.reshape(np.array(family.states), (-1, family.width))
        own = x[..., start : start + n]
        # The state nearest to x maximises its product with x minus half its square.
        score = np.reshape(own, (-1, family.width)) @ states.T - (states**2).sum(1) / 2
        found.append(states[score.argmax(1)].reshape(own.shape))
        start += n
    return np.concatenate(found, axis=-1)


def base_path(machine: Machine, bias: np.ndarray) -> Path:
    """Return the path from independent units, the visible ones with the given biases, to the machine."""
    return Path(machine, (bias, *(np.zeros_like(layer.bias) for layer in machine.layers[HIDDEN:])))


def bias_of(machine: Machine, states: np.ndarray) -> np.ndarray:
    """Return biases of independent visible units with the means of ``states``; those of finite units are shrunk."""
    unit = machine.layers[VISIBLE].unit
    finite = np.concatenate([np.full(n, family.finite) for family, n in unit.parts(states.shape[-1])])
    shrunk = (states.sum(0) + unit.middle) / (len(states) + 1)
    return unit.bias_of_mean(np.where(finite, shrunk, states.mean(0)))


def annealed(
    path: Path, states: np.ndarray, rng: np.random.Generator, temperatures: int, backwards: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Anneal visible states along a path, up or down; return the ends and the log-weights.

    The exponential of the log-weights (backwards, its inverse) has the mean Z (or 1/Z).
    """
    betas = np.linspace(0, 1, temperatures)[:: -1 if backwards else 1]
    total, length = np.zeros(len(states)), steps_of_segment(path, len(states))
    for begin in range(0, temperatures - 1, length):  # Ctrl-C is raised after each piece
        [states], increments = path.walk(rng, betas[begin : begin + length + 1], [states], backwards)
        total += increments.sum(0)
    return states, path.log_z_base + (-total if backwards else total)
