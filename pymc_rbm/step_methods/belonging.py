"""Prove which row of a variable each entry of a graph reads, from the graph and the numbers of its indices.

`proofs` follows axes, whatever their lengths. Where a graph moves entries about (a loop over rows, groups of
observations, rows that are left out) axes are lost. Here each entry carries the lowest and the highest row that it
reads, and an operation that moves entries moves these numbers. Indices must not depend on what is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import io_toposort
from pytensor.tensor.basic import Alloc, ARange, Join, MakeVector, Nonzero
from pytensor.tensor.extra_ops import Repeat
from pytensor.tensor.shape import Reshape, Shape, Shape_i
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
    indices_from_subtensor,
)

from pymc_rbm.step_methods.following import carriers_of, follow, read_by

__all__ = ["rows_of_entries"]

MOST_READ = 20_000_000
"""The most entries that are followed one by one."""

NO_ROW = np.iinfo(np.int64).max // 2
WRITES = IncSubtensor | AdvancedIncSubtensor
MOVES = Subtensor | AdvancedSubtensor | WRITES | Reshape | Join | MakeVector

Numbers = Callable[[list[Variable]], list[Any]]
"""A function from variables to their values."""


def rows_of_entries(
    x: Variable, outputs: Sequence[Variable], shape: tuple[int, ...], numbers: Numbers
) -> list[np.ndarray] | None:
    """Return the row of ``x``, of the given shape, that each entry of each output reads.

    Returns
    -------
    list of arrays or None
        One array an output, which may be broadcast against it, -1 where it reads no row. None where an entry reads
        several rows.
    """
    nodes, fixed = _reading(x, outputs), _Fixed()
    if not all(map(fixed.length_of, io_toposort([], outputs))):
        return None
    moves = [n for n in nodes if isinstance(n.op, MOVES) and all(map(fixed, _indices(n)))]
    sized = list(dict.fromkeys(v for n in moves for v in _arrays(n)))
    wanted = list(dict.fromkeys(v for n in moves for v in _indices(n)))
    values = numbers([*(v.shape for v in sized), *wanted])
    shapes = {v: tuple(map(int, s)) for v, s in zip(sized, values, strict=False)}
    if sum(map(np.prod, shapes.values())) > MOST_READ:
        return None
    index = dict(zip(wanted, values[len(sized) :], strict=True))

    rows = np.arange(np.prod(shape[:-1], dtype=int)).reshape(*shape[:-1], 1)
    reads: dict[Variable, np.ndarray] = {x: np.stack([rows, -rows])}  # the lowest row, and minus the highest row
    for node in nodes:
        moved = node in moves
        reads.update(_moved(node, reads, shapes, index) if moved else _read_through(node, reads))
    found = []
    for y in outputs:
        low, high = reads.get(y, _nothing(y))
        if (low < -high).any():
            return None
        found.append(np.where(low == NO_ROW, -1, low))
    return found


def _reading(x: Variable, outputs: Sequence[Variable]) -> list[Apply]:
    """Return the nodes whose outputs depend on the value of ``x``, in order."""
    moving, found = {x}, []
    for node in io_toposort([x], outputs):
        if moving & set(read_by(node)):
            moving.update(node.outputs)
            found.append(node)
    return found


class _Fixed:
    """A test whether a variable is the same in all states of the model: it reads constants, data or shapes only."""

    def __init__(self):
        self.known: dict[Variable, bool] = {}

    def __call__(self, y: Variable) -> bool:
        if y not in self.known:
            node = y.owner
            if node is None:
                self.known[y] = isinstance(y, Constant | SharedVariable)
            else:
                self.known[y] = isinstance(node.op, Shape | Shape_i) or all(map(self, node.inputs))
        return self.known[y]

    def length_of(self, node: Apply) -> bool:
        """Whether the shape of a node's output is the same in all states of the model, given that its inputs' are."""
        if isinstance(node.op, ARange | Nonzero):
            return all(map(self, node.inputs))
        if isinstance(node.op, AdvancedSubtensor):
            return all(self(i) for i in node.inputs[1:] if i.type.dtype == "bool")
        return not isinstance(node.op, Alloc | Reshape | Repeat) or all(map(self, node.inputs[1:]))


def _arrays(node: Apply) -> list[Variable]:
    """Return the inputs from which a node that moves entries takes them."""
    if isinstance(node.op, Join | MakeVector):
        return node.inputs
    return node.inputs[: 2 if isinstance(node.op, WRITES) else 1]


def _indices(node: Apply) -> list[Variable]:
    """Return the inputs that say where a node moves entries."""
    return node.inputs[len(_arrays(node)) :]


def _nothing(y: Variable) -> np.ndarray:
    return np.full((2, *[1] * y.type.ndim), NO_ROW)


def _moved(node: Apply, reads: dict, shapes: dict, index: dict) -> dict[Variable, np.ndarray]:
    """Return what the output reads, found by applying the operation to the numbers of rows."""
    arrays = [np.broadcast_to(reads.get(v, _nothing(v)), (2, *shapes[v])) for v in _arrays(node)]
    where = [int(i) if np.ndim(i) == 0 else np.asarray(i) for i in (index[v] for v in _indices(node))]
    op = node.op
    each = zip(*arrays, strict=True)
    if isinstance(op, Join):
        found = [np.concatenate(parts, axis=op.axis) for parts in each]
    elif isinstance(op, MakeVector):
        found = [np.array(parts) for parts in each]
    elif isinstance(op, Reshape):
        found = [part.reshape(where[0]) for [part] in each]
    else:
        at = indices_from_subtensor(where, op.idx_list)
        found = [_written(op, parts, at) if isinstance(op, WRITES) else parts[0][at] for parts in each]
    return {node.outputs[0]: np.stack(found)}


def _written(op: Any, parts: Sequence[np.ndarray], at: Any) -> np.ndarray:
    """Return what entries read after writing: set entries read what is written, entries that are added to read both."""
    old, new = parts[0].copy(), parts[1]
    if op.set_instead_of_inc:
        old[at] = NO_ROW
    np.minimum.at(old, at, new)
    return old


def _read_through(node: Apply, reads: dict) -> dict[Variable, np.ndarray]:
    """Return what the outputs read, by the axes along which an operation keeps entries apart."""
    found = {y: _nothing(y) for y in node.outputs}
    for v in dict.fromkeys(read_by(node)):
        if v not in reads:
            continue
        n = reads[v].ndim - 1
        apart = v in carriers_of(node) and len(node.outputs) == 1
        axes = follow(node.op, node, {v: tuple(range(n))}) if apart else (None,) * n
        for y in node.outputs:
            found[y] = np.minimum(found[y], _placed(reads[v], axes, y.type.ndim))
    return found


def _placed(read: np.ndarray, axes: Iterable[int | None], ndim: int) -> np.ndarray:
    """Bring what is read along a variable's axes to the axes of another, joined along axes that are not kept."""
    axes = list(axes)
    read = read.min(axis=tuple(1 + p for p, q in enumerate(axes) if q is None))
    kept = [q for q in axes if q is not None]
    read = read.transpose(0, *(1 + i for i in np.argsort(kept)))
    return np.expand_dims(read, tuple(1 + q for q in range(ndim) if q not in kept))
