"""Which entries of a variable each entry of a graph reads: proofs from the graph alone.

Evaluating a function at a few states can show that it is not a sum over units, never that it is. Here it is read off
the operations: elementwise ones keep entries apart, reductions join them. What is not known to keep them apart counts
as joining them, so an answer can be too cautious and cannot be too bold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatch
from itertools import takewhile
from typing import Any

import pytensor.tensor as pt
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import io_toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import Add, Cast, Identity, Mul, Neg, Second, Sub, TrueDiv
from pytensor.tensor.basic import Alloc, Join, MakeVector
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, AdvancedSubtensor, IncSubtensor, Subtensor
from pytensor.tensor.variable import TensorVariable

__all__ = ["Axes", "Spread", "affine_in", "axes_of", "gathered", "is_affine"]

Axes = tuple[int | None, ...]
"""For each axis of x the axis of y along which ``y[…, i, …]`` reads only ``x[…, i, …]``; None where entries mix."""

Known = dict[Variable, Axes]

PIECES = Subtensor | AdvancedSubtensor | Reshape
"""What moves entries about and leaves them as they are."""


Spread = Callable[[TensorVariable], TensorVariable]
"""From numbers by entry of a variable to their sums by entry of x."""


def axes_of(x: Variable, outputs: list[Variable]) -> Known:
    """Return the `Axes` of every variable between ``x`` and ``outputs`` whose value depends on that of ``x``."""
    return _followed(x, outputs, cut=False)[0]


def _followed(x: Variable, outputs: list[Variable], cut: bool) -> tuple[Known, dict[Variable, Variable]]:
    """The axes, and what they are axes of: x or, where pieces are ``cut``, a piece of x that has axes of its own."""
    known: Known = {x: tuple(range(x.ndim))}
    roots = {x: x}
    for node in io_toposort([x], outputs):
        read = [v for v in _read(node) if v in known]
        if not read:
            continue
        root, *others = dict.fromkeys(roots[v] for v in read)
        if others or any(v not in _carriers(node) for v in read):  # an index, a condition
            axes: Axes = (None,) * root.ndim
        else:
            axes = _follow(node.op, node, known)
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
    in_order = sorted(axes)  # type: ignore[type-var]  # none of them is None where entries are gathered
    return y.transpose(*map(in_order.index, axes)) if len(axes) > 1 else y


def affine_in(x: Variable, output: Variable) -> dict[Variable, Spread] | None:
    """Split ``output`` into an affine function of variables that are elementwise in ``x``, or in pieces of it.

    Returns
    -------
    dict or None
        These variables, and how numbers by entry of each are summed by entry of ``x``. ``output`` is then a sum of
        functions of single entries of ``x``. None where the graph does not prove it.
    """
    known, roots = _followed(x, [output], cut=True)
    found: dict[Variable, Spread] = {}

    def split(y: Variable) -> bool:
        if y not in known:
            return True
        if None not in known[y]:
            found[y] = partial(spread, y)
            return True
        read = [v for v in _read(y.owner) if v in known]
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
        read = [v for v in _read(node) if v in moving]
        if not read:
            continue
        written = isinstance(node.op, IncSubtensor | AdvancedIncSubtensor) and not moving & set(node.inputs[2:])
        if not (written or _is_affine(node, read)):
            return False
        moving.update(node.outputs)
    return True


def _read(node: Apply) -> list[Variable]:
    """The inputs whose values matter to the values of the outputs."""
    if isinstance(node.op, Shape | Shape_i):
        return []
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second):
        return node.inputs[1:]
    if isinstance(node.op, CheckAndRaise):  # `corrections` says why rows may still be judged apart
        return node.inputs[:1]
    return node.inputs


def _carriers(node: Apply) -> list[Variable]:
    """The inputs through which the outputs may read x entry by entry; not indices or conditions of errors."""
    if isinstance(node.op, Elemwise | Blockwise | Dot | MakeVector | Join):
        return node.inputs
    return node.inputs[:1]


def _kept(axes: Axes, source: Variable, target: Variable, move: Any) -> Axes:
    """The axes moved, those broadcast against a longer one dropped: then many entries read one."""
    moved = [None if p is None else move(p) for p in axes]
    return tuple(
        None if q is None or (source.type.shape[p] == 1 and target.type.shape[q] != 1) else q
        for p, q in zip(axes, moved, strict=True)
    )


@singledispatch
def _follow(op: Any, node: Apply, known: Known) -> Axes:
    """The axes of a node's outputs. Unknown operations mix everything."""
    return (None,) * len(next(known[v] for v in node.inputs if v in known))


