"""Say for single nodes of a graph which inputs their outputs read, and along which axes entries are kept apart.

An operation that is not known to keep entries apart counts as joining them all.
"""

from __future__ import annotations

from functools import singledispatch
from itertools import takewhile
from typing import Any

import numpy as np
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import io_toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import Second
from pytensor.tensor.basic import Alloc, ARange, Join, MakeVector
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.extra_ops import CumOp
from pytensor.tensor.math import Dot
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
    indices_from_subtensor,
)

from pymc_rbm.step_methods.conditions import conditions_of, is_limit

__all__ = ["Axes", "Known", "carriers_of", "follow", "read_by"]

Axes = tuple[int | None, ...]
"""For each axis of x the axis of y along which ``y[…, i, …]`` reads only ``x[…, i, …]``; None where entries mix."""

Known = dict[Variable, Axes]


def read_by(node: Apply) -> list[Variable]:
    """Return the inputs whose values matter to the values of the outputs."""
    if isinstance(node.op, Shape | Shape_i):
        return []
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second):
        return node.inputs[1:]
    if isinstance(node.op, CheckAndRaise):  # the error that it may raise does not change values
        return [node.inputs[0], *(conditions_of(node) if is_limit(node) else [])]
    return node.inputs


def carriers_of(node: Apply) -> list[Variable]:
    """Return the inputs through which the outputs may read x entry by entry; not bounds of slices, nor conditions."""
    if isinstance(node.op, Elemwise | Blockwise | Dot | MakeVector | Join | OpFromGraph):
        return node.inputs
    if isinstance(node.op, AdvancedSubtensor):
        return [node.inputs[0], *_arrays(node).values()]
    return node.inputs[:1]


def _kept(axes: Axes, source: Variable, target: Variable, move: Any) -> Axes:
    """Move the axes, and drop those that are broadcast, along which many entries read one."""
    moved = [None if p is None else move(p) for p in axes]
    return tuple(
        None if q is None or (source.type.shape[p] == 1 and target.type.shape[q] != 1) else q
        for p, q in zip(axes, moved, strict=True)
    )


def _common(reads: list[Axes]) -> Axes:
    """Return the axes that several ways of reading x have in common."""
    return tuple(same[0] if len(set(same)) == 1 else None for same in zip(*reads, strict=True))


@singledispatch
def follow(op: Any, node: Apply, known: Known) -> Axes:
    """Return the axes of a node's outputs; unknown operations mix all entries."""
    return (None,) * len(next(known[v] for v in node.inputs if v in known))


@follow.register(Elemwise)
def _(op, node, known):
    return _common([_kept(known[v], v, node.outputs[0], lambda p: p) for v in read_by(node) if v in known])


@follow.register(DimShuffle)
def _(op, node, known):
    order = list(op.new_order)
    return tuple(order.index(p) if p in order else None for p in known[node.inputs[0]])


@follow.register(CAReduce)
def _(op, node, known):
    lost = range(node.inputs[0].ndim) if op.axis is None else op.axis
    return tuple(None if p is None or p in lost else p - sum(q < p for q in lost) for p in known[node.inputs[0]])


@follow.register(ViewOp)
@follow.register(SpecifyShape)
@follow.register(CheckAndRaise)
def _(op, node, known):
    return known.get(node.inputs[0], _mixed(node, known))


@follow.register(Alloc)
def _(op, node, known):
    if node.inputs[0] not in known:
        return _mixed(node, known)
    x, out = node.inputs[0], node.outputs[0]
    return _kept(known[x], x, out, lambda p: p + out.ndim - x.ndim)


@follow.register(Subtensor)
def _(op, node, known):
    index = [*op.idx_list, *[slice(None)] * (node.inputs[0].ndim - len(op.idx_list))]
    whole = [isinstance(i, slice) and i == slice(None) for i in index]
    dropped = [not isinstance(i, slice) for i in index]
    return tuple(
        None if p is None or not whole[p] else p - sum(dropped[:p])
        for p in known.get(node.inputs[0], _mixed(node, known))
    )


def _arrays(node: Apply) -> dict[int, Variable]:
    """Return the indices that are arrays, by the axis that each belongs to."""
    indices = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    return {axis: i for axis, i in enumerate(indices) if not isinstance(i, slice)}


