"""The rewrites that put kernels in the place of symbolic graphs, on the numba back end only.

``mode.excluding("rbm_kernels")`` leaves the symbolic form.
"""

from __future__ import annotations

from importlib import import_module

import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.scalar.basic import Add, Cast, Mul
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.shape import SpecifyShape

from pymc_rbm.finite_units import Spin
from pymc_rbm.kernels.boundary import BinaryLevels, BinarySweeps, BinaryWalk
from pymc_rbm.kernels.operations import BinaryDot, LevelsKernel, Means, RowSums, SweepKernel, WalkKernel

__all__: list[str] = []

FLOATS = "float32", "float64"


def _have_kernel(*numbers):
    """Whether these are of one floating type that kernels have. Numba is loaded where it is used: here."""
    import_module("pymc_rbm.kernels.dispatch")
    return numbers[0].dtype in FLOATS and len({x.dtype for x in numbers}) == 1


@node_rewriter([BinarySweeps])
def use_sweep_kernel(fgraph, node):
    """`SweepKernel` where the parameters are of one floating type; otherwise the node will be expanded."""
    form = node.op.form
    given = form.by_name(node.inputs)
    b, c, weights = given["parameters"]
    known = [x for x in given["state"] if x is not None]
    if not _have_kernel(weights, b, c) or not known or len({x.ndim for x in known}) > 1:
        return None
    batch = known[0].shape[:-1]
    states, held = [], []
    for x, mask, bias in zip(given["state"], given["masks"], (b, c), strict=True):
        whole = (*batch, bias.shape[0])
        states.append(_rows(pt.zeros(whole, "int8") if x is None else x.astype("int8")))
        held.append(pt.zeros((0, bias.shape[0]), "bool") if mask is None else _rows(pt.broadcast_to(mask, whole)))
    kernel = SweepKernel(_spins(form.template), form.held)
    counts = given["draws"], given["n"]
    trace, h, next_rng = kernel(given["rng"], *counts, *states, weights, b, c, *held, return_list=True)
    if form.traced:
        visits = pt.specify_shape(trace.reshape((trace.shape[0], *batch, trace.shape[2])), node.outputs[0].type.shape)
        copy_stack_trace(node.outputs, [visits, next_rng])
        return [visits, next_rng]
    news = [trace[0], h]
    # The states that a sweep returns: all but a hidden state that was neither given nor drawn.
    news = [
        new for new, x, all_held in zip(news, given["state"], form.held, strict=True) if x is not None or not all_held
    ]
    shaped = [
        pt.specify_shape(new if old.ndim == 2 else new.reshape((*batch, new.shape[1])), old.type.shape)
        for new, old in zip(news, node.outputs, strict=False)
    ]
    copy_stack_trace(node.outputs, [*shaped, next_rng])
    return [*shaped, next_rng]


def _rows(x):
    return x if x.ndim == 2 else x.reshape((-1, x.shape[-1]))


def _spins(template):
    return tuple(isinstance(layer.unit, Spin) for layer in template.layers)


@node_rewriter([BinaryWalk])
def use_walk_kernel(fgraph, node):
    """`WalkKernel` where temperatures and parameters are of one floating type; otherwise the node will be expanded."""
    rng, betas, v, base_b, base_c, b, c, weights = node.inputs
    if not _have_kernel(betas, base_b, base_c, b, c, weights):
        return None
    kernel = WalkKernel(_spins(node.op.template), node.op.reverse)
    increments, new, next_rng = kernel(rng, betas, v, weights, b, c, base_b, base_c, return_list=True)
    increments = increments.astype(node.outputs[0].dtype)
    shaped = [pt.specify_shape(x, old.type.shape) for x, old in zip((increments, new), node.outputs, strict=False)]
    copy_stack_trace(node.outputs, [*shaped, next_rng])
    return [*shaped, next_rng]


