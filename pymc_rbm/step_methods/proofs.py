"""Prove which entries of a variable each entry of a graph reads, from the graph alone.

Evaluating a function at a few states can show that it is not a sum over units, never that it is. Here it is read off
the operations: elementwise ones keep entries apart, reductions join them. Operations that are not known to keep them
apart count as joining them, so an answer can be too cautious and cannot be too bold. A variable that reads more than
one piece of x counts as reading all of x: scalar pieces have no axes, so that none of these could be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytensor.tensor as pt
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import io_toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import Add, Cast, Identity, Mul, Neg, Second, Sub, TrueDiv
from pytensor.tensor.basic import Alloc, Join, MakeVector
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, AdvancedSubtensor, IncSubtensor, Subtensor
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.step_methods.following import Axes, Known, carriers_of, follow, read_by

__all__ = ["Axes", "Spread", "affine_in", "axes_of", "gathered", "is_affine"]

PIECES = Subtensor | AdvancedSubtensor | Reshape
"""Operations that move entries about and leave their values as they are."""


Spread = Callable[[TensorVariable], TensorVariable]
"""A function from numbers by entry of a variable to their sums by entry of x."""


def axes_of(x: Variable, outputs: list[Variable]) -> Known:
    """Return the `Axes` of every variable between ``x`` and ``outputs`` whose value depends on that of ``x``."""
    return _followed(x, outputs, cut=False)[0]


def _followed(x: Variable, outputs: list[Variable], cut: bool) -> tuple[Known, dict[Variable, Variable]]:
    """Return axes of variables, and whose they are: of x or, where pieces are ``cut``, of a piece with its own axes."""
    known: Known = {x: tuple(range(x.ndim))}
    roots = {x: x}
    for node in io_toposort([x], outputs):
        read = [v for v in read_by(node) if v in known]
        if not read:
            continue
        root, *others = dict.fromkeys(roots[v] for v in read)
        if others:
            root, axes = x, (None,) * x.ndim
        elif any(v not in carriers_of(node) for v in read):  # x decides an index or a condition
            axes = (None,) * root.ndim
        else:
            axes = follow(node.op, node, known)
        known.update(dict.fromkeys(node.outputs, axes))
        roots.update(dict.fromkeys(node.outputs, root))
        if cut and isinstance(node.op, PIECES) and None in axes and read == [node.inputs[0]]:
            y = node.outputs[0]
            if None not in known[read[0]]:
                known[y], roots[y] = tuple(range(y.ndim)), y
    return known, roots


def gathered(y: TensorVariable, axes: Axes) -> TensorVariable:
    """Sum ``y`` over the axes that are not among ``axes``, and bring the others into their order."""
    y = y.sum(axis=[i for i in range(y.ndim) if i not in axes])
    in_order = sorted(axes)  # type: ignore[type-var]  # no axis is None where entries are gathered
    return y.transpose(*map(in_order.index, axes)) if len(axes) > 1 else y


def affine_in(x: Variable, output: Variable) -> dict[Variable, Spread] | None:
    """Split ``output`` into an affine function of variables that are elementwise in ``x``, or in pieces of it.

    Returns
    -------
    dict or None
        These variables, and functions that sum numbers by entry of each to entries of ``x``. ``output`` is then a sum
        of functions of single entries of ``x``. None where the graph does not prove it.
    """
    known, roots = _followed(x, [output], cut=True)
    found: dict[Variable, Spread] = {}

    def split(y: Variable) -> bool:
        if y not in known:
            return True
        if None not in known[y]:
            found[y] = partial(spread, y)
            return True
        read = [v for v in read_by(y.owner) if v in known]
        return _is_affine(y.owner, read) and all(map(split, read))

    def spread(y: Variable, values: TensorVariable) -> TensorVariable:
        values, root = gathered(values, known[y]), roots[y]
        if root is x:
            return values
        whole = root.owner.inputs[0]
        real = pt.zeros_like(whole, dtype="float64")
        piece = root.owner.op.make_node(real, *root.owner.inputs[1:]).outputs[0]
        return spread(whole, pt.grad((piece * values).sum(), real))

    return found if split(output) else None


def is_affine(x: Variable, output: Variable) -> bool:
    """Whether the graph proves that ``output`` is an affine function of the entries of ``x``, which it may join."""
    moving = {x}
    for node in io_toposort([x], [output]):
        read = [v for v in read_by(node) if v in moving]
        if not read:
            continue
        written = isinstance(node.op, IncSubtensor | AdvancedIncSubtensor) and not moving & set(node.inputs[2:])
        if not (written or _is_affine(node, read)):
            return False
        moving.update(node.outputs)
    return True


def _is_affine(node: Apply, read: list[Variable]) -> bool:
    """Whether the output is affine, jointly, in the inputs ``read``."""
    op = node.op
    if node.outputs[0].dtype not in ("float64", "float32", "int64"):  # small integers may overflow, which is not affine
        return False
    if isinstance(op, Elemwise):
        scalar = op.scalar_op
        if isinstance(scalar, Mul):
            return len(read) == 1 and node.inputs.count(read[0]) == 1
        if isinstance(scalar, TrueDiv):
            return read == node.inputs[:1] and node.inputs[0] is not node.inputs[1]
        if isinstance(scalar, Cast):
            return "float" in node.outputs[0].dtype or "float" not in node.inputs[0].dtype
        return isinstance(scalar, Add | Sub | Neg | Identity | Second)
    if isinstance(op, Dot) or (isinstance(op, Blockwise) and isinstance(op.core_op, Dot)):
        return len(read) == 1 and node.inputs.count(read[0]) == 1
    if isinstance(op, MakeVector | Join):
        return True
    first = Sum | DimShuffle | Reshape | Subtensor | AdvancedSubtensor | Alloc | ViewOp | SpecifyShape | CheckAndRaise
    return isinstance(op, first) and read == node.inputs[:1]
