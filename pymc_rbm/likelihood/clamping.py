"""With some visible units clamped the rest is a machine again, one for every row.

Split the visible units into known ones k and missing ones m. With ``v_k`` clamped the energy is that of the other
layers (m among them) with the biases ``bias_i + v_kᵀW_ki`` plus a number a row,

    E(v_k, v_m, rest) = E_k(v_k) + E'(v_m, rest),        log Σ exp(-E) = -E_k(v_k) + log Z',

so that summing out what is missing is one more log Z (`marginals`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.machine.machine import VISIBLE, Layer, Machine
from pymc_rbm.machine.separate import part_of
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED

__all__ = ["Clamped", "clamped"]


@dataclass(frozen=True)
class Clamped:
    """A machine of the units that are not clamped, with biases of shape (rows, size), and the clamped units' energy."""

    machine: Machine
    energy: np.ndarray


def clamped(machine: Machine, rows: np.ndarray, missing: np.ndarray) -> Clamped:
    """Clamp the visible units that are not ``missing`` at their values in ``rows``.

    Parameters
    ----------
    machine : Machine
        As `Machine.numeric` returns it.
    rows : ndarray, shape (rows, visible)
        Missing entries are ignored.
    missing : ndarray of bool, shape (visible,)
        Whole units, the same for all rows.
    """
    known, visible = ~missing, machine.layers[VISIBLE]
    part = part_of(visible, missing) if missing.any() else None
    left = ([] if part is None else [part]) + list(machine.layers[1:])
    shift = len(left) - len(machine.layers)  # the layers' indices fall by one where no visible unit is left
    biases, couplings = [layer.bias for layer in left], []
    energy = np.zeros(len(rows))
    sent = np.zeros((len(rows), 0))
    if known.any():
        own = part_of(visible, known)
        held = rows[:, known].astype(own.unit.dtype)
        sent = _sent_function(own.unit.family)(held, *own.unit.parameters)
        energy = _energy_function(own.unit.family)(held, own.bias, *own.unit.parameters)
    for c in machine.couplings:
        if VISIBLE not in (c.first, c.second):
            couplings.append(replace(c, first=c.first + shift, second=c.second + shift))
        elif c.first == c.second:
            energy = energy - ((sent @ c.weights[np.ix_(known, known)]) * sent).sum(-1) / 2
            if part is not None:
                biases[0] = biases[0] + sent @ c.weights[np.ix_(known, missing)]
                inner, classes = c.weights[np.ix_(missing, missing)], _classes(c.classes, missing)
                couplings.append(replace(c, weights=inner, classes=classes))
        else:
            weights = c.weights if c.first == VISIBLE else c.weights.T
            other = max(c.first, c.second) + shift
            biases[other] = biases[other] + sent @ weights[known]
            if part is not None:
                couplings.append(replace(c, first=VISIBLE, second=other, weights=weights[missing]))
    biases = [np.array(np.broadcast_to(b, (len(rows), np.shape(b)[-1]))) for b in biases]
    # A layer's offset belongs to its own bias, without what clamped units send.
    for layer, bias in zip(left, biases, strict=True):
        offset = _offset_function(layer.unit.family)
        energy = energy + offset(layer.bias[None], *layer.unit.parameters) - offset(bias, *layer.unit.parameters)
    layers = tuple(Layer(layer.unit, bias) for layer, bias in zip(left, biases, strict=True))
    return Clamped(Machine(layers, tuple(couplings)), energy)


def _classes(classes: tuple[tuple[int, ...], ...] | None, missing: np.ndarray) -> tuple[tuple[int, ...], ...] | None:
    """Return the classes of the missing entries, which are numbered among themselves."""
    if classes is None:
        return None
    number = np.cumsum(missing) - 1
    left = [tuple(int(number[i]) for i in group if missing[i]) for group in classes]
    return tuple(group for group in left if group)


@remembered(64)
def _sent_function(family):
    own = [pt.dvector() for _ in family.parameters]
    x = pt.matrix(dtype=family.dtype)
    sent = family.with_parameters(own).scaled(x).astype("float64")
    return pytensor.function([x, *own], sent, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def _energy_function(family):
    bias, own = pt.dvector(), [pt.dvector() for _ in family.parameters]
    x = pt.matrix(dtype=family.dtype)
    energy = Layer(family.with_parameters(own), bias).energy(x.astype("float64"))
    return pytensor.function([x, bias, *own], energy, mode=INTERPRETED)


@remembered(64)
def _offset_function(family):
    bias, own = pt.dmatrix(), [pt.dvector() for _ in family.parameters]
    offset = family.with_parameters(own).offset(bias).sum(-1)
    return pytensor.function([bias, *own], offset, on_unused_input="ignore", mode=INTERPRETED)
