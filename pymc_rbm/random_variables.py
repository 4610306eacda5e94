"""The Ops behind the distributions: how an RBM and its hidden units appear in PyTensor graphs."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from pymc.distributions.distribution import SymbolicRandomVariable
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import get_numba_type, numba_funcify, numba_njit
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.random.utils import normalize_size_param
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.draws import draw_visible
from pymc_rbm.machine import HIDDEN, Machine, restricted

__all__ = ["DRAW_SWEEPS", "RBMRV", "HiddenRV", "core_of"]

DRAW_SWEEPS = 1000


class RBMRV(RandomVariable):
    """``v ~ p(v) ∝ exp(-F(v))``: the Op behind `RBM`. Inputs are rng, size, W, b, c and, if known, log Z."""

    name = "RBM"
    dtype = "int8"
    signature = "(v,h),(v),(h)->(v)"
    _print_name = ("RBM", r"\operatorname{RBM}")
    __props__ = (*RandomVariable.__props__, "n_visible", "n_hidden", "sweeps")

    def __init__(self, *args, n_visible=None, n_hidden=None, sweeps=DRAW_SWEEPS, **kwargs):
        self.n_visible, self.n_hidden, self.sweeps = n_visible, n_hidden, sweeps
        super().__init__(*args, **kwargs)

    def machine(self, W, b, c, *log_z) -> Machine:
        """The machine of these parameters, with static sizes where they are known."""
        return restricted(
            core_of(W, self.n_visible, self.n_hidden), core_of(b, self.n_visible), core_of(c, self.n_hidden)
        )

    def rng_fn(self, rng, W, b, c, *rest):
        """Draw: all rows at once where they share their parameters."""
        size = rest[-1]
        log_z_shapes = [np.shape(log_z) for log_z in rest[:-1]]
        batch = tuple(size or np.broadcast_shapes(W.shape[:-2], b.shape[:-1], c.shape[:-1], *log_z_shapes))
        if W.ndim - 2 == b.ndim - 1 == c.ndim - 1 == sum(W.shape[:-2] + b.shape[:-1] + c.shape[:-1]) / 3:
            W, b, c = W.reshape(W.shape[-2:]), b.reshape(-1), c.reshape(-1)
            rows = draw_visible(rng, int(np.prod(batch)), self.sweeps, W, b, c)
            return rows.reshape((*batch, b.size))
        W, b, c = (np.broadcast_to(p, (*batch, *p.shape[-n:])) for p, n in ((W, 2), (b, 1), (c, 1)))
        out = np.empty(b.shape, dtype=self.dtype)
        for i in np.ndindex(*batch):
            out[i] = draw_visible(rng, 1, self.sweeps, W[i], b[i], c[i])[0]
        return out


class DrawRBM(Op):
    """Runs an `RBMRV`'s ``perform`` as a whole on the numba back end, so that rows are drawn together.

    PyTensor's own lowering of random variables would call a core function once a row.
    """

    __props__ = ("rv_op",)

    def __init__(self, rv_op: RBMRV):
        self.rv_op = rv_op
        if rv_op.inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, *inputs):
        return Apply(self, inputs, [out.type() for out in self.rv_op.make_node(*inputs).outputs])

    def perform(self, node, inputs, output_storage):
        self.rv_op.perform(node, inputs, output_storage)


@node_rewriter([RBMRV])
def _draw_rows_together(fgraph, node):
    return DrawRBM(node.op).make_node(*node.inputs).outputs


optdb.register("draw_rbm_rows_together", dfs_rewriter(_draw_rows_together), "numba", position=99)


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


class HiddenRV(SymbolicRandomVariable):
    """``h ~ p(h | v)``: the Op behind `Hidden`. Inputs are rng, size, v, W and c."""

    name = "hidden"
    extended_signature = "[rng],[size],(v),(v,h),(h)->[rng],(h)"
    _print_name = ("Hidden", r"\operatorname{Hidden}")

    @classmethod
    def rv_op(cls, v, W, c, *, size=None, rng=None):
        """Draw h from its conditional."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        size = normalize_size_param(size)
        machine = restricted(W, None, c)
        field = machine.field(HIDDEN, [v, None])
        if not isinstance(size.type, NoneTypeT):
            field = pt.broadcast_to(field, (*size, field.shape[-1]))
        next_rng, h = machine.layers[HIDDEN].unit.sample(field, rng)
        return cls(inputs=[rng, size, v, W, c], outputs=[next_rng, h])(rng, size, v, W, c)


def core_of(x: Any, *lengths: int | None) -> TensorVariable:
    """``x`` without the length-one batch axes that PyTensor prepends, its core axes of the given lengths."""
    x = pt.as_tensor(x)
    extra = x.ndim - len(lengths)
    for _ in range(extra if lengths else 0):
        if not x.type.broadcastable[0]:
            break
        x = x.squeeze(0)
    known = [a if a is not None else b for a, b in zip(lengths, x.type.shape[x.ndim - len(lengths) :], strict=True)]
    return pt.specify_shape(x, (*x.type.shape[: x.ndim - len(lengths)], *known))