@_follow.register(Elemwise)
def _(op, node, known):
    reads = [_kept(known[v], v, node.outputs[0], lambda p: p) for v in _read(node) if v in known]
    return tuple(same[0] if len(set(same)) == 1 else None for same in zip(*reads, strict=True))


@_follow.register(DimShuffle)
def _(op, node, known):
    order = list(op.new_order)
    return tuple(order.index(p) if p in order else None for p in known[node.inputs[0]])


@_follow.register(CAReduce)
def _(op, node, known):
    lost = range(node.inputs[0].ndim) if op.axis is None else op.axis
    return tuple(None if p is None or p in lost else p - sum(q < p for q in lost) for p in known[node.inputs[0]])


@_follow.register(ViewOp)
@_follow.register(SpecifyShape)
@_follow.register(CheckAndRaise)
def _(op, node, known):
    return known.get(node.inputs[0], _mixed(node, known))


@_follow.register(Alloc)
def _(op, node, known):
    if node.inputs[0] not in known:
        return _mixed(node, known)
    x, out = node.inputs[0], node.outputs[0]
    return _kept(known[x], x, out, lambda p: p + out.ndim - x.ndim)


@_follow.register(Subtensor)
def _(op, node, known):
    index = [*op.idx_list, *[slice(None)] * (node.inputs[0].ndim - len(op.idx_list))]
    whole = [isinstance(i, slice) and i == slice(None) for i in index]
    dropped = [not isinstance(i, slice) for i in index]
    return tuple(
        None if p is None or not whole[p] else p - sum(dropped[:p])
        for p in known.get(node.inputs[0], _mixed(node, known))
    )


@_follow.register(AdvancedSubtensor)
def _(op, node, known):
    whole = [isinstance(i, slice) and i == slice(None) for i in op.idx_list]
    if whole.count(False) > 1:
        return _mixed(node, known)
    whole += [True] * (node.inputs[0].ndim - len(whole))
    extra = node.outputs[0].ndim - node.inputs[0].ndim  # axes of the index
    where = whole.index(False)
    return tuple(
        None if p is None or not whole[p] else p + extra * (p > where)
        for p in known.get(node.inputs[0], _mixed(node, known))
    )


@_follow.register(Reshape)
def _(op, node, known):
    shapes = zip(node.inputs[0].type.shape, node.outputs[0].type.shape, strict=False)
    same = list(takewhile(lambda pair: pair[0] is not None and pair[0] == pair[1], shapes))
    axes = known.get(node.inputs[0], _mixed(node, known))
    return tuple(p if p is not None and p < len(same) else None for p in axes)


@_follow.register(AdvancedIncSubtensor)
def _(op, node, known):
    if op.set_instead_of_inc and not any(v in known for v in node.inputs[1:]):
        return known[node.inputs[0]]
    return _mixed(node, known)


@_follow.register(Dot)
def _(op, node, known):
    return _product(node, known, 0)


@_follow.register(Blockwise)
def _(op, node, known):
    batch = op.batch_ndim(node)
    if isinstance(op.core_op, Dot):
        return _product(node, known, batch)
    reads = [_kept(known[v], v, node.outputs[0], lambda p: p if p < batch else None) for v in node.inputs if v in known]
    return tuple(same[0] if len(set(same)) == 1 else None for same in zip(*reads, strict=True))


def _product(node: Apply, known: Known, batch: int) -> Axes:
    """Rows of the left factor, or columns of the right one, stay apart."""
    left, right = node.inputs
    out = node.outputs[0]
    if left in known and right in known:
        return _mixed(node, known)
    if left in known:
        summed = left.ndim - 1
        return _kept(known[left], left, out, lambda p: None if p == summed else p)
    summed = max(right.ndim - 2, 0)
    shift = out.ndim - right.ndim
    return _kept(known[right], right, out, lambda p: None if p == summed else (p if p < batch else p + shift))


def _mixed(node: Apply, known: Known) -> Axes:
    return (None,) * len(next(known[v] for v in node.inputs if v in known))


def _is_affine(node: Apply, read: list[Variable]) -> bool:
    """Whether the output is affine, jointly, in the inputs ``read``."""
    op = node.op
    if node.outputs[0].dtype not in ("float64", "float32", "int64"):  # small integers may overflow
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
    first = isinstance(op, Sum | DimShuffle | Reshape | Subtensor | AdvancedSubtensor | Alloc | ViewOp | SpecifyShape)
    return first and read == node.inputs[:1]
