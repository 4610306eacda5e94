"""Rewrites of graphs: kernels take the place of products of states and weights, and of sums over units and rows."""

from __future__ import annotations

from itertools import permutations

import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.scalar.basic import Add, Cast, Mul, TrueDiv
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.tensor.basic import get_scalar_constant_value
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.shape import SpecifyShape
from pytensor.tensor.subtensor import Subtensor

from pymc_rbm.kernels.operations import BinaryDot, ColumnSums, Means, RowSums, SoftplusSums, StateSums, SweepKernel
from pymc_rbm.kernels.shapes import Shaped, of_shape, unshaped
from pymc_rbm.kernels.sweep_rewrites import FLOATS, TAGS, have_kernel

__all__: list[str] = []

WHOLE = {"float64": "int64"}
"""For each floating type, the type of whole numbers that it holds exactly, up to the number of rows."""


def _is_transpose(x):
    return x.owner is not None and isinstance(x.owner.op, DimShuffle) and x.owner.op.new_order == (1, 0)


def _int8_matrix(x):
    """Return the int8 matrix that a matrix of numbers is cast from, transposed as that is; otherwise None."""
    node = x.owner
    if node is None:
        return None
    if _is_transpose(x):
        inner = _int8_matrix(node.inputs[0])
        return None if inner is None else inner.T
    is_cast = isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Cast)
    return node.inputs[0] if is_cast and node.inputs[0].dtype == "int8" else None


@node_rewriter([Dot])
def use_binary_dot(fgraph, node):
    """Use `BinaryDot` for the product of an int8 matrix, cast to numbers, and a matrix of weights."""
    x, weights = node.inputs
    if x.ndim != 2 or weights.ndim != 2 or not have_kernel(x, weights):
        return None
    states = _int8_matrix(x)
    if states is None:
        return None
    flips = _is_transpose(states)
    out = BinaryDot(flips)(states.owner.inputs[0] if flips else states, weights)
    copy_stack_trace(node.outputs, out)
    return [of_shape(out, node.outputs[0].type.shape)]


@node_rewriter([BinaryDot])
def take_factors_out(fgraph, node):
    """Replace ``states @ (s·weights)`` by ``s·(states @ weights)`` for numbers s: one pass over the weights less."""
    states, weights, bias = node.inputs
    inner = weights.owner
    if bias.type.shape != (0,) or inner is None or not isinstance(inner.op, Elemwise):
        return None
    matrices = [x for x in inner.inputs if not all(x.type.broadcastable)]
    of_products = isinstance(inner.op.scalar_op, Mul) or (
        isinstance(inner.op.scalar_op, TrueDiv) and matrices == inner.inputs[:1]
    )
    if len(matrices) != 1 or not of_products or matrices[0].type != weights.type:
        return None
    dot = node.op(states, matrices[0])
    out = inner.op(*(dot if x is matrices[0] else x for x in inner.inputs))
    copy_stack_trace(node.outputs, out)
    return [out] if out.type == node.outputs[0].type else None


@node_rewriter([Elemwise])
def add_bias_inside(fgraph, node):
    """Use `BinaryDot` with a bias for the sum of a `BinaryDot` that is used nowhere else and a vector."""
    if not isinstance(node.op.scalar_op, Add) or len(node.inputs) != 2:
        return None
    for row, product in permutations(node.inputs):
        dot = product.owner
        if (
            dot is not None
            and isinstance(dot.op, BinaryDot)
            and dot.inputs[2].type.shape == (0,)
            and len(fgraph.clients[product]) == 1
            and row.owner is not None
            and isinstance(row.owner.op, DimShuffle)
            and row.owner.op.new_order == ("x", 0)
            and row.dtype == product.dtype
            and not row.type.broadcastable[1]
        ):
            out = dot.op(*dot.inputs[:2], row.owner.inputs[0])
            copy_stack_trace(node.outputs, out)
            return [of_shape(out, node.outputs[0].type.shape)]
    return None


