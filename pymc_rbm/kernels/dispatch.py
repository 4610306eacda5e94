"""Implement the Ops of `operations` in numba."""

from __future__ import annotations

import numpy as np
from numba import from_dtype, objmode, types
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.link.numba.dispatch.compile_ops import numba_deepcopy

from pymc_rbm.kernels.compiling import VERSION
from pymc_rbm.kernels.exact_sums import binary_log_z
from pymc_rbm.kernels.fields import (
    any_dot,
    are_binary,
    binary_dot,
    means_and_sums,
    state_sums,
    sum_sigmoid,
    sum_softplus,
    sum_softplus_of_any_states,
    sum_softplus_of_states,
    unit_conditionals,
)
from pymc_rbm.kernels.general_sums import general_log_z
from pymc_rbm.kernels.one_row import FEW_ROWS
from pymc_rbm.kernels.operations import (
    BinaryDot,
    BinaryLogZ,
    ColumnSums,
    GeneralLogZ,
    LevelsKernel,
    Means,
    RowSums,
    SoftplusSums,
    StateSums,
    SweepKernel,
    UnitConditionals,
    WalkKernel,
    is_none,
)
from pymc_rbm.kernels.pointers import through_pointer
from pymc_rbm.kernels.sweep import group_of, sweep_few, sweep_many
from pymc_rbm.kernels.threads import WORTH_THREADS, dot_in_threads, sums_in_threads, sweep_in_threads
from pymc_rbm.kernels.uniforms import seeded
from pymc_rbm.kernels.walk import sweep_levels, walk_rows

__all__ = ["VERSION"]


def _array(dtype, ndim):
    return types.Array(from_dtype(np.dtype(dtype)), ndim, "C")


@register_funcify_default_op_cache_key(SweepKernel)
def _sweep_kernel(op, node, **kwargs):
    spins, held, hidden_last, inplace, has_fields = op.spins, op.held, op.hidden_last, op.inplace, op.has_fields
    dtype = node.inputs[5].dtype
    no_v, no_h = map(is_none, node.inputs[3:5])
    states, weights, bias, masks = _array("int8", 2), _array(dtype, 2), _array(dtype, 1), _array("bool", 2)
    pair, size = types.UniTuple(types.boolean, 2), types.int64
    arrays = (states, states, _array("int8", 3), weights, weights, bias, bias, masks, masks, pair, pair, types.boolean)
    signature = types.void(_array("uint32", 1), size, size, size, *arrays)
    few, many = through_pointer(sweep_few, signature), through_pointer(sweep_many, signature)  # compiled when called

    @numba_njit
    def sweep_kernel(rng, draws, n, v, h, weights, b, c, held_v, held_h):
        if not inplace:
            rng = numba_deepcopy(rng)
        if no_v:
            v = np.zeros((len(h), len(b)), np.int8)
        if no_h:
            h = np.zeros((len(v), len(c)), np.int8)
        if len(v) != len(h):
            raise ValueError("The states of the two layers must have the same number of rows.")
        if has_fields and n.item() * draws.item() < 1:
            raise ValueError("The fields of the last draw need at least one sweep.")
        v, h = np.ascontiguousarray(v), h.copy()
        weights, b, c = np.ascontiguousarray(weights), np.ascontiguousarray(b), np.ascontiguousarray(c)
        held_v, held_h = np.ascontiguousarray(held_v), np.ascontiguousarray(held_h)
        trace = np.empty((np.int64(draws.item()), *v.shape), np.int8)
        fields = np.empty((len(h) if has_fields else 0, h.shape[1]), weights.dtype)
        state, n = seeded(rng, len(v), group_of(len(v))), np.int64(n.item())
        if n * trace.size * h.shape[1] >= WORTH_THREADS:
            with objmode():
                sweep_in_threads(state, n, v, h, trace, fields, weights, b, c, held_v, held_h, spins, held, hidden_last)
        elif len(v) < FEW_ROWS:
            few(state, 0, len(v), n, v, h, trace, fields, weights, b, c, held_v, held_h, spins, held, hidden_last)
        else:
            many(state, 0, len(v), n, v, h, trace, fields, weights, b, c, held_v, held_h, spins, held, hidden_last)
        return trace, h, fields, rng

    # The pointer depends on the types of the inputs, which are a part of numba's key, too.
    return sweep_kernel, VERSION + (dtype == "float32") + 2 * no_v + 4 * no_h