@node_rewriter([BinaryLevels])
def use_levels_kernel(fgraph, node):
    """`LevelsKernel`, all temperatures' rows one below the other, where all is of one floating type."""
    rng, *betas, v, base_b, base_c, b, c, weights = node.inputs
    if not _have_kernel(*betas, base_b, base_c, b, c, weights):
        return None
    by_row = [pt.repeat(x, v.shape[1]) for x in betas]
    *found, next_rng = LevelsKernel(_spins(node.op.template))(
        rng, *by_row, _rows(v), weights, b, c, base_b, base_c, return_list=True
    )
    shapes = (v.shape[:2], v.shape[:2], v.shape)
    shaped = [
        pt.specify_shape(x.reshape(shape).astype(old.dtype), old.type.shape)
        for x, shape, old in zip(found, shapes, node.outputs, strict=False)
    ]
    copy_stack_trace(node.outputs, [*shaped, next_rng])
    return [*shaped, next_rng]


@node_rewriter([SweepKernel, WalkKernel, LevelsKernel], inplace=True)
def advance_generator_in_place(fgraph, node):
    """The generator of a kernel as one that it may destroy."""
    if node.op.inplace:
        return None
    outputs = type(node.op)(**(node.op._props_dict() | {"inplace": True})).make_node(*node.inputs).outputs
    copy_stack_trace(node.outputs, outputs)
    return outputs


def _int8_matrix(x):
    """What a matrix of numbers is cast from, if that is int8; transposed as the matrix is. Otherwise None."""
    node = x.owner
    if node is None:
        return None
    if isinstance(node.op, DimShuffle) and node.op.new_order == (1, 0):
        inner = _int8_matrix(node.inputs[0])
        return None if inner is None else inner.T
    is_cast = isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Cast)
    return node.inputs[0] if is_cast and node.inputs[0].dtype == "int8" else None


@node_rewriter([Dot])
def use_binary_dot(fgraph, node):
    """`BinaryDot` for the product of a matrix of int8, seen as numbers, and a matrix of weights."""
    x, weights = node.inputs
    if x.ndim != 2 or weights.ndim != 2 or not _have_kernel(x, weights):
        return None
    states = _int8_matrix(x)
    if states is None:
        return None
    out = BinaryDot()(states, weights)
    copy_stack_trace(node.outputs, out)
    return [pt.specify_shape(out, node.outputs[0].type.shape)]


def _is_field(x):
    """Whether ``x`` is a `BinaryDot`, perhaps with something added."""
    node = x.owner
    if node is None:
        return False
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Add | Mul):
        return any(map(_is_field, node.inputs))
    return isinstance(node.op, BinaryDot) or (isinstance(node.op, SpecifyShape) and _is_field(node.inputs[0]))


@node_rewriter([Sum])
def use_row_sums(fgraph, node):
    """`RowSums` for sums of softplus or sigmoid over the units of fields that come from binary states."""
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
    """`Means` for the sigmoid of fields that come from binary states, and for the `RowSums` of the same fields."""
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


TAGS = "numba", "rbm_kernels"
# Before such nodes are expanded.
nodes = dfs_rewriter(use_sweep_kernel, use_walk_kernel, use_levels_kernel)
optdb.register("rbm_sweep_kernel", nodes, *TAGS, position=-0.02)
# Where PyTensor does the same for random variables.
in_place = dfs_rewriter(advance_generator_in_place, ignore_newtrees=True)
optdb.register("rbm_sweep_kernel_inplace", in_place, *TAGS, "inplace", position=50.9)
# After the stable forms are found, before products become those of BLAS.
optdb.register("rbm_binary_dot", dfs_rewriter(use_binary_dot), *TAGS, position=1.55)
optdb.register("rbm_row_sums", dfs_rewriter(use_row_sums), *TAGS, position=1.56)
optdb.register("rbm_means", dfs_rewriter(use_means), *TAGS, position=1.57)