@node_rewriter([BinaryDot])
def use_fields_of_sweep(fgraph, node):
    """Use the fields that a `SweepKernel` drew its last hidden states from, instead of computing them anew."""
    states, weights, bias = node.inputs
    states = unshaped(states)
    if node.op.transposed or states.owner is None or not isinstance(states.owner.op, Subtensor) or states.ndim != 2:
        return None
    sweep = states.owner.inputs[0].owner  # the visible states of its only draw
    if sweep is None or not isinstance(sweep.op, SweepKernel) or not sweep.op.has_fields:
        return None
    _, draws, _, _, _, same_weights, _, same_bias, *_ = sweep.inputs
    of_one_draw = get_scalar_constant_value(draws, raise_not_constant=False) == 1
    if weights is not same_weights or bias is not same_bias or not of_one_draw:
        return None
    fields = sweep.outputs[2]
    copy_stack_trace(node.outputs, fields)
    return [of_shape(fields, node.outputs[0].type.shape)]


def _is_field(x):
    """Whether ``x`` is a `BinaryDot`, perhaps with something added, or comes from a sweep."""
    node = x.owner
    if node is None:
        return False
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Add | Mul):
        return any(map(_is_field, node.inputs))
    if isinstance(node.op, SpecifyShape | Shaped):
        return _is_field(node.inputs[0])
    return isinstance(node.op, BinaryDot | SweepKernel)


@node_rewriter([Sum])
def use_row_sums(fgraph, node):
    """Use `RowSums` for sums of softplus or sigmoid over units, where the fields come from binary states."""
    inner = node.inputs[0].owner
    if node.op.axis != (1,) or inner is None or not isinstance(inner.op, Elemwise) or node.inputs[0].ndim != 2:
        return None
    name = {Softplus: "softplus", Sigmoid: "sigmoid"}.get(type(inner.op.scalar_op))
    if name is None or inner.inputs[0].dtype not in FLOATS or not _is_field(inner.inputs[0]):
        return None
    out = RowSums(name)(inner.inputs[0])
    copy_stack_trace(node.outputs, out)
    return [out] if out.dtype == node.outputs[0].dtype else None


@node_rewriter([Elemwise])
def use_means(fgraph, node):
    """Use `Means` for the sigmoid of fields that come from binary states, and for all sums of these."""
    fields = node.inputs[0]
    if not isinstance(node.op.scalar_op, Sigmoid) or fields.ndim != 2 or not _is_field(fields):
        return None
    means, softplus_sums, sigmoid_sums = Means()(fields)
    found = {node.outputs[0]: means}
    for client, _ in fgraph.clients[fields]:
        if isinstance(client.op, RowSums):
            found[client.outputs[0]] = {"softplus": softplus_sums, "sigmoid": sigmoid_sums}[client.op.function]
    copy_stack_trace(node.outputs, list(found.values()))
    return found


@node_rewriter([RowSums])
def use_softplus_sums(fgraph, node):
    """Use `SoftplusSums` for `RowSums` of a `BinaryDot` of many rows that is used nowhere else."""
    from pymc_rbm.kernels.one_row import FEW_ROWS

    fields = unshaped(node.inputs[0])
    dot = fields.owner
    if node.op.function != "softplus" or dot is None or not isinstance(dot.op, BinaryDot) or dot.op.transposed:
        return None
    rows = dot.inputs[0].type.shape[0]
    if not _is_used_once(fgraph, fields) or (rows is not None and rows < FEW_ROWS):
        return None
    out = SoftplusSums()(*dot.inputs)
    copy_stack_trace(node.outputs, out)
    return [of_shape(out, node.outputs[0].type.shape)]


@node_rewriter([Sum])
def use_column_sums(fgraph, node):
    """Use `ColumnSums` for sums over the rows of what `Means` returned."""
    [x], [out] = node.inputs, node.outputs
    means = unshaped(x).owner
    if node.op.axis != (0,) or x.ndim != 2 or means is None or not isinstance(means.op, Means) or out.dtype != x.dtype:
        return None
    found = ColumnSums()(x)
    copy_stack_trace(node.outputs, found)
    return [of_shape(found, out.type.shape)]


def _is_used_once(fgraph, x):
    """Whether one node uses ``x``, perhaps with a specified shape."""
    [(node, _), *others] = fgraph.clients[x]
    return not others and (not isinstance(node.op, SpecifyShape | Shaped) or _is_used_once(fgraph, node.outputs[0]))


