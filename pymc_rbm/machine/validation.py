"""Check that a machine is what a function needs: one machine, with sound numbers, that can be normalised."""

from __future__ import annotations

from typing import Any

import numpy as np

from pymc_rbm.machine.door import data_of, whole
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.normalisable import check_normalisable
from pymc_rbm.machine.parameters import check_numbers, names_of
from pymc_rbm.machine.rows import machine_of_rows
from pymc_rbm.support.arguments import known_values
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.memory import check_memory

__all__ = [
    "check_pair",
    "check_states",
    "normalisable_machine",
    "normalisable_rows",
    "one_machine",
    "visible_rows",
    "with_numbers",
]


def with_numbers(machine: Machine, dtype: str = "float64") -> Machine:
    """Return the machine with arrays for parameters; ValueError where some are missing, not finite or not symmetric."""
    names = names_of(machine).flat()
    lacking = [name for name, p in zip(names, machine.parameters, strict=False) if p is None or known_values(p) is None]
    if lacking:
        raise ValueError(
            f"Numbers are needed, but {' and '.join(lacking)} of this machine {'are' if len(lacking) > 1 else 'is'} "
            "symbolic or missing. Make the machine of arrays, by pymc_rbm.restricted(W, b, c); or pass the model as "
            "target and values by name as learned."
        )
    machine = machine.numeric(dtype)
    check_numbers(machine)
    return machine


def one_machine(machine: Machine, dtype: str = "float64") -> Machine:
    """Return the machine `with_numbers`, or raise ValueError where these have batch axes."""
    machine = with_numbers(machine, dtype)
    ndims = machine.by_kind.core_ndims.flat()
    if any(p.ndim != n for p, n in zip(machine.parameters, ndims, strict=True)):
        raise ValueError(
            f"Expected one machine, got parameters with batch axes: {[p.shape for p in machine.parameters]}. Take one: "
            "pymc_rbm.machine_of_row(target, learned, row=0)."
        )
    return machine


def normalisable_machine(machine: Machine, dtype: str = "float64") -> Machine:
    """Return `one_machine`, or raise ValueError if it cannot be normalised; draws and log Z need this."""
    machine = one_machine(machine, dtype)
    check_normalisable(machine)
    return machine


def normalisable_rows(machine: Machine) -> Machine:
    """Return a machine whose biases may differ by row; ValueError where a row's is not a `normalisable_machine`."""
    with_numbers(machine)
    normalisable_machine(machine_of_rows(machine, 0))
    return machine


def check_states(machine: Machine, rows: int, what: str, remedy: str) -> None:
    """Raise MemoryError where ``rows`` states of all layers, and the fields that they are drawn from, do not fit."""
    units = sum(np.shape(layer.bias)[-1] for layer in machine.layers)
    state = np.dtype(machine.layers[0].unit.dtype).itemsize * np.shape(machine.layers[0].bias)[-1]
    check_memory(rows * (8 * units + state), what, remedy)


def check_pair(machine: Machine) -> Machine:
    """Return the machine; ValueError where it is not a visible and a hidden layer, or one layer, with one coupling."""
    layers, couplings = len(machine.layers), machine.couplings
    if layers > 2 or len(couplings) != 1 or len({couplings[0].first, couplings[0].second}) != layers:
        raise ValueError(
            f"Expected a machine of a visible and a hidden layer, or of one layer coupled to itself, got {layers} "
            f"layers and {len(couplings)} couplings. Put the layers of each side together, as pymc_rbm.Beside and "
            "pymc_rbm.DeepBoltzmannMachine do."
        )
    return machine


def visible_rows(machine: Machine, data: Any, labels: Labels | None = None, name: str = "data") -> np.ndarray:
    """Return whole data rows as an array of the visible units' type; ValueError where they do not fit."""
    return whole(data_of(data, machine.layers[0], labels or Labels(), name), name)
