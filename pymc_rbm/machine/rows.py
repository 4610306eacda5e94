"""Machines whose biases differ by row: conditional machines ``p(v | x)`` with biases that depend on covariates x.

With ``b = b₀ + XA`` and ``c = c₀ + XB`` each row has a machine, and a log Z, of its own; W is shared (Taylor, Hinton &
Roweis 2007, *Modeling human motion using binary latent variables*, NIPS). The gradient of the mean log-likelihood is

    mean_i ( -∂F(v_i; x_i) + E[∂F(v; x_i)] ),        v ~ p(· | x_i),

so that the negative phase needs a particle under the covariates of each row of a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot
from pytensor.tensor.shape import SpecifyShape

from pymc_rbm.support.arguments import whole_number
from pymc_rbm.machine.door import Data, whole
from pymc_rbm.machine.enumeration import is_enumerable, symbolic_log_partition
from pymc_rbm.machine.machine import Machine
from pymc_rbm.support.reentrant import compiled
from pymc_rbm.machine.targets import machine_of

__all__ = ["has_rows", "log_likelihood_by_row", "machine_of_row", "machine_of_rows"]


def has_rows(machine: Machine) -> bool:
    """Whether some bias differs by row."""
    return any(x is not None and _ndim(x) > 1 for x in _biases(machine))


def machine_of_rows(machine: Machine, rows: Any) -> Machine:
    """The machine of the given rows: biases with a row axis are indexed, everything else is shared.

    The index is pushed into the graphs of the biases, so that neither they nor their gradients are ever computed for
    all rows: ``(b₀ + XA)[rows]`` becomes ``b₀ + X[rows] A``.
    """
    biases = [x if x is None or _ndim(x) < 2 else _indexed(x, rows) for x in _biases(machine)]
    return machine.with_parameters([*biases, *machine.parameters[len(biases) :]])


def _indexed(x: Any, rows: Any) -> Any:
    """``x[rows]`` by the first axis; of what is known to act row by row, the operands are indexed."""
    if not isinstance(x, Variable) or not isinstance(rows, Variable) or x.owner is None:
        return x[rows]
    if x.type.broadcastable[0]:  # one row for all
        return x
    op, inputs = x.owner.op, x.owner.inputs
    if isinstance(op, Elemwise):
        return op.make_node(*(_indexed(y, rows) for y in inputs)).outputs[x.owner.outputs.index(x)]
    if isinstance(op, Dot) and inputs[0].ndim == 2:
        return pt.dot(_indexed(inputs[0], rows), inputs[1])
    if isinstance(op, Blockwise) and isinstance(op.core_op, Dot) and x.ndim == 2:
        return pt.dot(_indexed(inputs[0], rows), inputs[1])
    if isinstance(op, DimShuffle) and op.new_order[0] == 0:
        return _indexed(inputs[0], rows).dimshuffle(op.new_order)
    if isinstance(op, SpecifyShape):
        return pt.specify_shape(_indexed(inputs[0], rows), (None, *x.type.shape[1:]))
    return x[rows]


def machine_of_row(target: Any, learned: Any = None, *, row: int) -> Machine:
    """Return the machine of one row of a conditional machine: one whose biases depend on covariates.

    Parameters
    ----------
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables.
    row : int
        Of the covariates. For others than those of the data, ``pm.set_data`` them in the model first.

    Returns
    -------
    Machine
        For whatever takes one: `log_partition`, `sample_gibbs`, `diagnose`.

    Raises
    ------
    ValueError
        If all rows share their parameters, or there is no such row.
    """
    machine = machine_of(target, learned)
    row = whole_number("row", row, 0)
    if not has_rows(machine):
        raise ValueError("All rows of this machine share their parameters: use the machine itself.")
    rows = max(np.shape(x)[0] for x in _biases(machine) if _ndim(x) > 1)
    if row >= rows:
        raise ValueError(f"row must be below {rows}, the number of rows, got {row}.")
    return machine_of_rows(machine, row)


def log_likelihood_by_row(machine: Machine, data: Data, log_z: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return ``log p(v_i; x_i)`` and the log Z, exact or given, of each row of a machine with numbers for parameters.

    Raises
    ------
    ValueError
        If ``data`` do not fit, or log Z is not given and no side has at most 16 units.
    """
    rows = max(np.shape(x)[0] for x in _biases(machine) if _ndim(x) > 1)
    remedy = f"data must be {rows} whole rows, those of the covariates: complete them by inpaint."
    v = whole(data, remedy=remedy)
    if len(v) != rows:
        raise ValueError(
            f"data must be {rows} whole rows, those of the covariates, got shape {v.shape}. For other covariates "
            "pm.set_data them in the model first."
        )
    inputs = [pt.tensor(dtype="float64", shape=np.shape(p)) for p in machine.parameters]
    inner, x = machine.with_parameters(inputs), pt.constant(np.asarray(v))
    if log_z is None and not is_enumerable(inner):
        raise ValueError(
            "The rows of this machine have a log Z each, and no side is small enough (at most 16 units) to find them "
            "all exactly. Take one at a time, pymc_rbm.log_partition(pymc_rbm.machine_of_row(target, learned, row=0)), "
            "or give them all as log_z."
        )
    outputs = [inner.free_energy(x), symbolic_log_partition(inner) if log_z is None else pt.as_tensor(log_z)]
    values = (np.asarray(p, dtype="float64") for p in machine.parameters)
    free_energy, found = compiled(inputs, outputs, on_unused_input="ignore")(*values)
    if np.shape(found) != (rows,):
        raise ValueError(f"log_z must have one entry for each of {rows} rows, got shape {np.shape(found)}.")
    return -free_energy - found, found


def _biases(machine: Machine) -> list[Any]:
    return [layer.bias for layer in machine.layers]


def _ndim(x: Any) -> int:
    return x.ndim if isinstance(x, Variable) else np.ndim(x)
