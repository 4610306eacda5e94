"""Checks that a target is one machine, has finite numbers for parameters, and can be normalised."""

from __future__ import annotations

from typing import Any

import numpy as np

from pymc_rbm.machine.door import data_of, whole
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.normalisable import check_normalisable
from pymc_rbm.support.labels import Labels

__all__ = ["finite", "numeric", "visible_rows"]


def numeric(machine: Machine, dtype: str = "float64") -> Machine:
    """Return the machine with arrays for parameters, or raise ValueError where it is not one or two coupled layers."""
    if len(machine.layers) not in (1, 2) or len(machine.couplings) != 1:
        raise ValueError(
            f"Expected a machine of a visible and a hidden layer, or of one layer coupled to itself, got "
            f"{len(machine.layers)} layers and {len(machine.couplings)} couplings."
        )
    [coupling], biases = machine.couplings, [np.shape(layer.bias) for layer in machine.layers]
    if any(len(shape) > 1 for shape in biases):
        raise ValueError(
            f"Expected one machine, got biases that differ by row, of shapes {biases}. Take the machine of one row: "
            "pymc_rbm.machine_of_row(target, learned, row=0)."
        )
    if np.shape(coupling.weights) != (*biases[coupling.first], *biases[coupling.second]):
        raise ValueError(
            f"The shapes do not fit: weights {np.shape(coupling.weights)} need biases of the same lengths, got "
            f"{biases} (or there are batch axes). Give the parameters of one machine."
        )
    machine = machine.numeric(dtype)
    if not all(np.isfinite(p).all() for p in machine.parameters):
        raise ValueError("The machine's parameters contain NaN or infinity; they must be finite numbers.")
    check_normalisable(machine)
    return machine


def finite(machine: Machine) -> Machine:
    """Return the machine with float64 arrays for parameters; ValueError where they are not finite, or batched."""
    if not all(np.isfinite(np.asarray(p, dtype="float64")).all() for p in machine.parameters):
        raise ValueError(
            "The machine's parameters contain NaN or infinity; they must be finite numbers for log Z to be defined."
        )
    if any(np.ndim(x.bias) != 1 for x in machine.layers) or any(np.ndim(c.weights) != 2 for c in machine.couplings):
        shapes = [np.shape(p) for p in machine.parameters]
        raise ValueError(
            f"Expected one machine, got parameters with batch axes: {shapes}. Take the machine of one row: "
            "pymc_rbm.machine_of_row(target, learned, row=0)."
        )
    machine = machine.numeric()
    check_normalisable(machine)
    return machine


def visible_rows(machine: Machine, data: Any, labels: Labels | None = None, name: str = "data") -> np.ndarray:
    """Return whole data rows as an array of the visible units' type; ValueError where they do not fit."""
    return whole(data_of(data, machine.layers[0], labels or Labels(), name), name)
