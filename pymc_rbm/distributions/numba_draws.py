"""Ops that numba calls as Python code; the module is imported only when needed, because numba's import is slow."""

from __future__ import annotations

import numba
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import get_numba_type, numba_funcify, numba_njit

from pymc_rbm.distributions.data_of_graphs import check_data_of

__all__ = ["Performed"]


class Performed(Op):
    """Op that runs the ``perform`` of another, such as an RBM's random variable, so that rows are drawn together.

    PyTensor's own implementation of random variables would call a function once a row; Ops without an implementation
    it would run in the same way, but with a warning.
    """

    __props__ = ("of",)

    def __init__(self, of: Op):
        self.of = of
        if getattr(of, "inplace", False):
            self.destroy_map = {0: [0]}

    def make_node(self, *inputs):
        """Return the node, whose outputs have the types of the other Op's outputs."""
        return Apply(self, inputs, [out.type() for out in self.of.make_node(*inputs).outputs])

    def perform(self, node, inputs, output_storage):
        """Run the other Op."""
        self.of.perform(node, inputs, output_storage)


@numba_funcify.register(Performed)
def _numba_performed(op, node, **kwargs):
    check_data_of(node.inputs)  # numba itself would only name a type that it does not know
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