@register_funcify_default_op_cache_key(WalkKernel)
def _walk_kernel(op, node, **kwargs):
    spins, reverse, inplace = op.spins, op.reverse, op.inplace
    dtype = node.inputs[1].dtype
    vector, pair = _array(dtype, 1), types.UniTuple(types.boolean, 2)
    arrays = (vector, _array("int8", 2), _array("float64", 2), _array(dtype, 2), *[vector] * 4)
    run = through_pointer(walk_rows, types.void(_array("uint32", 1), *arrays, pair, types.boolean))

    @numba_njit
    def walk_kernel(rng, betas, v, weights, b, c, base_b, base_c):
        if not inplace:
            rng = numba_deepcopy(rng)
        betas, v, weights = np.ascontiguousarray(betas), v.copy(), np.ascontiguousarray(weights)
        b, c = np.ascontiguousarray(b), np.ascontiguousarray(c)
        base_b, base_c = np.ascontiguousarray(base_b), np.ascontiguousarray(base_c)
        increments = np.empty((len(betas) - 1, len(v)))
        run(seeded(rng, 1, 1), betas, v, increments, weights, b, c, base_b, base_c, spins, reverse)
        return increments, v, rng

    return walk_kernel, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(LevelsKernel)
def _levels_kernel(op, node, **kwargs):
    spins, inplace = op.spins, op.inplace
    dtype = node.inputs[1].dtype
    vector, steps = _array(dtype, 1), _array("float64", 1)
    arrays = (*[vector] * 3, _array("int8", 2), steps, steps, _array(dtype, 2), *[vector] * 4)
    run = through_pointer(sweep_levels, types.void(_array("uint32", 1), *arrays, types.UniTuple(types.boolean, 2)))

    @numba_njit
    def levels_kernel(rng, below, own, above, v, weights, b, c, base_b, base_c):
        if not inplace:
            rng = numba_deepcopy(rng)
        below, own, above = np.ascontiguousarray(below), np.ascontiguousarray(own), np.ascontiguousarray(above)
        v, weights = v.copy(), np.ascontiguousarray(weights)
        b, c = np.ascontiguousarray(b), np.ascontiguousarray(c)
        base_b, base_c = np.ascontiguousarray(base_b), np.ascontiguousarray(base_c)
        down_steps, up_steps = np.empty(len(v)), np.empty(len(v))
        run(seeded(rng, 1, 1), below, own, above, v, down_steps, up_steps, weights, b, c, base_b, base_c, spins)
        return down_steps, up_steps, v, rng

    return levels_kernel, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(BinaryDot)
def _binary_dot(op, node, **kwargs):
    dtype, transposed = node.inputs[1].dtype, op.transposed
    rows_known = node.inputs[0].type.shape[transposed]
    if rows_known is not None and rows_known < FEW_ROWS:
        return _dot_of_few(transposed), VERSION + 2 + (dtype == "float32")  # the shape is not a part of numba's key
    states, matrix, size = _array("int8", 2), _array(dtype, 2), types.int64
    run = through_pointer(binary_dot, types.void(size, size, states, matrix, _array(dtype, 1), matrix, types.boolean))
    plain = through_pointer(any_dot, types.void(states, matrix, _array(dtype, 1), matrix, types.boolean))
    binary = through_pointer(are_binary, types.boolean(states))

    @numba_njit
    def binary_dot_or_blas(states, weights, bias):
        states, weights, bias = np.ascontiguousarray(states), np.ascontiguousarray(weights), np.ascontiguousarray(bias)
        n_in, rows = states.shape if transposed else states.shape[::-1]
        if n_in != weights.shape[0] or len(bias) not in (0, weights.shape[1]):
            raise ValueError("The shapes of states, weights and bias do not fit.")
        out = np.empty((rows, weights.shape[1]), weights.dtype)
        if rows < FEW_ROWS or not binary(states):
            plain(states, weights, bias, out, transposed)
        elif rows * weights.size < WORTH_THREADS:
            run(0, rows, states, weights, bias, out, transposed)
        else:
            with objmode():
                dot_in_threads(states, weights, bias, out, transposed)
        return out

    return binary_dot_or_blas, VERSION + (dtype == "float32")


