"""Log-densities of rows with imputed entries are right in a sum, for sampling, but are not log-likelihoods of the data.

For a masked variable PyMC has the joint log-density of observed and imputed entries. The log-density of the whole model
needs just that. Reported by row, by ``pm.compute_log_likelihood``, it is a likelihood of entries that
nobody observed, and ``az.loo`` would run on it. So the rows carry a mark that lets sums pass and refuses to be an
output of a compiled function.
"""

from __future__ import annotations

from typing import Any

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import Output
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.basic import Alloc
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.shape import Reshape, SpecifyShape

from pymc_rbm.distributions.lookup import is_joined

__all__ = ["of_rows", "without_marks"]

MESSAGE = (
    "This log-density by row is not a log-likelihood of the data: it contains imputed entries, of masked or hidden "
    "units. pymc_rbm.log_likelihood(data, model, idata), with the masked data, sums them out, and az.loo and "
    "az.compare take what it returns."
)
BY_ROW = Alloc, DimShuffle, Elemwise, Reshape, SpecifyShape


class ImputedRows(Op):
    """A mark on log-densities by row, which does not change their values."""

    __props__ = ()
    view_map = {0: [0]}  # noqa: RUF012  PyTensor expects a class attribute

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, output_storage):
        output_storage[0][0] = inputs[0]

    def infer_shape(self, node, shapes):
        return shapes

    def pullback(self, inputs, outputs, output_gradients):
        return output_gradients


@node_rewriter([ImputedRows])
def _sums_pass(fgraph, node):
    """Remove the mark, or replace it by a check that fails where log-densities of single rows are an output."""
    [x] = node.inputs
    return [CheckAndRaise(ValueError, MESSAGE)(x, False) if _comes_out(fgraph, node.outputs[0]) else x]


def _comes_out(fgraph: Any, x: Variable) -> bool:
    """Whether ``x``, or something computed from it row by row, is an output of the function."""
    for client, _ in fgraph.clients[x]:
        if isinstance(client.op, Output):
            return True
        if isinstance(client.op, BY_ROW) and any(_comes_out(fgraph, y) for y in client.outputs):
            return True
    return False


# This runs before all other rewrites, while the graph is as it was written.
optdb.register("imputed_rows_are_no_output", dfs_rewriter(_sums_pass), "fast_run", "fast_compile", position=-1)


def without_marks(log_p: Variable) -> Variable:
    """Return a term of a joint log-density without marks."""
    while log_p.owner is not None and isinstance(log_p.owner.op, ImputedRows):
        [log_p] = log_p.owner.inputs
    return log_p


def of_rows(log_p: Any, value: Any) -> Any:
    """Return ``log_p`` of the rows of ``value``, marked where PyMC joined these from observed and imputed entries."""
    return ImputedRows()(log_p) if is_joined(value) else log_p
