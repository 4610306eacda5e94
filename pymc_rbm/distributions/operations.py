"""The Ops by which an RBM and its hidden units appear in PyTensor graphs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.random.utils import normalize_size_param
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.pymc_internals import SymbolicRandomVariable
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine, restricted
from pymc_rbm.machine.positions import Parameters
from pymc_rbm.sampling.forward import draw_visible

__all__ = ["DRAW_SWEEPS", "RBMRV", "BoltzmannMachineRV", "HiddenRV", "MachineRV", "core_of"]

DRAW_SWEEPS = 1000


class MachineRV(RandomVariable):
    """Op of ``v ~ p(v) ∝ exp(-F(v))``, where v is the visible layer of a machine.

    Inputs are rng, size, the weights of the couplings, the biases of the layers, the parameters of the units (one entry
    a unit) and, if known, log Z.
    """

    __props__ = (*RandomVariable.__props__, "template", "sizes", "sweeps", "knows_log_z", "factor")
    template: Machine
    sizes: tuple[int | None, ...]
    factor: bool
    """Whether the log-density is a factor of a model's log-density; a rewrite of `factors` sets this, never the
    user."""

    def __init__(self, *args, template=None, sizes=None, sweeps=DRAW_SWEEPS, knows_log_z=False, factor=False, **kwargs):
        self.factor = factor
        self.template = restricted(None, None, None) if template is None else template
        self.sizes, self.sweeps, self.knows_log_z = sizes or (None,) * len(self.template.layers), sweeps, knows_log_z
        layers, couplings = self.template.layers, self.template.couplings
        own = [i for i, layer in enumerate(layers) for _ in layer.unit.parameters]
        self._axes = [(c.first, c.second) for c in couplings] + [(i,) for i in range(len(layers))] + [(i,) for i in own]
        inputs = [f"({','.join('vh'[i] for i in axes)})" for axes in self._axes]
        signature = ",".join([*inputs, *["()"] * knows_log_z]) + "->(v)"
        super().__init__(*args, **({"signature": signature, "dtype": layers[VISIBLE].unit.dtype} | kwargs))

    def machine(self, *inputs) -> Machine:
        """Return the machine of these parameters, in the order of the inputs, with static sizes where known."""
        given = [
            core_of(x, *(self.sizes[i] for i in axes)) for x, axes in zip(inputs, self._axes, strict=False)
        ]  # fmt: skip
        return self._with(given)

    def arguments(self, machine: Machine) -> list[Any]:
        """Return the parameters of ``machine`` in the order of the inputs."""
        return machine.by_kind.weights_first()

    def given(self, rv: TensorVariable) -> Parameters:
        """Return the parameters among the inputs of a variable, unchanged."""
        return self.template.by_kind.at_weights_first(rv.owner.inputs[2 : 2 + len(self._axes)])

    def _with(self, parameters) -> Machine:
        return self.template.with_parameters(self.template.by_kind.at_weights_first(parameters))

    def log_z(self, *parameters) -> TensorVariable | None:
        """Return the log Z that the user gave, or None."""
        return core_of(parameters[-1]) if self.knows_log_z else None

    def rng_fn(self, rng, *arguments):
        """Draw states, all rows at once where they share their parameters."""
        *given, size = arguments
        log_z_shapes = [np.shape(given.pop())] if self.knows_log_z else []
        core_ndims = [len(axes) for axes in self._axes]
        batches = [p.shape[: p.ndim - n] for p, n in zip(given, core_ndims, strict=True)]
        batch = tuple(size or np.broadcast_shapes(*batches, *log_z_shapes))
        if all(n == 1 for shape in batches for n in shape):
            shared = [p.reshape(p.shape[p.ndim - n :]) for p, n in zip(given, core_ndims, strict=True)]
            rows = draw_visible(rng, int(np.prod(batch)), self.sweeps, self._with(shared))
            return rows.reshape((*batch, rows.shape[-1]))
        given = [np.broadcast_to(p, (*batch, *p.shape[p.ndim - n :])) for p, n in zip(given, core_ndims, strict=True)]
        size = given[self._axes.index((VISIBLE,))].shape[-1]
        out = np.empty((*batch, size), dtype=self.dtype)
        for i in np.ndindex(*batch):
            out[i] = draw_visible(rng, 1, self.sweeps, self._with([p[i] for p in given]))[0]
        return out


class RBMRV(MachineRV):
    """Op of `RBM`, with a visible and a hidden layer; inputs are rng, size, W, b, c and the rest."""

    name = "RBM"
    _print_name = ("RBM", r"\operatorname{RBM}")


class BoltzmannMachineRV(MachineRV):
    """Op of `BoltzmannMachine`, with one layer coupled to itself; inputs are rng, size, U, b and the rest."""

    name = "BoltzmannMachine"
    _print_name = ("BoltzmannMachine", r"\operatorname{BoltzmannMachine}")


@node_rewriter([RBMRV, BoltzmannMachineRV])
def _draw_rows_together(fgraph, node):
    from pymc_rbm.distributions.numba_draws import Performed

    return Performed(node.op).make_node(*node.inputs).outputs


optdb.register("draw_rbm_rows_together", dfs_rewriter(_draw_rows_together), "numba", position=99)


class HiddenRV(SymbolicRandomVariable):
    """Op of `Hidden`, ``h ~ p(h | v)``; inputs are rng, size, v, W, c and the parameters of the units."""

    name = "hidden"
    _print_name = ("Hidden", r"\operatorname{Hidden}")
    _ndim_supp = 1

    def __init__(self, *args, units, **kwargs):
        self.units = units
        # PyMC calls this to resize a variable; it is the method of the class, for these units.
        self.rv_op = partial(type(self).rv_op, units=units)  # type: ignore[method-assign]  # hides the class's
        super().__init__(*args, **kwargs)

    def machine(self, W, c, *own) -> Machine:
        """Return the machine without visible biases, which p(h | v) does not need."""
        return restricted(None, None, None, *self.units).with_parameters(Parameters((None, c), (W,), own))

    @classmethod
    def rv_op(cls, v, W, c, *own, units, size=None, rng=None):
        """Return a node that draws h given v."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        size = normalize_size_param(size)
        machine = restricted(None, None, None, *units).with_parameters(Parameters((None, c), (W,), own))
        field = machine.field(HIDDEN, [v, None])
        if not isinstance(size.type, NoneTypeT):
            field = pt.broadcast_to(field, (*size, field.shape[-1]))
        next_rng, h = machine.layers[HIDDEN].unit.sample(field, rng)
        sides = [("v", "h")[i] for i, unit in enumerate(units) for _ in unit.parameters]
        signature = f"[rng],[size],(v),(v,h),(h){''.join(f',({x})' for x in sides)}->[rng],(h)"
        inputs, outputs = [rng, size, v, W, c, *own], [next_rng, h]
        return cls(inputs=inputs, outputs=outputs, extended_signature=signature, units=units)(*inputs)


def core_of(x: Any, *lengths: int | None) -> TensorVariable:
    """Return ``x`` without batch axes of length one that PyTensor prepended, with core axes of the given lengths."""
    x = pt.as_tensor(x)
    extra = x.ndim - len(lengths)
    for _ in range(extra if lengths else 0):
        if not x.type.broadcastable[0]:
            break
        x = x.squeeze(0)
    known = [a if a is not None else b for a, b in zip(lengths, x.type.shape[x.ndim - len(lengths) :], strict=True)]
    return pt.specify_shape(x, (*x.type.shape[: x.ndim - len(lengths)], *known))
