"""What a layer sends and what follows from fields, for many rows: products of binary states, sums over units."""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, kernel
from pymc_rbm.kernels.elementary import filled, logarithm, sigmoid, softplus_parts
from pymc_rbm.kernels.lanes import LANES, load, splat, store, total
from pymc_rbm.kernels.packing import GROUPS, packed
from pymc_rbm.kernels.product import TILE, accumulate, aligned, tiles, tiles_of

__all__ = ["are_binary", "binary_dot", "means_and_sums", "sum_sigmoid", "sum_softplus"]

ROWS = 1024
"""Rows that share a table."""
FACTORS = 64
"""Numbers between 1 and 2 whose product float32 holds, with room to spare."""


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


@inlined
def _none(like):
    """Sums over no units yet: of what softplus is above a logarithm, of the factors inside it, of means."""
    zero = splat(like.dtype.type(0))
    return zero, splat(like.dtype.type(1)), zero


@inlined
def _added(sums, z):
    """``sums`` with the units of fields ``z``."""
    tops, factors, means = sums
    top, t = softplus_parts(z)
    return tops + top, factors * (filled(z, 1) + t), means + sigmoid(z)


@inlined
def _settled(sums):
    """The same ``sums`` without factors."""
    tops, factors, means = sums
    return tops + logarithm(factors), filled(factors, 1), means


@kernel
def means_and_sums(fields, means, softplus_sums, mean_sums):
    """Write ``1 / (1 + exp(-field))`` to ``means``, and what `sum_softplus` and `sum_sigmoid` write; all contiguous."""
    rows, units = fields.shape
    end = units // LANES * LANES
    rest, none = np.empty(LANES, fields.dtype), np.full(LANES, -np.inf, fields.dtype)
    for r in range(rows):
        store(rest, 0, load(none, 0))
        for j in range(end, units):
            rest[j - end] = fields[r, j]
        z = load(rest, 0)
        sums = _settled(_added(_none(fields), z))
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
def sum_softplus(fields, out):
    """Write ``Σ_j log(1 + exp(field_rj))`` to ``out``; fields contiguous."""
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
