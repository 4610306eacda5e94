"""log Z is left out of a log-density where it does not matter: where the machine is a factor of the model's own.

A model's own machine is a factor of ``model.logp()``. With constant parameters its log Z is an additive constant of the
target, which no sampler needs: it is left out, and nothing is estimated. Everywhere else, in a mixture, a switch, a
Potential, ``pm.logp``, it matters and stays. So it does in the log-densities of single *observed* rows, which
``pm.compute_log_likelihood`` reports; in their sum, which samplers climb, it is left out.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.math import Sum
from pytensor.tensor.rewriting.basic import register_canonicalize
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.constant_log_z import constant_log_partition
from pymc_rbm.distributions.operations import MachineRV
from pymc_rbm.distributions.pymc_internals import PartialObservedRV, ValuedRV, early_measurable_ir_rewrites_db
from pymc_rbm.machine.enumeration import is_constant, is_tractable, symbolic_log_partition
from pymc_rbm.machine.machine import Machine

__all__ = ["less_log_z", "log_z_where_it_matters", "without_log_z"]


def log_z_where_it_matters(
    op: MachineRV, value: TensorVariable, machine: Machine, *parameters: TensorVariable
) -> tuple[TensorVariable, bool]:
    """Return log Z, or zero where it does not matter, and whether only the densities of single rows need it."""
    given = op.log_z(*parameters)
    if given is not None:
        return given, False
    if is_tractable(machine) or not is_constant(machine.parameters):
        return symbolic_log_partition(machine), False
    if not op.factor:
        return constant_log_partition(machine), False
    if is_constant([value]):
        return constant_log_partition(machine), True
    return pt.zeros((), dtype=pt.as_tensor(machine.layers[0].bias).dtype), False


@node_rewriter([ValuedRV, PartialObservedRV])
def _mark_factors(fgraph, node):
    """Mark machines that have values of their own in a model, masked ones included, as factors of its log-density.

    Components of mixtures, branches of switches and the like have no values of their own: only the mixture has.
    """
    rv, *rest = node.inputs
    if rv.owner is None or not isinstance(rv.owner.op, MachineRV) or rv.owner.op.factor:
        return None
    op = copy(rv.owner.op)
    op.factor = True
    marked = Apply(op, rv.owner.inputs, [out.type() for out in rv.owner.outputs])
    return node.op.make_node(marked.outputs[rv.owner.outputs.index(rv)], *rest).outputs


early_measurable_ir_rewrites_db.register("mark_machines_that_are_factors", _mark_factors, "basic")


class OfRows(Op):
    """An Op that subtracts log Z, a number or one a row, from log-densities of rows; sums of rows leave it out."""

    __props__ = ()

    def make_node(self, log_p, log_z):
        """Return the node; the first input has all axes."""
        return Apply(self, [log_p, log_z], [(log_p - log_z).type()])

    def perform(self, node, inputs, output_storage):
        """Subtract log Z."""
        log_p, log_z = inputs
        output_storage[0][0] = np.asarray(log_p - log_z, dtype=node.outputs[0].dtype)

    def pullback(self, inputs, outputs, output_gradients):
        """Return the gradient of the difference."""
        log_p, log_z = inputs
        return pt.Lop(log_p - log_z, [log_p, log_z], output_gradients[0])


less_log_z = OfRows()


def without_log_z(log_p: TensorVariable) -> TensorVariable:
    """Return a term of a joint log-density without the log Z that `less_log_z` subtracted."""
    return log_p.owner.inputs[0] if log_p.owner is not None and isinstance(log_p.owner.op, OfRows) else log_p


@register_canonicalize("fast_compile")
@node_rewriter([Sum])
def local_sum_without_log_z(fgraph, node):
    """Leave log Z out of the sum of all rows."""
    [rows] = node.inputs
    if rows.owner is None or not isinstance(rows.owner.op, OfRows) or node.outputs[0].ndim:
        return None
    return [rows.owner.inputs[0].sum()]


@node_rewriter([OfRows])
def _subtracted(fgraph, node):
    log_p, log_z = node.inputs
    return [log_p - log_z]


optdb.register("log_z_of_rows_subtracted", dfs_rewriter(_subtracted), "fast_run", "fast_compile", position=1.8)
