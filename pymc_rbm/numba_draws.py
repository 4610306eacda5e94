"""Forward draws on the numba back end. Imported when something is compiled for it: numba takes half a second."""

from __future__ import annotations

import numba
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import get_numba_type, numba_funcify, numba_njit
from pytensor.tensor.random.op import RandomVariable

__all__ = ["DrawRBM"]


class DrawRBM(Op):
    """Runs the ``perform`` of an RBM's random variable as a whole, so that rows are drawn together.

    PyTensor's own lowering of random variables would call a core function once a row.
    """

    __props__ = ("rv_op",)

    def __init__(self, rv_op: RandomVariable):
        self.rv_op = rv_op
        if rv_op.inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, *inputs):
        """As the random variable's."""
        return Apply(self, inputs, [out.type() for out in self.rv_op.make_node(*inputs).outputs])

    def perform(self, node, inputs, output_storage):
        """Draw all rows."""
        self.rv_op.perform(node, inputs, output_storage)


@numba_funcify.register(DrawRBM)
def _numba_draw(op, node, **kwargs):
    types = numba.types.Tuple([get_numba_type(out.type) for out in node.outputs])

    def perform(*inputs):
        storage = [[None], [None]]
        op.perform(node, inputs, storage)
        return storage[0][0], storage[1][0]

    @numba_njit
    def draw(*inputs):
        with numba.objmode(outputs=types):
            outputs = perform(*inputs)
        return outputs

    return draw