def _dot_of_few(transposed):
    """Implement the product by adding rows of the weights, which is far less to compile than a table and BLAS."""

    @numba_njit
    def dot_of_few(states, weights, bias):
        states = states.T if transposed else states
        if states.shape[1] != len(weights) or len(bias) not in (0, weights.shape[1]):
            raise ValueError("The shapes of states, weights and bias do not fit.")
        out = np.empty((len(states), weights.shape[1]), weights.dtype)
        for r in range(len(states)):
            for j in range(weights.shape[1]):
                out[r, j] = bias[j] if len(bias) else 0
            for i in range(len(weights)):
                x = weights.dtype.type(states[r, i])
                if x != 0:
                    for j in range(weights.shape[1]):
                        out[r, j] += x * weights[i, j]
        return out

    return dot_of_few


@register_funcify_default_op_cache_key(StateSums)
def _state_sums(op, node, **kwargs):
    dtype = node.inputs[1].dtype
    states, vector = _array("int8", 2), _array(dtype, 1)
    run = through_pointer(state_sums, types.void(states, *[vector] * 4))

    @numba_njit
    def sums(states, weights):
        states, weights = np.ascontiguousarray(states), np.ascontiguousarray(weights)
        rows, units = states.shape
        if units != len(weights):
            raise ValueError("The shapes of states and weights do not fit.")
        dots, row_sums = np.empty(rows, weights.dtype), np.empty(rows, weights.dtype)
        unit_sums = np.empty(units, weights.dtype)
        run(states, weights, dots, row_sums, unit_sums)
        return dots, row_sums, unit_sums

    return sums, VERSION + (dtype == "float32")


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


@register_funcify_default_op_cache_key(ColumnSums)
def _column_sums(op, node, **kwargs):
    @numba_njit
    def column_sums(x):
        units = x.shape[1]
        sums, out = np.empty(units, np.float64), np.empty(units, x.dtype)
        for j in range(units):
            sums[j] = 0.0
        for r in range(len(x)):
            for j in range(units):
                sums[j] += x[r, j]
        for j in range(units):
            out[j] = sums[j]
        return out

    return column_sums, VERSION


@register_funcify_default_op_cache_key(SoftplusSums)
def _softplus_sums(op, node, **kwargs):
    dtype = node.inputs[1].dtype
    states, matrix, vector, size = _array("int8", 2), _array(dtype, 2), _array(dtype, 1), types.int64
    run = through_pointer(sum_softplus_of_states, types.void(size, size, states, matrix, vector, vector))
    plain = through_pointer(sum_softplus_of_any_states, types.void(states, matrix, vector, vector))
    binary = through_pointer(are_binary, types.boolean(states))

    @numba_njit
    def softplus_sums(states, weights, bias):
        states, weights, bias = np.ascontiguousarray(states), np.ascontiguousarray(weights), np.ascontiguousarray(bias)
        rows, n_in = states.shape
        if n_in != weights.shape[0] or len(bias) not in (0, weights.shape[1]):
            raise ValueError("The shapes of states, weights and bias do not fit.")
        out = np.empty(rows, weights.dtype)
        if rows < FEW_ROWS or not binary(states):
            plain(states, weights, bias, out)
        elif rows * weights.size < WORTH_THREADS:
            run(0, rows, states, weights, bias, out)
        else:
            with objmode():
                sums_in_threads(states, weights, bias, out)
        return out

    return softplus_sums, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(BinaryLogZ)