def _sums(fgraph, x, axis):
    """Return the nodes that sum ``x``, or ``x`` with a specified shape, over an axis."""
    clients = [node for node, _ in fgraph.clients[x]]
    shaped = [node.outputs[0] for node in clients if isinstance(node.op, SpecifyShape | Shaped)]
    clients += [node for y in shaped for node, _ in fgraph.clients[y]]
    return [node.outputs[0] for node in clients if isinstance(node.op, Sum) and node.op.axis == (axis,)]


@node_rewriter([Sum])
def use_state_sums(fgraph, node):
    """Use `StateSums` for the product of states and a vector, written as a sum, and for sums of the same states."""
    inner = node.inputs[0].owner
    if node.op.axis != (1,) or not _is_product(inner):
        return None
    numbers = [x for x in inner.inputs if all(x.type.broadcastable)]
    for row, x in permutations([x for x in inner.inputs if x not in numbers], 2):
        states = x if x.dtype == "int8" else _int8_matrix(x)
        if (
            states is not None
            and states.ndim == 2
            and not any(states.type.broadcastable)
            and len(inner.inputs) == len(numbers) + 2
            and row.owner is not None
            and isinstance(row.owner.op, DimShuffle)
            and row.owner.op.new_order == ("x", 0)
            and not row.type.broadcastable[1]
            and have_kernel(row, *numbers, node.outputs[0])
        ):
            states = unshaped(states)
            dots, row_sums, unit_sums = StateSums()(states, row.owner.inputs[0])
            found = {node.outputs[0]: pt.mul(dots, *(x.dimshuffle(0) for x in numbers)) if numbers else dots}
            for out in _sums(fgraph, states, 1):
                found[out] = of_shape(row_sums.astype(out.dtype), out.type.shape)
            for out in _sums(fgraph, states, 0):
                if out.dtype in (unit_sums.dtype, WHOLE.get(unit_sums.dtype)):  # int8 sums of many rows would overflow
                    found[out] = of_shape(unit_sums.astype(out.dtype), out.type.shape)
            copy_stack_trace(node.outputs, list(found.values()))
            return found
    return None


@node_rewriter([Sum])
def use_weighted_sums(fgraph, node):
    """Use `BinaryDot` for sums over rows of states times one number a row, in the precision of PyTensor's sums."""
    inner = node.inputs[0].owner
    if node.op.axis != (0,) or not _is_product(inner) or len(inner.inputs) != 2:
        return None
    for column, x in permutations(inner.inputs):
        states = x if x.dtype == "int8" else _int8_matrix(x)
        of_rows = column.type.broadcastable == (False, True) and column.dtype == node.outputs[0].dtype == "float64"
        if states is not None and of_rows and not any(states.type.broadcastable) and have_kernel(column):
            out = of_shape(BinaryDot(True)(unshaped(states), column)[:, 0], node.outputs[0].type.shape)
            copy_stack_trace(node.outputs, out)
            return [out]
    return None


def _is_product(node):
    return node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Mul)


# These run after stable forms are found and before products become calls of BLAS.
optdb.register("rbm_binary_dot", dfs_rewriter(use_binary_dot), *TAGS, position=1.55)
optdb.register("rbm_factors", dfs_rewriter(take_factors_out), *TAGS, position=1.551)
optdb.register("rbm_bias", dfs_rewriter(add_bias_inside), *TAGS, position=1.552)
optdb.register("rbm_fields_of_sweep", dfs_rewriter(use_fields_of_sweep), *TAGS, position=1.553)
optdb.register("rbm_row_sums", dfs_rewriter(use_row_sums), *TAGS, position=1.56)
optdb.register("rbm_means", dfs_rewriter(use_means), *TAGS, position=1.57)
optdb.register("rbm_softplus_sums", dfs_rewriter(use_softplus_sums), *TAGS, position=1.58)
# These run after factors are taken out of sums and before the remaining nodes are fused.
optdb.register("rbm_state_sums", dfs_rewriter(use_state_sums), *TAGS, position=2.5)
optdb.register("rbm_weighted_sums", dfs_rewriter(use_weighted_sums), *TAGS, position=2.502)
optdb.register("rbm_column_sums", dfs_rewriter(use_column_sums), *TAGS, position=2.51)
