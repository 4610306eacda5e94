"""A layer that is coupled to itself is updated class by class (of units without couplings), or unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Coupling, Machine, State
from pymc_rbm.units.unit import Unit

__all__ = ["update_classes", "update_sites"]


def update_classes(
    machine: Machine, layer: int, state: State, rng: TensorVariable, held: Any, backwards: bool
) -> tuple[TensorVariable, TensorVariable]:
    """Draw the units of each class of ``layer`` given all others, one class after the other; return (state, rng)."""
    state, unit = list(state), machine.layers[layer].unit
    classes: Any = machine.own_coupling(layer).classes  # type: ignore[union-attr]  # it is coupled
    for entries in map(np.array, reversed(classes) if backwards else classes):
        x = pt.as_tensor(state[layer])
        rng, new = unit.at(entries).sample(machine.field(layer, state, entries), rng)
        state[layer] = x[..., entries].set(new if held is None else pt.where(held[..., entries], x[..., entries], new))
    return state[layer], rng


def update_sites(
    machine: Machine, layer: int, state: State, rng: TensorVariable, held: Any, backwards: bool
) -> tuple[TensorVariable, TensorVariable]:
    """Draw the units of ``layer`` one by one, each given all others, in the order of the entries.

    The fields are computed once; a unit that changes by d moves those of all others by ``d U``.
    """
    own: Any = machine.own_coupling(layer)
    unit, x = machine.layers[layer].unit, pt.as_tensor(state[layer])
    fields, start = machine.inflow(layer, state), 0
    if x.ndim < fields.ndim:
        x = pt.broadcast_to(x, fields.shape)
    parts = []
    for family, size in unit.parts(None):
        size = x.shape[-1] if size is None else size
        parts.append((family, start, size))
        start = start + size
    for family, first, size in reversed(parts) if backwards else parts:
        x, fields, rng = _update_part(family, first, size, own, x, fields, rng, held, backwards)
    return x, rng


def _update_part(
    family: Unit, first: Any, size: Any, own: Coupling, x: Any, fields: Any, rng: Any, held: Any, backwards: bool
):
    weights = pt.as_tensor(own.weights)
    given = [weights, *map(pt.as_tensor, family.parameters), *([] if held is None else [pt.as_tensor(held)])]
    count = size // family.width
    order = pt.arange(count)
    if backwards:
        order = order[::-1]

    def one(i, x, fields, rng, weights, *rest):
        parameters = rest[: len(family.parameters)]
        inside = i * family.width + np.arange(family.width)
        entries = first + inside
        unit = family.with_parameters(parameters).at(inside)
        old = x[..., entries]
        rng, new = unit.sample(unit.scaled(fields[..., entries]), rng)
        if held is not None:
            new = pt.where(rest[-1][..., entries], old, new)
        change = unit.scaled(new.astype(weights.dtype)) - unit.scaled(old.astype(weights.dtype))
        rows = weights[..., entries, :]
        sent = pt.dot(change, rows) if rows.ndim == 2 else (change[..., None, :] @ rows)[..., 0, :]
        return x[..., entries].set(new), (fields + sent).astype(fields.dtype), rng

    xs, all_fields, rng = pytensor.scan(
        one, sequences=[order], outputs_info=[x, fields, rng], non_sequences=given, return_updates=False
    )
    return xs[-1], all_fields[-1], rng