@follow.register(AdvancedSubtensor)
def _(op, node, known):
    """Follow arrays of indices: they are broadcast, and their axes come first unless they stand side by side."""
    x, out, arrays = node.inputs[0], node.outputs[0], _arrays(node)
    if any(i.dtype == "bool" for i in arrays.values()):
        return _mixed(node, known)
    slices = [*op.idx_list, *[slice(None)] * (x.ndim - len(op.idx_list))]
    first, together = min(arrays), max(arrays) - min(arrays) + 1 == len(arrays)
    extra, start = max(i.ndim for i in arrays.values()), first if together else 0

    def from_x(p: int) -> int | None:
        if p in arrays:
            axis = _counted(arrays[p])
            return None if axis is None else start + extra - arrays[p].ndim + axis
        before = sum(axis < p for axis in arrays)
        return None if slices[p] != slice(None) else p - before + extra * (not together or p > first)

    reads = [] if x not in known else [_kept(known[x], x, out, from_x)]
    for i in arrays.values():
        if i in known:
            reads.append(_kept(known[i], i, out, lambda q, i=i: start + extra - i.ndim + q))
    return _common(reads) if reads else _mixed(node, known)


def _counted(index: Variable) -> int | None:
    """Return the axis along which an index is 0, 1, 2, … and along all others the same; otherwise None."""
    if isinstance(index, Constant):
        axes = [k for k, n in enumerate(index.data.shape) if n > 1]
        alike = len(axes) == 1 and (index.data.ravel() == np.arange(index.data.size)).all()
        return axes[0] if alike else None
    axes = [k for k, n in enumerate(index.type.shape) if n != 1]
    while index.owner is not None and isinstance(index.owner.op, Reshape | DimShuffle):
        index = index.owner.inputs[0]
    if len(axes) != 1 or index.owner is None or not isinstance(index.owner.op, ARange):
        return None
    first, _, by = index.owner.inputs
    known = all(isinstance(v, Constant) and v.data == n for v, n in ((first, 0), (by, 1)))
    return axes[0] if known else None


@follow.register(Join)
def _(op, node, known):
    return _common([tuple(None if p == op.axis else p for p in known[v]) for v in node.inputs if v in known])


@follow.register(CumOp)
def _(op, node, known):
    along = None if op.axis is None else op.axis % node.inputs[0].ndim
    return tuple(None if along is None or p == along else p for p in known[node.inputs[0]])


@follow.register(OpFromGraph)
def _(op, node, known):
    """Follow each input through the graph inside."""
    if len(op.fgraph.outputs) > 1:
        return _mixed(node, known)
    [out], reads = op.fgraph.outputs, []
    for outer, inner in zip(node.inputs, op.fgraph.inputs, strict=True):
        if outer in known:
            moves = _through(inner, out) or (None,) * inner.type.ndim
            reads.append(tuple(None if p is None else moves[p] for p in known[outer]))
    return _common(reads)


def _through(x: Variable, output: Variable) -> Axes | None:
    """Return the axes of an output of a graph, None where the output does not depend on ``x``."""
    known: Known = {x: tuple(range(x.type.ndim))}
    for node in io_toposort([x], [output]):
        read = [v for v in read_by(node) if v in known]
        if read:
            apart = all(v in carriers_of(node) for v in read)
            known.update(dict.fromkeys(node.outputs, follow(node.op, node, known) if apart else _mixed(node, known)))
    return known.get(output)


@follow.register(Reshape)
def _(op, node, known):
    shapes = zip(node.inputs[0].type.shape, node.outputs[0].type.shape, strict=False)
    same = list(takewhile(lambda pair: pair[0] is not None and pair[0] == pair[1], shapes))
    axes = known.get(node.inputs[0], _mixed(node, known))
    return tuple(p if p is not None and p < len(same) else None for p in axes)


@follow.register(AdvancedIncSubtensor)
@follow.register(IncSubtensor)
def _(op, node, known):
    if op.set_instead_of_inc and not any(v in known for v in node.inputs[1:]):
        return known[node.inputs[0]]
    return _mixed(node, known)


@follow.register(Dot)
def _(op, node, known):
    return _product(node, known, 0)


@follow.register(Blockwise)
def _(op, node, known):
    batch = op.batch_ndim(node)
    if isinstance(op.core_op, Dot):
        return _product(node, known, batch)
    reads = [_kept(known[v], v, node.outputs[0], lambda p: p if p < batch else None) for v in node.inputs if v in known]
    return _common(reads)


def _product(node: Apply, known: Known, batch: int) -> Axes:
    """Follow a product, which keeps rows of the left factor, or columns of the right one, apart."""
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
