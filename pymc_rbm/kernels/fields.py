"""Kernels for many rows find products of binary states and weights, and sums over units of functions of fields."""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, kernel, piece
from pymc_rbm.kernels.elementary import filled, logarithm, sigmoid, softplus_parts
from pymc_rbm.kernels.lanes import LANES, load, muladd, number, splat, store, total
from pymc_rbm.kernels.packing import BLOCK, packed, packed_columns
from pymc_rbm.kernels.product import TILE, add_block, aligned, copy_tile, table_room, tile_room, tiles_of

__all__ = [
    "any_dot",
    "are_binary",
    "binary_dot",
    "means_and_sums",
    "state_sums",
    "sum_sigmoid",
    "sum_softplus",
    "sum_softplus_of_any_states",
    "sum_softplus_of_states",
    "unit_conditionals",
]

ROWS = 1024
"""How many rows share a table."""
TOGETHER = 64
"""How many rows are summed in the type of the numbers before their sum is added to totals in float64."""
FACTORS = 64
"""How many numbers between 1 and 2 are multiplied in float32, whose product stays far below its largest number."""


@kernel
def are_binary(states):
    """Whether all states are 0 or 1."""
    seen = np.int8(0)
    for x in states.flat:
        seen |= x
    return seen == 0 or seen == 1


@kernel
def binary_dot(start, stop, states, weights, bias, out, transposed):
    """Write the products of binary states and weights as `fields_of` does, as a kernel of its own."""
    fields_of(start, stop, states, weights, bias, out, transposed)


@kernel
def any_dot(states, weights, bias, out, transposed):
    """Write the products of a few rows, or of states that are not 0 and 1, as `fields_of` does, by BLAS."""
    numbers = states.astype(weights.dtype)
    if transposed:
        np.dot(numbers.T, weights, out)
    else:
        np.dot(numbers, weights, out)
    for j in range(len(bias)):
        for r in range(len(out)):
            out[r, j] += bias[j]


@piece
def fields_of(start, stop, states, weights, bias, out, transposed):
    """Write ``bias + states @ weights``, or ``states.T @ weights``, to the rows of ``out`` from ``start`` to ``stop``.

    All arrays are contiguous. The states are int8, 0 and 1; a bias of length 0 means none.
    """
    n_in, n_out = weights.shape
    across, table, room = tiles_of(n_out), table_room(weights), tile_room(weights)
    from_, to = weights.reshape(-1), out.reshape(-1)
    offset = np.zeros(across * TILE, weights.dtype)
    for j in range(len(bias)):
        offset[j] = bias[j]
    fields = aligned(min(ROWS, stop - start) * TILE, weights)
    for begin in range(start, stop, ROWS):
        rows = min(ROWS, stop - begin)
        codes = packed_columns(states, begin, begin + rows) if transposed else packed(states, begin, begin + rows)
        for tile in range(across):
            j0 = tile * TILE
            low, high, whole = load(offset, j0), load(offset, j0 + LANES), j0 + TILE <= n_out
            for i0 in range(0, n_in, BLOCK):
                block, end = i0 // BLOCK, min(i0 + BLOCK, n_in)
                source = from_, i0 * n_out + j0, n_out
                if not whole or end % 4:
                    copy_tile(weights, block, tile, room, 0)
                    source = room, 0, TILE
                place = (to, begin * n_out + j0, n_out) if whole and end == n_in else (fields, 0, TILE)
                add_block(fields, place, codes, rows, block, n_in, source, table, low, high)
            if not whole:
                for r in range(rows):
                    for j in range(n_out - j0):
                        out[begin + r, j0 + j] = fields[r * TILE + j]


@kernel
def state_sums(states, weights, dots, row_sums, unit_sums):
    """Write ``states @ weights`` for a vector of weights, and the sums of the states over units and over rows.

    All arrays are contiguous, and the states are int8.
    """
    rows, units = states.shape
    end = units // LANES * LANES
    zero = splat(weights.dtype.type(0))
    some, totals = np.zeros(units, weights.dtype), np.zeros(units)
    for r in range(rows):
        products, states_of_row = zero, zero
        for j in range(0, end, LANES):
            x = number(load(states, r * units + j), zero)
            products, states_of_row = muladd(x, load(weights, j), products), states_of_row + x
            store(some, j, load(some, j) + x)
        dots[r], row_sums[r] = total(products), total(states_of_row)
        for j in range(end, units):
            dots[r] += weights[j] * states[r, j]
            row_sums[r] += states[r, j]
            some[j] += states[r, j]
        if r % TOGETHER == TOGETHER - 1 or r == rows - 1:
            for j in range(units):
                totals[j] += some[j]
                some[j] = 0
    for j in range(units):
        unit_sums[j] = totals[j]


@inlined
def _none(like):
    """Return sums to begin with: of ``max(z, 0)``, as a product of ``1 + exp(-|z|)``, and of means."""
    zero = splat(like.dtype.type(0))
    return zero, splat(like.dtype.type(1)), zero


@inlined
def _added(sums, z):
    """Return ``sums`` after the units of fields ``z`` were added."""
    tops, factors, means = sums
    top, t = softplus_parts(z)
    return tops + top, factors * (filled(z, 1) + t), means + sigmoid(z)


