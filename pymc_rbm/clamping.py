"""Machines with some visible units held: what is left is a machine again, and every row has one of its own.

Split the visible units into known ones k and missing ones m. With ``v_k`` held the energy is that of the other layers
(m among them) with the biases ``bias_i + v_kᵀW_ki`` plus a number a row,

    E(v_k, v_m, rest) = E_k(v_k) + E'(v_m, rest),        log Σ exp(-E) = -E_k(v_k) + log Z',

so that summing out what is missing is one more log Z (`marginals`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.machine import VISIBLE, Layer, Machine

__all__ = ["Clamped", "clamped"]


@dataclass(frozen=True)
class Clamped:
    """What is left of a machine, its biases of shape (rows, size), and the energy of what is held, one a row."""

    machine: Machine
    energy: np.ndarray


def clamped(machine: Machine, rows: np.ndarray, missing: np.ndarray) -> Clamped:
    """Hold the visible units that are not ``missing`` at ``rows``.

    Parameters
    ----------
    machine : Machine
        As `Machine.numeric` returns it. Its visible units must not be coupled to each other.
    rows : ndarray, shape (rows, visible)
        Missing entries are not looked at.
    missing : ndarray of bool, shape (visible,)
        Whole units, the same for all rows.
    """
    if any(c.first == c.second == VISIBLE for c in machine.couplings):
        raise ValueError("Missing entries need visible units that are not coupled to each other.")
    known, visible = ~missing, machine.layers[VISIBLE]
    own = _part(visible, known)
    biases, couplings, others = [x.bias for x in machine.layers[1:]], [], list(machine.layers[1:])
    sent = _sent_function(own.unit.family)(rows[:, known], *own.unit.parameters)
    for c in machine.couplings:
        if VISIBLE not in (c.first, c.second):
            couplings.append(c)
            continue
        weights = c.weights if c.first == VISIBLE else c.weights.T
        other = max(c.first, c.second)
        biases[other - 1] = biases[other - 1] + sent @ weights[known]
        if missing.any():
            couplings.append(replace(c, first=VISIBLE, second=other, weights=weights[missing]))
    biases = [np.array(np.broadcast_to(b, (len(rows), np.shape(b)[-1]))) for b in biases]
    # A layer's offset is that of its own bias, not of what is sent to it.
    energy = _energy_function(own.unit.family)(rows[:, known], own.bias, *own.unit.parameters)
    for layer, bias in zip(others, biases, strict=True):
        offset = _offset_function(layer.unit.family)
        energy = energy + offset(layer.bias[None], *layer.unit.parameters) - offset(bias, *layer.unit.parameters)
    layers = [Layer(layer.unit, bias) for layer, bias in zip(others, biases, strict=True)]
    if missing.any():
        part = _part(visible, missing)
        layers.insert(0, Layer(part.unit, np.array(np.broadcast_to(part.bias, (len(rows), missing.sum())))))
    else:
        couplings = [replace(c, first=c.first - 1, second=c.second - 1) for c in couplings]
    return Clamped(Machine(tuple(layers), tuple(couplings)), energy)


def _part(layer: Layer, chosen: np.ndarray) -> Layer:
    """The chosen units of a layer."""
    return Layer(layer.unit.with_parameters([p[chosen] for p in layer.unit.parameters]), layer.bias[chosen])


@lru_cache(maxsize=16)
def _sent_function(family):
    own = [pt.dvector() for _ in family.parameters]
    x = pt.matrix(dtype=family.dtype)
    return pytensor.function([x, *own], family.with_parameters(own).scaled(x).astype("float64"))


@lru_cache(maxsize=16)
def _energy_function(family):
    bias, own = pt.dvector(), [pt.dvector() for _ in family.parameters]
    x = pt.matrix(dtype=family.dtype)
    return pytensor.function([x, bias, *own], Layer(family.with_parameters(own), bias).energy(x.astype("float64")))


@lru_cache(maxsize=16)
def _offset_function(family):
    bias, own = pt.dmatrix(), [pt.dvector() for _ in family.parameters]
    offset = family.with_parameters(own).offset(bias).sum(-1)
    return pytensor.function([bias, *own], offset, on_unused_input="ignore")
