"""Kernels as Ops, and how numba runs them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytensor.tensor as pt
from numba import from_dtype, types
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.link.numba.dispatch.compile_ops import numba_deepcopy
from pytensor.tensor.random.utils import custom_rng_deepcopy

from pymc_rbm.kernels.pointers import through_pointer
from pymc_rbm.kernels.sweep import sweep_rows
from pymc_rbm.kernels.uniforms import seeded

__all__ = ["VERSION", "SweepKernel"]

VERSION = int(sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()[:12], 16)
"""Changes whenever a kernel does, so that compiled code is not found under an old name."""


class SweepKernel(Op):
    """Sweeps of two binary layers whose rows share their parameters.

    Inputs: generator, number of sweeps, v and h (rows, units) as int8, W, b, c of one floating type, masks of held units
    (rows, units), or (0, units) where there are none. Outputs: v, h, generator.

    Parameters
    ----------
    spins, held : pairs of bool
        By layer: whether the units are -1 and 1, whether all of them are held.
    inplace : bool
        Whether the generator is advanced in place.
    """

    __props__ = ("spins", "held", "inplace")

    def __init__(self, spins: tuple[bool, bool], held: tuple[bool, bool], inplace: bool = False):
        self.spins, self.held, self.inplace = spins, held, inplace
        if inplace:
            self.destroy_map = {2: [0]}

    def make_node(self, rng, n, v, h, weights, b, c, held_v, held_h):
        inputs = [rng, *map(pt.as_tensor, (n, v, h, weights, b, c, held_v, held_h))]
        return Apply(self, inputs, [inputs[2].type(), inputs[3].type(), rng.type()])

    def infer_shape(self, node, shapes):
        return [shapes[2], shapes[3], None]

    def perform(self, node, inputs, output_storage):
        rng, n, *arrays = inputs
        rng = rng if self.inplace else custom_rng_deepcopy(rng)
        v, h, *rest = (np.array(x, order="C") for x in arrays)
        sweep_rows(seeded(rng), int(n), v, h, *rest, self.spins, self.held)
        for storage, x in zip(output_storage, (v, h, rng), strict=True):
            storage[0] = x


def _array(dtype, ndim):
    return types.Array(from_dtype(np.dtype(dtype)), ndim, "C")


@register_funcify_default_op_cache_key(SweepKernel)
def _sweep_kernel(op, node, **kwargs):
    spins, held, inplace = op.spins, op.held, op.inplace
    states, weights, bias, masks = (_array("int8", 2), *(_array(node.inputs[4].dtype, k) for k in (2, 1)), _array("bool", 2))
    pair = types.UniTuple(types.boolean, 2)
    arguments = (_array("uint32", 1), types.int64, states, states, weights, bias, bias, masks, masks, pair, pair)
    run = through_pointer(sweep_rows, types.void(*arguments))

    @numba_njit
    def sweep_kernel(rng, n, v, h, weights, b, c, held_v, held_h):
        if not inplace:
            rng = numba_deepcopy(rng)
        if len(v) != len(h):
            raise ValueError("The layers have different numbers of rows.")
        v, h = v.copy(), h.copy()
        weights, b, c = np.ascontiguousarray(weights), np.ascontiguousarray(b), np.ascontiguousarray(c)
        held_v, held_h = np.ascontiguousarray(held_v), np.ascontiguousarray(held_h)
        run(seeded(rng), np.int64(n.item()), v, h, weights, b, c, held_v, held_h, spins, held)
        return v, h, rng

    return sweep_kernel, VERSION