def _binary_log_z(op, node, **kwargs):
    matrix, vector = _array("float64", 2), _array("float64", 1)
    run = through_pointer(binary_log_z, types.void(matrix, vector, vector, vector))

    @numba_njit
    def log_z(weights, first, second):
        weights, (n, m) = np.ascontiguousarray(weights), weights.shape
        if len(first) != n or len(second) != m:
            raise ValueError("The shapes of weights and biases do not fit.")
        out = np.empty(1 + n * m + n + m)
        run(weights, np.ascontiguousarray(first), np.ascontiguousarray(second), out)
        by_weights = out[1 : n * m + 1].copy().reshape(n, m)
        return np.asarray(out[0]), by_weights, out[n * m + 1 : n * m + n + 1].copy(), out[n * m + n + 1 :].copy()

    return log_z, VERSION


@register_funcify_default_op_cache_key(GeneralLogZ)
def _general_log_z(op, node, **kwargs):
    matrix, vector = _array("float64", 2), _array("float64", 1)
    run = through_pointer(general_log_z, types.float64(matrix, vector, matrix))

    @numba_njit
    def log_z(couplings, bias):
        n = len(bias)
        if couplings.shape != (n, n):
            raise ValueError("The shapes of couplings and bias do not fit.")
        moments, means = np.empty((n, n)), np.empty(n)
        total = run(np.ascontiguousarray(couplings), np.ascontiguousarray(bias), moments)
        for i in range(n):
            means[i] = moments[i, i]
            for j in range(n):
                moments[i, j] /= 2
        return np.asarray(total), moments, means

    return log_z, VERSION


@register_funcify_default_op_cache_key(UnitConditionals)
def _unit_conditionals(op, node, **kwargs):
    dtype = node.inputs[0].dtype
    matrix, vector = _array(dtype, 2), _array(dtype, 1)
    arrays = matrix, _array("int8", 2), _array("int64", 1), matrix, vector, vector
    run = through_pointer(unit_conditionals, types.void(*arrays))

    @numba_njit
    def conditionals(fields, states, unit, weights, bias):
        fields, states = np.ascontiguousarray(fields), np.ascontiguousarray(states)
        unit, weights, bias = np.ascontiguousarray(unit), np.ascontiguousarray(weights), np.ascontiguousarray(bias)
        visible, hidden = weights.shape
        if fields.shape != (len(states), hidden) or states.shape[1] != visible or len(bias) != visible:
            raise ValueError("The shapes of states, weights and bias do not fit.")
        wrong = len(unit) != len(states)
        for u in unit:
            wrong |= u < 0 or u >= visible
        if wrong:
            raise IndexError("unit must have one entry, the number of a visible unit, for each row of states.")
        out = np.empty(len(states), fields.dtype)
        run(fields, states, unit, weights, bias, out)
        return out

    return conditionals, VERSION + (dtype == "float32")


@register_funcify_default_op_cache_key(Means)
def _means(op, node, **kwargs):
    dtype = node.inputs[0].dtype
    fields, sums = _array(dtype, 2), _array(dtype, 1)
    run = through_pointer(means_and_sums, types.void(fields, fields, sums, sums))

    inplace = op.inplace

    @numba_njit
    def means(fields):
        fields = np.ascontiguousarray(fields)
        out = fields if inplace else np.empty(fields.shape, fields.dtype)
        softplus_sums, mean_sums = np.empty(len(fields), fields.dtype), np.empty(len(fields), fields.dtype)
        run(fields, out, softplus_sums, mean_sums)
        return out, softplus_sums, mean_sums

    return means, VERSION + (dtype == "float32")
