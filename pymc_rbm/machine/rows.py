"""Conditional machines ``p(v | x)``: their biases depend on covariates x, and so differ by row.

With ``b = b₀ + XA`` and ``c = c₀ + XB`` each row has a machine, and a log Z, of its own; W is shared (Taylor, Hinton &
Roweis 2007, *Modeling human motion using binary latent variables*, NIPS). The gradient of the mean log-likelihood is

    mean_i ( -∂F(v_i; x_i) + E[∂F(v; x_i)] ),        v ~ p(· | x_i),

so that the negative phase needs a particle under the covariates of each row of a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot
from pytensor.tensor.shape import SpecifyShape

from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.targets import machine_of
from pymc_rbm.support.arguments import whole_number

__all__ = ["has_rows", "machine_of_row", "machine_of_rows", "row_count"]


def has_rows(machine: Machine) -> bool:
    """Whether some bias differs by row."""
    return any(x is not None and _ndim(x) > 1 for x in _biases(machine))


def machine_of_rows(machine: Machine, rows: Any) -> Machine:
    """Return the machine of the given rows: biases with a row axis are indexed, everything else is shared.

    The index is pushed into the graphs of the biases, so that neither they nor their gradients are ever computed for
    all rows: ``(b₀ + XA)[rows]`` becomes ``b₀ + X[rows] A``.
    """
    biases = tuple(x if x is None or _ndim(x) < 2 else _indexed(x, rows) for x in _biases(machine))
    return machine.with_parameters(replace(machine.by_kind, biases=biases))


def _indexed(x: Any, rows: Any) -> Any:
    """Return ``x[rows]`` along the first axis; where an operation acts row by row, its operands are indexed instead."""
    if not isinstance(x, Variable) or not isinstance(rows, Variable) or x.owner is None:
        return x[rows]
    if x.type.broadcastable[0]:  # the axis has length one and serves all rows
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
        The row of the covariates. Set other covariates than those of the data with ``pm.set_data`` first.

    Returns
    -------
    Machine
        It can be the target of `log_partition`, `sample_gibbs`, `diagnose` and others.

    Raises
    ------
    ValueError
        If all rows share their parameters, or ``row`` is not one of them.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> X = np.array([[-1.0], [1.0]])  # a covariate of two rows
    >>> with pm.Model() as model:
    ...     A = pm.Normal("A", 0, 1, shape=(1, 3))
    ...     v = pmr.RBM("v", np.zeros((3, 2)), X @ A, np.zeros(2), observed=[[0, 0, 1], [1, 1, 1]])
    >>> machine = pmr.machine_of_row(model, {"A": np.ones((1, 3))}, row=1)
    >>> pmr.conditional_visible([0, 0], machine).round(2)
    array([0.73, 0.73, 0.73])
    """
    machine = machine_of(target, learned)
    row = whole_number("row", row, 0)
    if not has_rows(machine):
        raise ValueError(
            "All rows of this machine share their parameters, so that no row has a machine of its "
            "own: use the machine itself."
        )
    rows = row_count(machine)
    if row >= rows:
        raise ValueError(f"row must be below {rows}, the number of rows, got {row}: the first row is 0.")
    return machine_of_rows(machine, row)


def row_count(machine: Machine) -> int:
    """Return how many rows the biases of a machine have."""
    return max(np.shape(x)[0] for x in _biases(machine) if _ndim(x) > 1)


def _biases(machine: Machine) -> list[Any]:
    return [layer.bias for layer in machine.layers]


def _ndim(x: Any) -> int:
    return x.ndim if isinstance(x, Variable) else np.ndim(x)
