"""Checks of parameters in graphs of log-densities become terms of their own, one value for each entry checked.

PyMC asks for all entries of all conditions at once (``all(sigma > 0)``) and puts the whole log-density at -inf where
one fails. Rows that are otherwise independent are then joined by their checks. But -inf stays wherever it is added: the
conditions may as well be terms of their own, 0 or -inf by entry, and each row is then judged by its own entries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import AND, GE, Abs, Add, Cast, Exp, Identity, Mul, Sqr, Sub
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.tensor.basic import Alloc, Join, MakeVector, ScalarFromTensor, TensorFromScalar
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import All, Sum
from pytensor.tensor.special import Softmax
from pytensor.tensor.variable import TensorVariable

__all__ = ["conditions_of", "is_limit", "parted"]

NEVER_NEGATIVE = Abs | Exp | Sigmoid | Softplus | Sqr


def is_limit(node: Apply) -> bool:
    """Whether a node puts a log-density at -inf where its conditions fail, instead of raising an error."""
    return isinstance(node.op, CheckAndRaise) and getattr(node.op, "can_be_replaced_by_ninf", False)


def parted(terms: Sequence[TensorVariable]) -> tuple[list[TensorVariable], list[TensorVariable]]:
    """Split a log-density, the sum of all entries of ``terms``, from its checks.

    Returns
    -------
    terms : list
        The terms without checks that put a whole term at -inf. Checks of one component of a mixture stay.
    limits : list
        Further terms: 0 where a condition holds, -inf where it fails, for each entry that it checks.
    """
    conditions: dict[Variable, None] = {}

    def bare(y: Variable) -> Variable:
        node = y.owner
        if node is None:
            return y
        if is_limit(node):
            conditions.update(dict.fromkeys(conditions_of(node)))
            return bare(node.inputs[0])
        inputs = [bare(v) if i in _summed(node) else v for i, v in enumerate(node.inputs)]
        return y if inputs == node.inputs else node.op.make_node(*inputs).outputs[0]

    found = [bare(term) for term in terms]
    return found, [pt.switch(c, 0.0, -np.inf) for c in conditions]


def conditions_of(node: Apply) -> list[Variable]:
    """Return the conditions of a check, by entry, except those that always hold."""
    return [c for condition in node.inputs[1:] for c in _each(condition) if not _always(c)]


def _each(condition: Variable) -> list[Variable]:
    """Return the conditions that a condition consists of, all of which must hold."""
    node = condition.owner
    if node is None:
        return [condition]
    both = isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, AND)
    if both or isinstance(node.op, All | MakeVector | Join | ScalarFromTensor | TensorFromScalar | DimShuffle):
        return [c for v in node.inputs for c in _each(v)]
    return [condition]


def _always(condition: Variable) -> bool:
    """Whether a condition holds in any state, as that an exponential is not negative."""
    if isinstance(condition, Constant):
        return bool(np.all(condition.data))
    node = condition.owner
    if node is None or not (isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, GE)):
        return False
    value, bound = (_unmoved(v) for v in node.inputs)
    if not isinstance(bound, Constant) or np.any(bound.data > 0) or value.owner is None:
        return False
    op = value.owner.op
    return isinstance(op, Softmax) or (isinstance(op, Elemwise) and isinstance(op.scalar_op, NEVER_NEGATIVE))


def _unmoved(y: Variable) -> Variable:
    while y.owner is not None and isinstance(y.owner.op, DimShuffle | Alloc):
        y = y.owner.inputs[0]
    return y


def _summed(node: Apply) -> Sequence[int]:
    """Return the inputs of which a single entry at -inf makes the sum over the output -inf."""
    op = node.op
    if isinstance(op, DimShuffle | Sum | Alloc):
        return [0]
    if isinstance(op, Join | MakeVector):
        return range(len(node.inputs))
    if not isinstance(op, Elemwise):
        return []
    if isinstance(op.scalar_op, Mul):
        factors = [i for i, v in enumerate(node.inputs) if not _is_positive(v)]
        return factors if len(factors) == 1 else []
    if isinstance(op.scalar_op, Add):
        return range(len(node.inputs))
    return [0] if isinstance(op.scalar_op, Sub | Identity | Cast) else []


def _is_positive(y: Variable) -> bool:
    y = _unmoved(y)
    return isinstance(y, Constant) and bool(np.all(y.data > 0))
