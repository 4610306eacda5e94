"""The Ops behind the distributions: how an RBM and its hidden units appear in PyTensor graphs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.distribution import SymbolicRandomVariable
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.random.utils import normalize_size_param
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.draws import draw_visible
from pymc_rbm.machine import HIDDEN, Machine, restricted
from pymc_rbm.units import Bernoulli

__all__ = ["DRAW_SWEEPS", "RBMRV", "HiddenRV", "core_of"]

DRAW_SWEEPS = 1000


class RBMRV(RandomVariable):
    """``v ~ p(v) ∝ exp(-F(v))``: the Op behind `RBM`.

    Inputs are rng, size, W, b, c, the parameters of the units (one entry a unit) and, if known, log Z.
    """

    name = "RBM"
    _print_name = ("RBM", r"\operatorname{RBM}")
    __props__ = (*RandomVariable.__props__, "n_visible", "n_hidden", "sweeps", "visible", "hidden", "knows_log_z")

    def __init__(
        self,
        *args,
        n_visible=None,
        n_hidden=None,
        sweeps=DRAW_SWEEPS,
        visible=None,
        hidden=None,
        knows_log_z=False,
        **kwargs,
    ):
        self.n_visible, self.n_hidden, self.sweeps = n_visible, n_hidden, sweeps
        self.visible, self.hidden = visible or Bernoulli(), hidden or Bernoulli()
        self.knows_log_z = knows_log_z
        own = [("v", "h")[i] for i, unit in enumerate((self.visible, self.hidden)) for _ in unit.parameters]
        inputs = ["(v,h)", "(v)", "(h)", *(f"({x})" for x in own), *["()"] * knows_log_z]
        self._core_ndims = [2, 1, 1, *[1] * len(own)]
        kwargs = {"signature": f"{','.join(inputs)}->(v)", "dtype": self.visible.dtype} | kwargs
        super().__init__(*args, **kwargs)

    def machine(self, W, b, c, *rest) -> Machine:
        """The machine of these parameters, with static sizes where they are known."""
        sizes, given = (self.n_visible, self.n_hidden), iter(rest)
        visible, hidden = (
            unit.with_parameters([core_of(next(given), n) for _ in unit.parameters])
            for unit, n in zip((self.visible, self.hidden), sizes, strict=True)
        )
        return restricted(core_of(W, *sizes), core_of(b, sizes[0]), core_of(c, sizes[1]), visible, hidden)

    def log_z(self, *parameters) -> TensorVariable | None:
        """The log Z that was given, if it was."""
        return core_of(parameters[-1]) if self.knows_log_z else None

    def rng_fn(self, rng, *arguments):
        """Draw: all rows at once where they share their parameters."""
        *given, size = arguments
        log_z_shapes = [np.shape(given.pop())] if self.knows_log_z else []
        batches = [p.shape[: p.ndim - n] for p, n in zip(given, self._core_ndims, strict=True)]
        batch = tuple(size or np.broadcast_shapes(*batches, *log_z_shapes))
        if all(n == 1 for shape in batches for n in shape):
            shared = [p.reshape(p.shape[p.ndim - n :]) for p, n in zip(given, self._core_ndims, strict=True)]
            rows = draw_visible(rng, int(np.prod(batch)), self.sweeps, self._numeric(shared))
            return rows.reshape((*batch, rows.shape[-1]))
        given = [
            np.broadcast_to(p, (*batch, *p.shape[p.ndim - n :])) for p, n in zip(given, self._core_ndims, strict=True)
        ]
        out = np.empty(given[1].shape, dtype=self.dtype)
        for i in np.ndindex(*batch):
            out[i] = draw_visible(rng, 1, self.sweeps, self._numeric([p[i] for p in given]))[0]
        return out

    def _numeric(self, parameters) -> Machine:
        W, b, c, *own = parameters
        return restricted(None, None, None, self.visible, self.hidden).with_parameters([b, c, W, *own])


@node_rewriter([RBMRV])
def _draw_rows_together(fgraph, node):
    from pymc_rbm.numba_draws import DrawRBM

    return DrawRBM(node.op).make_node(*node.inputs).outputs


optdb.register("draw_rbm_rows_together", dfs_rewriter(_draw_rows_together), "numba", position=99)


class HiddenRV(SymbolicRandomVariable):
    """``h ~ p(h | v)``: the Op behind `Hidden`. Inputs are rng, size, v, W, c and the parameters of the units."""

    name = "hidden"
    _print_name = ("Hidden", r"\operatorname{Hidden}")
    _ndim_supp = 1

    def __init__(self, *args, units, **kwargs):
        self.units = units
        # What PyMC calls to resize a variable.
        self.rv_op = partial(type(self).rv_op, units=units)  # type: ignore[method-assign]
        super().__init__(*args, **kwargs)

    def machine(self, W, c, *own) -> Machine:
        """The machine without visible biases, which p(h | v) does not need."""
        return restricted(None, None, None, *self.units).with_parameters([None, c, W, *own])

    @classmethod
    def rv_op(cls, v, W, c, *own, units, size=None, rng=None):
        """Draw h from its conditional."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        size = normalize_size_param(size)
        machine = restricted(None, None, None, *units).with_parameters([None, c, W, *own])
        field = machine.field(HIDDEN, [v, None])
        if not isinstance(size.type, NoneTypeT):
            field = pt.broadcast_to(field, (*size, field.shape[-1]))
        next_rng, h = machine.layers[HIDDEN].unit.sample(field, rng)
        sides = [("v", "h")[i] for i, unit in enumerate(units) for _ in unit.parameters]
        signature = f"[rng],[size],(v),(v,h),(h){''.join(f',({x})' for x in sides)}->[rng],(h)"
        inputs, outputs = [rng, size, v, W, c, *own], [next_rng, h]
        return cls(inputs=inputs, outputs=outputs, extended_signature=signature, units=units)(*inputs)


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
