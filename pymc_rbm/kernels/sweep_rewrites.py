"""Rewrites of graphs: kernels take the place of sweeps and walks, on the numba back end only.

``mode.excluding("rbm_kernels")`` leaves the symbolic form.
"""

from __future__ import annotations

from importlib import import_module

import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter

from pymc_rbm.kernels.nodes import BinaryConditional, BinaryLevels, BinarySweeps, BinaryWalk
from pymc_rbm.kernels.operations import (
    NONE,
    BinaryDot,
    LevelsKernel,
    Means,
    SweepKernel,
    UnitConditionals,
    WalkKernel,
)
from pymc_rbm.kernels.shapes import of_shape
from pymc_rbm.units.binary import Bernoulli, Spin

__all__ = ["FLOATS", "TAGS", "have_kernel"]

FLOATS = "float32", "float64"
TAGS = "numba", "rbm_kernels"


def have_kernel(*numbers):
    """Whether the variables are of one floating type that kernels have; only then is numba loaded."""
    import_module("pymc_rbm.kernels.dispatch")
    return numbers[0].dtype in FLOATS and len({x.dtype for x in numbers}) == 1


@node_rewriter([BinarySweeps])
def use_sweep_kernel(fgraph, node):
    """Use `SweepKernel` where the parameters are of one floating type; otherwise the node will be expanded."""
    form = node.op.form
    given = form.by_name(node.inputs)
    b, c, weights = given["parameters"]
    known = [x for x in given["state"] if x is not None]
    if not have_kernel(weights, b, c) or not known or len({x.ndim for x in known}) > 1:
        return None
    batch = known[0].shape[:-1]
    states, held = [], []
    for x, mask, bias in zip(given["state"], given["masks"], (b, c), strict=True):
        whole = (*batch, bias.shape[0])
        states.append(NONE if x is None else _rows(x.astype("int8")))
        held.append(NONE.astype(bool) if mask is None else _rows(pt.broadcast_to(mask, whole)))
    kernel = SweepKernel(_spins(form.template), form.held, form.hidden_last)
    counts = given["draws"], given["n"]
    trace, h, _, next_rng = kernel(given["rng"], *counts, *states, weights, b, c, *held, return_list=True)
    if form.traced:
        visits = of_shape(trace.reshape((trace.shape[0], *batch, trace.shape[2])), node.outputs[0].type.shape)
        copy_stack_trace(node.outputs, [visits, next_rng])
        return [visits, next_rng]
    news = [trace[0], h]
    # A sweep returns all states but a hidden state that was neither given nor drawn.
    news = [
        new for new, x, all_held in zip(news, given["state"], form.held, strict=True) if x is not None or not all_held
    ]
    shaped = [
        of_shape(new if old.ndim == 2 else new.reshape((*batch, new.shape[1])), old.type.shape)
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
    """Use `WalkKernel` where temperatures and parameters are of one floating type; else the node will be expanded."""
    rng, betas, v, base_b, base_c, b, c, weights = node.inputs
    if not have_kernel(betas, base_b, base_c, b, c, weights):
        return None
    kernel = WalkKernel(_spins(node.op.template), node.op.reverse)
    increments, new, next_rng = kernel(rng, betas, v, weights, b, c, base_b, base_c, return_list=True)
    increments = increments.astype(node.outputs[0].dtype)
    shaped = [of_shape(x, old.type.shape) for x, old in zip((increments, new), node.outputs, strict=False)]
    copy_stack_trace(node.outputs, [*shaped, next_rng])
    return [*shaped, next_rng]


@node_rewriter([BinaryLevels])
def use_levels_kernel(fgraph, node):
    """Use `LevelsKernel`, with the rows of all temperatures below each other, where all is of one floating type."""
    rng, *betas, v, base_b, base_c, b, c, weights = node.inputs
    if not have_kernel(*betas, base_b, base_c, b, c, weights):
        return None
    by_row = [pt.repeat(x, v.shape[1]) for x in betas]
    *found, next_rng = LevelsKernel(_spins(node.op.template))(
        rng, *by_row, _rows(v), weights, b, c, base_b, base_c, return_list=True
    )
    shapes = (v.shape[:2], v.shape[:2], v.shape)
    shaped = [
        of_shape(x.reshape(shape).astype(old.dtype), old.type.shape)
        for x, shape, old in zip(found, shapes, node.outputs, strict=False)
    ]
    copy_stack_trace(node.outputs, [*shaped, next_rng])
    return [*shaped, next_rng]


@node_rewriter([BinaryConditional])
def use_conditional_kernel(fgraph, node):
    """Use `UnitConditionals` for units of 0 and 1, where the parameters are of one floating type."""
    v, unit, b, c, weights = node.inputs
    plain = all(type(layer.unit) is Bernoulli for layer in node.op.template.layers)
    if not plain or v.dtype != "int8" or v.ndim != 2 or not have_kernel(weights, b, c):
        return None
    out = UnitConditionals()(BinaryDot(False)(v, weights, c), v, unit.astype("int64"), weights, b)
    copy_stack_trace(node.outputs, out)
    return [of_shape(out.astype(node.outputs[0].dtype), node.outputs[0].type.shape)]


@node_rewriter([SweepKernel, WalkKernel, LevelsKernel, Means], inplace=True)
def work_in_place(fgraph, node):
    """Let a kernel overwrite its generator, or the array that its fields are written to."""
    if node.op.inplace:
        return None
    outputs = type(node.op)(**(node.op._props_dict() | {"inplace": True})).make_node(*node.inputs).outputs
    copy_stack_trace(node.outputs, outputs)
    return outputs


# These run before the nodes are expanded.
nodes = dfs_rewriter(use_sweep_kernel, use_walk_kernel, use_levels_kernel, use_conditional_kernel)
optdb.register("rbm_sweep_kernel", nodes, *TAGS, position=-0.02)
# PyTensor does the same for random variables at this position.
in_place = dfs_rewriter(work_in_place, ignore_newtrees=True)
optdb.register("rbm_kernels_inplace", in_place, *TAGS, "inplace", position=50.9)