@inlined
def _settled(sums):
    """Return ``sums`` after the logarithm of its product was added to its first sum."""
    tops, factors, means = sums
    return tops + logarithm(factors), filled(factors, 1), means


@kernel
def means_and_sums(fields, means, softplus_sums, mean_sums):
    """Write ``1 / (1 + exp(-field))`` to ``means``, and what `sum_softplus` and `sum_sigmoid` write.

    All are contiguous; ``means`` may be the ``fields``.
    """
    rows, units = fields.shape
    end = units // LANES * LANES
    rest, none = np.empty(LANES, fields.dtype), np.full(LANES, -np.inf, fields.dtype)
    for r in range(rows):
        sums = _none(fields)
        if end < units:
            store(rest, 0, load(none, 0))
            for j in range(end, units):
                rest[j - end] = fields[r, j]
            z = load(rest, 0)
            sums = _settled(_added(sums, z))
            store(rest, 0, sigmoid(z))
            for j in range(end, units):
                means[r, j] = rest[j - end]
        for j in range(0, end, LANES):
            z = load(fields, r * units + j)
            store(means, r * units + j, sigmoid(z))
            sums = _added(sums, z)
            if j // LANES % FACTORS == FACTORS - 1:
                sums = _settled(sums)
        tops, _, means_of_row = _settled(sums)
        softplus_sums[r], mean_sums[r] = total(tops), total(means_of_row)


@kernel
def sum_softplus_of_states(start, stop, states, weights, bias, out):
    """Write ``Σ_j log(1 + exp(bias_j + Σ_i states_ri weights_ij))`` to ``out``, from row ``start`` to ``stop``.

    As `fields_of` and `sum_softplus`, some rows at a time: their fields stay in the cache.
    """
    fields = np.empty((min(ROWS, stop - start), weights.shape[1]), weights.dtype)
    for begin in range(start, stop, ROWS):
        end = min(begin + ROWS, stop)
        fields_of(0, end - begin, states[begin:end], weights, bias, fields, False)
        _softplus_sums(fields[: end - begin], out[begin:end])


@kernel
def sum_softplus_of_any_states(states, weights, bias, out):
    """Write the same for a few rows, or states that are not 0 and 1."""
    fields = np.empty((len(states), weights.shape[1]), weights.dtype)
    any_dot(states, weights, bias, fields, False)
    _softplus_sums(fields, out)


@kernel
def unit_conditionals(fields, states, unit, weights, bias, out):
    """Write ``log p(v_u | the others)`` to ``out`` for unit u of each row of ``states``, with ``fields = c + vW``.

    With v' the row with that unit flipped, ``log p = -log(1 + exp(F(v) - F(v')))``, and
    ``F(v) - F(v') = b_u (v'_u - v_u) + Σ_j softplus(field_j + (v'_u - v_u) W_uj) - softplus(field_j)``.
    """
    rows, units = fields.shape
    flipped, sums = np.empty((min(TOGETHER, rows), units), fields.dtype), np.empty(2 * TOGETHER, fields.dtype)
    for begin in range(0, rows, TOGETHER):
        some = min(TOGETHER, rows - begin)
        for k in range(some):
            u = unit[begin + k]
            step = fields.dtype.type(1 - 2 * states[begin + k, u])
            out[begin + k] = step * bias[u]
            for j in range(units):
                flipped[k, j] = fields[begin + k, j] + step * weights[u, j]
        _softplus_sums(fields[begin : begin + some], sums[:TOGETHER])
        _softplus_sums(flipped[:some], sums[TOGETHER:])
        for k in range(some):
            difference = out[begin + k] + sums[TOGETHER + k] - sums[k]
            out[begin + k] = -max(difference, 0) - np.log1p(np.exp(-abs(difference)))


@kernel
def sum_softplus(fields, out):
    """Write ``Σ_j log(1 + exp(field_rj))`` to ``out``; the fields must be contiguous."""
    _softplus_sums(fields, out)


@piece
def _softplus_sums(fields, out):
    rows, units = fields.shape
    end = units // LANES * LANES
    rest = np.full(LANES, -np.inf, fields.dtype)
    for r in range(rows):
        for j in range(end, units):
            rest[j - end] = fields[r, j]
        tops, t = softplus_parts(load(rest, 0))
        factors = filled(t, 1) + t
        for j in range(0, end, LANES):
            top, t = softplus_parts(load(fields, r * units + j))
            tops, factors = tops + top, factors * (filled(t, 1) + t)
            if j // LANES % FACTORS == FACTORS - 1:
                tops, factors = tops + logarithm(factors), filled(factors, 1)
        out[r] = total(tops + logarithm(factors))


@kernel
def sum_sigmoid(fields, out):
    """Write ``Σ_j 1 / (1 + exp(-field_rj))`` to ``out``; the fields must be contiguous."""
    rows, units = fields.shape
    end = units // LANES * LANES
    rest = np.full(LANES, -np.inf, fields.dtype)
    for r in range(rows):
        for j in range(end, units):
            rest[j - end] = fields[r, j]
        s = sigmoid(load(rest, 0))
        for j in range(0, end, LANES):
            s = s + sigmoid(load(fields, r * units + j))
        out[r] = total(s)
