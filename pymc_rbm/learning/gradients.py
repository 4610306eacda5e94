"""The optimiser gets gradients of the objective that are measured in each unit's own scale, and centred.

Both are the plain gradient times a positive definite matrix, so that the fixed points stay where they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.learning.centring import OFFSET_RATE, centred
from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.estimators.pcd import NegativePhase
from pymc_rbm.learning.objective import intercepts
from pymc_rbm.machine.machine import HIDDEN, Machine
from pymc_rbm.support.arguments import shape_of
from pymc_rbm.units.unit import Unit

__all__ = ["descent"]

Phases = tuple[Observed, Machine, tuple[Any, Any], NegativePhase]
"""An RBM, its machine for the batch, the batch and its weights, the negative phase."""


def descent(
    model: pm.Model, goal: TensorVariable, given: dict[Any, Any], parts: list[Phases], centre: bool
) -> tuple[list[TensorVariable], dict[Any, TensorVariable]]:
    """Return the gradients of minus ``goal`` by the shared parameters, and updates of the offsets of centring.

    ``given`` maps the model's value variables to the shared parameters.
    """
    parameters = list(given.values())
    slopes = pt.grad(-goal, parameters, disconnected_inputs="ignore")
    gradients = dict(zip(parameters, slopes, strict=True))
    scales: dict[Any, Any] = {}
    updates: dict[Any, TensorVariable] = {}
    done: set[TensorVariable] = set()  # machines may share parameters: each is centred once
    owned = []
    for x, machine, _, _ in parts:
        own = [None if p is None else given[model.rvs_to_values[p]] for p in intercepts(model, x)]
        owned.append(own)
        scales |= {p: s for p, s in zip(own, _scales(machine), strict=True) if p is not None and s is not None}
    for p, scale in scales.items():
        gradients[p] = gradients[p] * scale
    for own, part in zip(owned, parts, strict=True):
        if centre and len(own) == 3 and None not in own and not done & set(own):
            updates |= _centre(part, own, gradients)
        done |= {p for p in own if p is not None}
    return [(gradients[p] * scales.get(p, 1)).astype(p.dtype) for p in parameters], updates


def _scales(machine: Machine) -> list[Any]:
    """Return what entries of W, b and c (or U and b) are measured in: the σ of their units; None if units have none.

    Learning in these units multiplies the gradient by them twice. Its curvature is then of order one at any σ, as it
    is for binary units, and a learning rate means the same.
    """
    if not any(layer.unit.parameters for layer in machine.layers):
        return [None] * (len(machine.couplings) + len(machine.layers))
    each = [1 / _per_unit(layer.unit, pt.ones(shape_of(layer.bias)[-1:])) for layer in machine.layers]
    return [*(each[c.first][:, None] * each[c.second][None, :] for c in machine.couplings), *each]


def _per_unit(unit: Unit, ones: Any) -> Any:
    """Return 1/σ for each entry."""
    return pt.sqrt(unit.scaled(ones))


def _centre(part: Phases, own: list[Any], gradients: dict[Any, Any]) -> dict[Any, TensorVariable]:
    """Centre the gradients of a machine's own W, b and c in place; return the updates of the offsets."""
    x, machine, (batch, _), phase = part
    W, b, c = own
    mu = pytensor.shared(x.mean.astype(W.dtype), name=f"{x.name}_visible_offset", shape=b.type.shape)
    units = [layer.unit for layer in machine.layers]
    start = np.full(c.get_value(borrow=True).shape, units[HIDDEN].middle, W.dtype)
    lam = pytensor.shared(start, name=f"{x.name}_hidden_offset", shape=c.type.shape)
    # The gradients are by W, b and c in units of σ, and so are the states.
    offsets = [offset * _per_unit(unit, pt.ones_like(offset)) for unit, offset in zip(units, (mu, lam), strict=True)]
    gradients[W], gradients[b], gradients[c] = centred(gradients[W], gradients[b], gradients[c], *offsets)
    states = [batch, phase.particles]
    visible = sum(v.mean(0) for v in states) / 2
    hidden = sum(machine.mean(HIDDEN, [v, None]).mean(0) for v in states) / 2
    new = {mu: (1 - OFFSET_RATE) * mu + OFFSET_RATE * visible, lam: (1 - OFFSET_RATE) * lam + OFFSET_RATE * hidden}
    return {offset: value.astype(offset.dtype) for offset, value in new.items()}
