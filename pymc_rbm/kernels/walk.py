"""Sweeps at several temperatures, for annealing and tempering, get states and free energies from one product.

In a layer that interpolates between a base and a machine, the argument of the logistic function is affine in β, too
(`lines`): ``z_j(β) = base_j + β·(slope_j + factor·Σ_i s_i W_ij)``, with units s of 0 or 1 as in `sweep`. One product
therefore gives the hidden layer's draw at one temperature and the free energies of the visible one at two. What in
these is linear in the visible units is the field of one more column of W (`linear_part`).
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import kernel, piece
from pymc_rbm.kernels.elementary import bernoulli, softplus_step
from pymc_rbm.kernels.lanes import LANES, bits, load, muladd, splat, total
from pymc_rbm.kernels.packing import BLOCK, WORDS, blocks_of, packed, spread, unpack
from pymc_rbm.kernels.product import TILE, accumulate, aligned, table_room, tiles, tiles_of, transposed_tiles
from pymc_rbm.kernels.uniforms import loaded, stored

__all__ = ["ROWS", "sweep_levels", "walk_rows"]

ROWS = 1024
"""How many particles walk together, so that their fields of a tile stay in the second-level cache."""


@piece
def lines(bias, base, weights, transposed, spin_in, spin_out, more):
    """Return ``base``, ``slope`` and ``factor`` of ``z``, padded with at least ``more`` units that are never on."""
    n_out, scale = len(bias), 2 if spin_out else 1
    start = np.full(tiles_of(n_out + more) * TILE, -np.inf, bias.dtype)
    slope = np.zeros(len(start), bias.dtype)
    for j in range(n_out):
        total = bias[j] - base[j]
        if spin_in:
            for i in range(weights.shape[1] if transposed else weights.shape[0]):
                total -= weights[j, i] if transposed else weights[i, j]
        start[j], slope[j] = scale * base[j], scale * total
    return start, slope, bias.dtype.type((2 if spin_in else 1) * scale)


@piece
def linear_part(weights, own, up_line, spins):
    """Return ``weights`` with one more column, and a constant: the part of ``-dF/dβ`` that is linear in the units.

    These are ``own = b - b_base`` times the visible units, and for hidden spins, whose log-normaliser is
    ``softplus(z) - z/2``, half of every ``dz/dβ``.
    """
    _, slope, factor = up_line
    n, m = weights.shape
    out, constant = np.empty((n, m + 1), weights.dtype), weights.dtype.type(0)
    if spins[1]:
        for j in range(m):
            constant -= slope[j] / 2
    for i in range(n):
        total = weights.dtype.type(0)
        for j in range(m):
            out[i, j] = weights[i, j]
            total += weights[i, j]
        out[i, m] = (2 if spins[0] else 1) * own[i]
        if spins[0]:
            constant -= own[i]
        if spins[1]:
            out[i, m] -= factor * total / 2
    return out, constant


@piece
def layer(codes, rows, n_in, weights, line, here, there, out, gains, state, fields, table):
    """Draw a layer given the ``codes`` of the other, each row at its temperature ``there``; ``out`` are codes, too.

    If ``gains`` are not empty they become ``Σ_j softplus(z_j(there)) - softplus(z_j(here))``.
    """
    base, slope, factor = line
    across, s = len(base) // TILE, loaded(state, 0)
    scale = splat(factor)
    for r in range(len(gains)):
        gains[r] = 0
    for tile in range(across):
        accumulate(fields, codes, rows, weights, n_in, across, tile, table)
        j = tile * TILE
        base_low, base_high = load(base, j), load(base, j + LANES)
        slope_low, slope_high = load(slope, j), load(slope, j + LANES)
        for r in range(rows):
            before, after = splat(here[r]), splat(there[r])
            grow_low = muladd(load(fields, r * TILE), scale, slope_low)
            grow_high = muladd(load(fields, r * TILE + LANES), scale, slope_high)
            z_low, z_high = muladd(grow_low, after, base_low), muladd(grow_high, after, base_high)
            if len(gains):
                step = softplus_step(muladd(grow_low, before, base_low), z_low)
                gains[r] += total(step + softplus_step(muladd(grow_high, before, base_high), z_high))
            low, s = bernoulli(z_low, s)
            high, s = bernoulli(z_high, s)
            word = (tile * TILE // BLOCK * rows + r) * WORDS + tile % WORDS
            out[word] = spread(bits(low) | (bits(high) << np.uint32(16)))
    stored(state, 0, s)


@piece
def prepared(weights, b, c, base_b, base_c, spins):
    """Return tiles of W and `lines`, for the hidden and for the visible layer, and the constant of `linear_part`."""
    up_line = lines(c, base_c, weights, False, spins[0], spins[1], 1)
    down_line = lines(b, base_b, weights, True, spins[1], spins[0], 0)
    wider, constant = linear_part(weights, b - base_b, up_line, spins)
    return tiles(wider), up_line, transposed_tiles(weights), down_line, constant


@piece
def finish(gains, fields, n_hidden, constant, here, there, out):
    """Write ``F(here) - F(there)``: the gains of `layer` plus the linear part, which is in the last tile of fields."""
    for r in range(len(gains)):
        linear = fields[r * TILE + n_hidden % TILE] + constant
        out[r] = gains[r] + np.float64(there[r] - here[r]) * linear


@kernel
def walk_rows(state, betas, visible, increments, weights, b, c, base_b, base_c, spins, reverse):
    """Walk every row along ``betas``, in place, and write the increments of its log-weight.

    Forward, each pair (β, β') adds ``F_β(x) - F_β'(x)`` and then sweeps at β'; in reverse it sweeps at β and then adds
    the same difference. (The sweep of two layers is its own reversal.)

    Parameters
    ----------
    state : uint32, of `uniforms.seeded`
    betas : shape (temperatures,)
    visible : int8, shape (rows, visible)
    increments : float64, shape (temperatures - 1, rows)
    weights, b, c, base_b, base_c : float32 or float64, contiguous, all of the type of ``betas``
    spins : pair of bool
        By layer: whether units are -1 and 1.
    reverse : bool
    """
    n_visible, n_hidden = weights.shape
    up, up_line, down, down_line, constant = prepared(weights, b, c, base_b, base_c, spins)
    table, fields = table_room(weights), aligned(min(ROWS, len(visible)) * TILE, weights)
    no_gains = np.empty(0, np.float64)
    for begin in range(0, len(visible), ROWS):
        end = min(begin + ROWS, len(visible))
        rows = end - begin
        v, h = packed(visible, begin, end), np.zeros(blocks_of(n_hidden + 1) * rows * WORDS, np.uint64)
        here, there = np.full(rows, betas[0]), np.full(rows, betas[0])
        gains = np.empty(rows, np.float64)
        if reverse:
            layer(v, rows, n_visible, up, up_line, here, here, h, no_gains, state, fields, table)
        for k in range(len(betas) - 1):
            here[:], there[:] = betas[k], betas[k + 1]
            if reverse:
                layer(h, rows, n_hidden, down, down_line, here, here, v, no_gains, state, fields, table)
            layer(v, rows, n_visible, up, up_line, here, there, h, gains, state, fields, table)
            finish(gains, fields, n_hidden, constant, here, there, increments[k, begin:end])
            if not reverse:
                layer(h, rows, n_hidden, down, down_line, there, there, v, no_gains, state, fields, table)
        unpack(v, visible, begin, end, spins[0])


@kernel
def sweep_levels(state, below, own, above, visible, down_steps, up_steps, weights, b, c, base_b, base_c, spins):
    """Sweep every row once at its ``own`` temperature, in place; write ``F_below - F_own`` and ``F_above - F_own``.

    Parameters
    ----------
    state : uint32, of `uniforms.seeded`
    below, own, above : shape (rows,)
    visible : int8, shape (rows, visible)
    down_steps, up_steps : float64, shape (rows,)
    weights, b, c, base_b, base_c, spins
        As in `walk_rows`.
    """
    n_visible, n_hidden = weights.shape
    up, up_line, down, down_line, constant = prepared(weights, b, c, base_b, base_c, spins)
    table, fields = table_room(weights), aligned(min(ROWS, len(visible)) * TILE, weights)
    no_gains = np.empty(0, np.float64)
    for begin in range(0, len(visible), ROWS):
        end = min(begin + ROWS, len(visible))
        rows, here = end - begin, own[begin:end]
        v, h = packed(visible, begin, end), np.zeros(blocks_of(n_hidden + 1) * rows * WORDS, np.uint64)
        gains = np.empty(rows, np.float64)
        layer(v, rows, n_visible, up, up_line, here, here, h, no_gains, state, fields, table)
        layer(h, rows, n_hidden, down, down_line, here, here, v, no_gains, state, fields, table)
        for there, steps in ((below[begin:end], down_steps[begin:end]), (above[begin:end], up_steps[begin:end])):
            layer(v, rows, n_visible, up, up_line, there, here, h, gains, state, fields, table)
            finish(gains, fields, n_hidden, constant, there, here, steps)
        unpack(v, visible, begin, end, spins[0])
