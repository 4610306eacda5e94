r"""Passes through a stack of restricted machines go up by p(h | v) and down by p(v | h).

In a stack, the hidden units of a machine are the visible units of the next. Layer 0 is the visible layer of the first
machine, layer k the hidden layer of the k-th. A pass hands on means (mean field: deterministic, and an approximation
as soon as it goes through more than one layer) or states (exact draws of the pass).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.formulas import by_chunks
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine, restricted
from pymc_rbm.support.compiled import remembered
from pymc_rbm.units.unit import Unit

__all__ = ["check_stack", "draw_up", "log_density", "states_up", "symbolic_stack", "transposed"]


def log_density(unit: Unit, x: Any, field: Any) -> TensorVariable:
    """Return ``log p(x | field)`` of a layer of independent units, summed over the layer."""
    return (unit.log_base(x) + x * field).sum(-1) - unit.log_normaliser(field).sum(-1)


def check_stack(machines: Sequence[Machine]) -> None:
    """Refuse a stack in which a machine's visible units are not the hidden units of the machine below."""
    for i, machine in enumerate(machines):
        if len(machine.layers) != 2 or [(c.first, c.second) for c in machine.couplings] != [(VISIBLE, HIDDEN)]:
            raise ValueError(
                f"Machine {i + 1} of {len(machines)} must be a restricted machine, of a visible and a hidden layer "
                f"with one coupling between them, got {len(machine.layers)} layers and {len(machine.couplings)} "
                "couplings. Make it by pymc_rbm.restricted."
            )
    for i, (below, above) in enumerate(pairwise(machines), start=1):
        lower, upper = below.layers[HIDDEN], above.layers[VISIBLE]
        if np.shape(lower.bias) != np.shape(upper.bias) or lower.unit.family != upper.unit.family:
            raise ValueError(
                f"Machine {i + 1} must have as visible units the hidden units of machine {i}, which are "
                f"{np.shape(lower.bias)[-1]} of {lower.unit.family!r}; it has {np.shape(upper.bias)[-1]} of "
                f"{upper.unit.family!r}."
            )


def transposed(machine: Machine) -> Machine:
    """Return the machine upside down: Wᵀ, biases and units swapped. Its visible marginal is p(h) of ``machine``."""
    (visible, hidden), [coupling] = machine.layers, machine.couplings
    weights = coupling.weights.T
    return restricted(weights, hidden.bias, visible.bias, hidden.unit, visible.unit)


def symbolic_stack(templates: Sequence[Machine]) -> tuple[list[Machine], list[TensorVariable]]:
    """Return the machines with symbolic inputs for parameters, and these inputs."""
    pairs = [template.symbolic() for template in templates]
    return [machine for machine, _ in pairs], [x for _, inputs in pairs for x in inputs]


def draw_up(machines: Sequence[Machine], v: Any, rng: TensorVariable) -> tuple[list[Any], TensorVariable]:
    """Draw the up-pass ``q(h¹ | v) q(h² | h¹) …``; return symbolic states, ``v`` first, and the next rng."""
    states = [v]
    for machine in machines:
        rng, h = machine.layers[HIDDEN].unit.sample(machine.field(HIDDEN, [states[-1], None]), rng)
        states.append(h)
    return states, rng


def states_up(machine: Machine, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the hidden units given visible states, shape (rows, hidden); ``rng`` advances."""
    own = np.random.Generator(np.random.PCG64(rng.integers(2**63)))

    def draw(part):
        nonlocal own
        own, h = _draw_function(machine.template)(own, part, *machine.parameters)
        return h

    return by_chunks(draw, v)


@remembered(64)
def _draw_function(template: Machine):
    """Compile (rng, visible states, parameters…) -> rng, hidden states."""
    [machine], inputs = symbolic_stack([template])
    rng, v = pt.random.rng("rng"), pt.dmatrix("v")
    [_, h], next_rng = draw_up([machine], v, rng)
    arguments = [In(rng, mutable=True), v, *inputs]
    return pytensor.function(arguments, [Out(next_rng, borrow=True), h], on_unused_input="ignore")
