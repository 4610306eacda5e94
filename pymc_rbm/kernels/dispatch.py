"""How numba runs the Ops of `operations`."""

from __future__ import annotations

import numpy as np
from numba import from_dtype, types
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.link.numba.dispatch.compile_ops import numba_deepcopy

from pymc_rbm.kernels.compiling import VERSION
from pymc_rbm.kernels.few import FEW_ROWS
from pymc_rbm.kernels.operations import BinaryDot, Means, RowSums, SweepKernel
from pymc_rbm.kernels.pointers import through_pointer
from pymc_rbm.kernels.rows import are_binary, binary_dot, means_and_sums, sum_sigmoid, sum_softplus
from pymc_rbm.kernels.sweep import sweep_rows
from pymc_rbm.kernels.uniforms import seeded

__all__ = ["VERSION"]


def _array(dtype, ndim):
    return types.Array(from_dtype(np.dtype(dtype)), ndim, "C")


@register_funcify_default_op_cache_key(SweepKernel)
def _sweep_kernel(op, node, **kwargs):
    spins, held, inplace = op.spins, op.held, op.inplace
    dtype = node.inputs[4].dtype
    states, weights, bias, masks = _array("int8", 2), _array(dtype, 2), _array(dtype, 1), _array("bool", 2)
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

    # The types of the inputs are part of numba's key, but the pointer is chosen by them here.
    return sweep_kernel, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(BinaryDot)
def _binary_dot(op, node, **kwargs):
    dtype = node.inputs[1].dtype
    states, matrix = _array("int8", 2), _array(dtype, 2)
    run = through_pointer(binary_dot, types.void(states, matrix, matrix))
    binary = through_pointer(are_binary, types.boolean(states))

    @numba_njit
    def binary_dot_or_blas(states, weights):
        states, weights = np.ascontiguousarray(states), np.ascontiguousarray(weights)
        if states.shape[1] != weights.shape[0]:
            raise ValueError("Shapes of states and weights do not fit.")
        if len(states) < FEW_ROWS or not binary(states):
            return np.dot(states.astype(weights.dtype), weights)
        out = np.empty((states.shape[0], weights.shape[1]), weights.dtype)
        run(states, weights, out)
        return out

    return binary_dot_or_blas, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(RowSums)
def _row_sums(op, node, **kwargs):
    dtype = node.inputs[0].dtype
    chosen = {"softplus": sum_softplus, "sigmoid": sum_sigmoid}[op.function]
    run = through_pointer(chosen, types.void(_array(dtype, 2), _array(dtype, 1)))

    @numba_njit
    def row_sums(fields):
        fields = np.ascontiguousarray(fields)
        out = np.empty(len(fields), fields.dtype)
        run(fields, out)
        return out

    return row_sums, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(Means)
def _means(op, node, **kwargs):
    dtype = node.inputs[0].dtype
    fields, sums = _array(dtype, 2), _array(dtype, 1)
    run = through_pointer(means_and_sums, types.void(fields, fields, sums, sums))

    @numba_njit
    def means(fields):
        fields = np.ascontiguousarray(fields)
        out = np.empty(fields.shape, fields.dtype)
        softplus_sums, mean_sums = np.empty(len(fields), fields.dtype), np.empty(len(fields), fields.dtype)
        run(fields, out, softplus_sums, mean_sums)
        return out, softplus_sums, mean_sums

    return means, VERSION + (dtype == "float32")
