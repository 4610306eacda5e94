"""For one row the weights of the units that are on are added, because a table would cost more than it saves."""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, piece
from pymc_rbm.kernels.elementary import bernoulli
from pymc_rbm.kernels.lanes import LANES, bits, load, muladd, splat, store, total, transpose_square
from pymc_rbm.kernels.uniforms import loaded, stored

__all__ = ["FEW_ROWS", "draw_row", "transposed_copy"]

FEW_ROWS = 12
"""The number of rows below which tables do not pay for themselves."""
TOGETHER = 8
"""How many units' weights are added at a time, with one read and one write of each number of the field."""


@piece
def transposed_copy(weights):
    """Return the contiguous transpose of contiguous ``weights``."""
    rows, columns = weights.shape
    out = np.empty((columns, rows), weights.dtype)
    for i0 in range(0, rows, LANES):
        whole = columns // LANES * LANES if i0 + LANES <= rows else 0
        for j in range(0, whole, LANES):
            transpose_square(weights, i0 * columns + j, columns, out, j * rows + i0, rows)
        for j in range(whole, columns):
            for i in range(i0, min(i0 + LANES, rows)):
                out[j, i] = weights[i, j]
    return out


@inlined
def _add_rows(x, weights, field):
    """Add the rows of ``weights`` (inputs, outputs) that belong to units that are on."""
    n_in, n_out = weights.shape
    end = n_out // LANES * LANES
    on, count = np.empty(n_in, np.int64), 0
    for i in range(n_in):
        on[count] = i * n_out
        count += x[i] == 1
    whole = count // TOGETHER * TOGETHER
    for k in range(0, whole, TOGETHER):
        i0, i1, i2, i3, i4, i5, i6, i7 = (
            on[k],
            on[k + 1],
            on[k + 2],
            on[k + 3],
            on[k + 4],
            on[k + 5],
            on[k + 6],
            on[k + 7],
        )
        for j in range(0, end, LANES):
            low = (load(weights, i0 + j) + load(weights, i1 + j)) + (load(weights, i2 + j) + load(weights, i3 + j))
            high = (load(weights, i4 + j) + load(weights, i5 + j)) + (load(weights, i6 + j) + load(weights, i7 + j))
            store(field, j, load(field, j) + (low + high))
    for k in range(whole, count):
        for j in range(0, end, LANES):
            store(field, j, load(field, j) + load(weights, on[k] + j))
    for k in range(count):
        for j in range(end, n_out):
            field[j] += weights[on[k] // n_out, j]


@inlined
def _add_columns(x, weights, field):
    """Add the columns of ``weights`` (outputs, inputs) that belong to units that are on."""
    n_out, n_in = weights.shape
    end = n_in // LANES * LANES
    on = np.empty(n_in, weights.dtype)
    for i in range(n_in):
        on[i] = x[i] == 1
    for j in range(n_out):
        sums = splat(weights.dtype.type(0))
        for i in range(0, end, LANES):
            sums = muladd(load(weights, j * n_in + i), load(on, i), sums)
        field[j] = total(sums)
        for i in range(end, n_in):
            field[j] += weights[j, i] * on[i]


@piece
def draw_row(x, weights, transposed, offset, factor, out, held, row, spin, state, field):
    """Draw one row of a layer, ``out``, given the other layer ``x``; states are plain and not codes.

    ``row`` is that of the mask ``held`` and of the generator; ``field`` is room for as many numbers as ``offset`` has.
    """
    n_out, s = len(out), loaded(state, row)
    for j in range(len(offset)):
        field[j] = 0
    if transposed:
        _add_columns(x, weights, field)
    else:
        _add_rows(x, weights, field)
    scale = splat(offset.dtype.type(factor))
    for begin in range(0, n_out, LANES):
        on, s = bernoulli(muladd(load(field, begin), scale, load(offset, begin)), s)
        mask = bits(on)
        for k in range(min(LANES, n_out - begin)):
            if len(held) == 0 or not held[row, begin + k]:
                one = np.int64(mask >> np.uint32(k)) & 1
                out[begin + k] = np.int8(2 * one - 1 if spin else one)
    stored(state, row, s)
