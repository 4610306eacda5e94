"""Shapes of what kernels return are known where kernels take the place of other nodes, and need no check."""

from __future__ import annotations

from pytensor.compile.ops import TypeCastingOp
from pytensor.graph.basic import Apply
from pytensor.tensor.shape import SpecifyShape

__all__ = ["Shaped", "of_shape", "unshaped"]


class Shaped(TypeCastingOp):
    """A variable whose shape is known to be that of the output's type.

    PyTensor's `SpecifyShape` checks it; numba compiles the check and the text of its error for up to two seconds.
    """

    __props__ = ()

    def make_node(self, x, type):
        """Return the node."""
        return Apply(self, [x], [type()])

    def infer_shape(self, node, shapes):
        """Return the shape of the input."""
        return shapes


def of_shape(x, shape):
    """Return ``x`` with a type that also has this shape, as far as it is known."""
    known = [new if old is None else old for old, new in zip(x.type.shape, shape, strict=True)]
    return x if tuple(known) == x.type.shape else Shaped().make_node(x, x.type.clone(shape=known)).outputs[0]


def unshaped(x):
    """Return ``x`` without the nodes that state its shape."""
    while x.owner is not None and isinstance(x.owner.op, SpecifyShape | Shaped):
        x = x.owner.inputs[0]
    return x
