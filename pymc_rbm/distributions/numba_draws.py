"""Ops that numba runs as they are, in Python. Imported when something is compiled for it: numba takes half a second."""

from __future__ import annotations

import numba
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import get_numba_type, numba_funcify, numba_njit

__all__ = ["Performed"]


class Performed(Op):
    """Runs the ``perform`` of another Op as a whole: of an RBM's random variable, so that rows are drawn together.

    PyTensor's own lowering of random variables would call a core function once a row; Ops that it does not know it
    would run in the same way, but not without a warning.
    """

    __props__ = ("of",)

    def __init__(self, of: Op):
        self.of = of
        if getattr(of, "inplace", False):
            self.destroy_map = {0: [0]}

    def make_node(self, *inputs):
        """As that of the other."""
        return Apply(self, inputs, [out.type() for out in self.of.make_node(*inputs).outputs])

    def perform(self, node, inputs, output_storage):
        """Run the other."""
        self.of.perform(node, inputs, output_storage)


@numba_funcify.register(Performed)
def _numba_performed(op, node, **kwargs):
    types = numba.types.Tuple([get_numba_type(out.type) for out in node.outputs])

    def perform(*inputs):
        storage = [[None] for _ in node.outputs]
        op.perform(node, inputs, storage)
        return tuple(x for [x] in storage)

    @numba_njit
    def performed(*inputs):
        with numba.objmode(outputs=types):
            outputs = perform(*inputs)
        return outputs

    @numba_njit
    def performed_alone(*inputs):
        return performed(*inputs)[0]

    return performed if len(node.outputs) > 1 else performed_alone
