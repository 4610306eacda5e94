"""The rewrites that put kernels in the place of symbolic graphs, on the numba back end only.

``mode.excluding("rbm_kernels")`` leaves the symbolic form.
"""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter

from pymc_rbm.finite_units import Spin
from pymc_rbm.kernels.boundary import BinarySweeps
from pymc_rbm.kernels.operations import SweepKernel

__all__: list[str] = []


@node_rewriter([BinarySweeps])
def use_sweep_kernel(fgraph, node):
    """`SweepKernel` where the parameters are of one floating type; otherwise the node will be expanded."""
    from pymc_rbm.kernels.dispatch import VERSION  # noqa: F401  # numba is loaded where it is used

    op, given = node.op, node.op.by_name(node.inputs)
    b, c, weights = given["parameters"]
    known = [x for x in given["state"] if x is not None]
    if len({x.dtype for x in (weights, b, c)}) > 1 or weights.dtype not in ("float32", "float64"):
        return None
    if not known or len({x.ndim for x in known}) > 1:
        return None
    batch = known[0].shape[:-1]
    states, held = [], []
    for x, mask, bias in zip(given["state"], given["masks"], (b, c), strict=True):
        whole = (*batch, bias.shape[0])
        states.append(_rows(pt.zeros(whole, "int8") if x is None else x.astype("int8")))
        held.append(pt.zeros((0, bias.shape[0]), "bool") if mask is None else _rows(pt.broadcast_to(mask, whole)))
    spins = tuple(isinstance(layer.unit, Spin) for layer in op.template.layers)
    kernel = SweepKernel(spins, op.held)
    *news, next_rng = kernel(given["rng"], given["n"], *states, weights, b, c, *held, return_list=True)
    # The states that a sweep returns: all but a hidden state that was neither given nor drawn.
    news = [
        new for new, x, all_held in zip(news, given["state"], op.held, strict=True) if x is not None or not all_held
    ]
    shaped = [
        pt.specify_shape(new if old.ndim == 2 else new.reshape((*batch, new.shape[1])), old.type.shape)
        for new, old in zip(news, node.outputs, strict=False)
    ]
    copy_stack_trace(node.outputs, [*shaped, next_rng])
    return [*shaped, next_rng]


def _rows(x):
    return x if x.ndim == 2 else x.reshape((-1, x.shape[-1]))


@node_rewriter([SweepKernel], inplace=True)
def advance_generator_in_place(fgraph, node):
    """The generator of a `SweepKernel` as one that it may destroy."""
    if node.op.inplace:
        return None
    outputs = SweepKernel(node.op.spins, node.op.held, inplace=True).make_node(*node.inputs).outputs
    copy_stack_trace(node.outputs, outputs)
    return outputs


TAGS = "numba", "rbm_kernels"
# Before such nodes are expanded.
optdb.register("rbm_sweep_kernel", dfs_rewriter(use_sweep_kernel), *TAGS, position=-0.02)
# Where PyTensor does the same for random variables.
in_place = dfs_rewriter(advance_generator_in_place, ignore_newtrees=True)
optdb.register("rbm_sweep_kernel_inplace", in_place, *TAGS, "inplace", position=50.9)
