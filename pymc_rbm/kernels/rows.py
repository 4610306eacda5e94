"""What a layer sends and what follows from fields, for many rows: products of binary states, sums over units."""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import kernel
from pymc_rbm.kernels.elementary import sigmoid, softplus
from pymc_rbm.kernels.lanes import LANES, load, store, total
from pymc_rbm.kernels.packing import GROUPS, packed
from pymc_rbm.kernels.product import TILE, accumulate, aligned, tiles, tiles_of

__all__ = ["are_binary", "binary_dot", "means_and_sums", "sum_sigmoid", "sum_softplus"]

ROWS = 1024
"""Rows that share a table."""


@kernel
def are_binary(states):
    """Whether all states are 0 or 1."""
    seen = np.int8(0)
    for x in states.flat:
        seen |= x
    return seen == 0 or seen == 1


@kernel
def binary_dot(start, stop, states, weights, out):
    """Write ``states @ weights`` to ``out`` in the rows from ``start`` to ``stop``; all contiguous.

    The states are int8, 0 and 1, shape (rows, inputs).
    """
    n_in, n_out = weights.shape
    up, across = tiles(weights, False), tiles_of(n_out)
    table = aligned(GROUPS * 16 * TILE, weights)
    fields = aligned(min(ROWS, stop - start) * TILE, weights)
    for begin in range(start, stop, ROWS):
        rows = min(ROWS, stop - begin)
        codes = packed(states, begin, begin + rows)
        for tile in range(across):
            accumulate(fields, codes, rows, up, n_in, across, tile, table)
            j0 = tile * TILE
            for r in range(rows):
                for j in range(min(TILE, n_out - j0)):
                    out[begin + r, j0 + j] = fields[r * TILE + j]


@kernel
def sum_softplus(fields, out):
    """Write ``Σ_j log(1 + exp(field_rj))`` to ``out``; fields contiguous."""
    rows, units = fields.shape
    end = units // LANES * LANES
    rest = np.full(LANES, -np.inf, fields.dtype)
    for r in range(rows):
        for j in range(end, units):
            rest[j - end] = fields[r, j]
        s = softplus(load(rest, 0))
        for j in range(0, end, LANES):
            s = s + softplus(load(fields, r * units + j))
        out[r] = total(s)


@kernel
def sum_sigmoid(fields, out):
    """Write ``Σ_j 1 / (1 + exp(-field_rj))`` to ``out``; fields contiguous."""
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


@kernel
def means_and_sums(fields, means, softplus_sums, mean_sums):
    """Write ``1 / (1 + exp(-field))`` to ``means``, and what `sum_softplus` and `sum_sigmoid` write; all contiguous."""
    rows, units = fields.shape
    end = units // LANES * LANES
    rest, rest_means = np.full(LANES, -np.inf, fields.dtype), np.empty(LANES, fields.dtype)
    for r in range(rows):
        for j in range(end, units):
            rest[j - end] = fields[r, j]
        last = load(rest, 0)
        s, p = softplus(last), sigmoid(last)
        store(rest_means, 0, p)
        for j in range(end, units):
            means[r, j] = rest_means[j - end]
        for j in range(0, end, LANES):
            field = load(fields, r * units + j)
            mean = sigmoid(field)
            store(means, r * units + j, mean)
            s, p = s + softplus(field), p + mean
        softplus_sums[r], mean_sums[r] = total(s), total(p)
