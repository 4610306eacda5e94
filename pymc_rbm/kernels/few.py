"""A layer of one row: add the weights of the units that are on. Tables would cost more than they save."""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, piece
from pymc_rbm.kernels.elementary import bernoulli
from pymc_rbm.kernels.lanes import LANES, bits, load, muladd, splat, store, total
from pymc_rbm.kernels.uniforms import loaded, stored

__all__ = ["FEW_ROWS", "draw_row"]

FEW_ROWS = 16
"""Below this many rows tables do not pay for themselves."""


@inlined
def _add_rows(x, row, weights, field):
    """Add the rows of ``weights`` (inputs, outputs) whose unit is on."""
    n_in, n_out = weights.shape
    end = n_out // LANES * LANES
    for i in range(n_in):
        if x[row, i] == 1:
            for j in range(0, end, LANES):
                store(field, j, load(field, j) + load(weights, i * n_out + j))
            for j in range(end, n_out):
                field[j] += weights[i, j]


@inlined
def _add_columns(x, row, weights, field):
    """Add the columns of ``weights`` (outputs, inputs) whose unit is on."""
    n_out, n_in = weights.shape
    end = n_in // LANES * LANES
    on = np.empty(n_in, weights.dtype)
    for i in range(n_in):
        on[i] = x[row, i] == 1
    for j in range(n_out):
        sums = splat(weights.dtype.type(0))
        for i in range(0, end, LANES):
            sums = muladd(load(weights, j * n_in + i), load(on, i), sums)
        field[j] = total(sums)
        for i in range(end, n_in):
            field[j] += weights[j, i] * on[i]


@piece
def draw_row(x, row, weights, transposed, offset, factor, out, held, spin, state, field):
    """Draw a row of the layer ``out`` given the same row of the layer ``x``; as `sweep.draw_layer`, on plain states.

    ``field`` is room for as many numbers as ``offset`` has.
    """
    n_out, s = out.shape[1], loaded(state)
    for j in range(len(offset)):
        field[j] = 0
    if transposed:
        _add_columns(x, row, weights, field)
    else:
        _add_rows(x, row, weights, field)
    scale = splat(offset.dtype.type(factor))
    for begin in range(0, n_out, LANES):
        on, s = bernoulli(muladd(load(field, begin), scale, load(offset, begin)), s)
        mask = bits(on)
        for k in range(min(LANES, n_out - begin)):
            if len(held) == 0 or not held[row, begin + k]:
                one = np.int64(mask >> np.uint32(k)) & 1
                out[row, begin + k] = np.int8(2 * one - 1 if spin else one)
    stored(state, s)
