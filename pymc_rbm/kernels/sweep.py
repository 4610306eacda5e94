"""Sweeps of many chains take products from tables, and draw units as codes in one pass over each field.

A sweep draws the hidden layer from the visible one and the visible layer from the hidden one. With a unit's state
``x = low + (high - low)·s`` for s of 0 or 1, the argument of the logistic function is affine in the product of s and W,
``z_j = offset_j + factor·Σ_i s_i W_ij``, for 0/1 units, spins and annealed machines alike (`affine`).
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import kernel, piece
from pymc_rbm.kernels.elementary import bernoulli
from pymc_rbm.kernels.lanes import LANES, bits, load, muladd, splat, store
from pymc_rbm.kernels.one_row import FEW_ROWS, draw_row, transposed_copy
from pymc_rbm.kernels.packing import BLOCK, WORDS, blocks_of, packed, spread, unpack
from pymc_rbm.kernels.product import TILE, accumulate, aligned, table_room, tiles, tiles_of, transposed_tiles
from pymc_rbm.kernels.uniforms import loaded, stored

__all__ = ["GROUP", "affine", "draw_layer", "group_of", "sweep_few", "sweep_many"]

ROWS = 1024
"""How many chains are swept together, so that their fields of a tile stay in the second-level cache."""
GROUP = 32
"""How many chains share a generator, so that draws do not depend on the number of threads."""
WORTH_A_COPY = 32
"""The number of sweeps of one row from which a transposed copy of the weights pays for itself."""


@piece
def affine(weights, b, c, spins):
    """Return offsets of both layers, and the factor that they share: ``z = offset + factor·(s W)``.

    Offsets are padded to whole tiles with units that are never on. For spins in,
    ``Σ_i x_i W_ij = 2 Σ_i s_i W_ij - Σ_i W_ij``; for spins out the logistic function takes 2·field.
    """
    b_scale, c_scale = 2 if spins[0] else 1, 2 if spins[1] else 1
    b_offset, c_offset = _padded(b, b_scale), _padded(c, c_scale)
    for i in range(len(b)):
        for j in range(len(c)):
            if spins[0]:
                c_offset[j] -= c_scale * weights[i, j]
            if spins[1]:
                b_offset[i] -= b_scale * weights[i, j]
    return b_offset, c_offset, b_scale * c_scale


@piece
def _padded(bias, scale):
    out = np.empty(tiles_of(len(bias)) * TILE, bias.dtype)
    for j in range(len(out)):
        out[j] = scale * bias[j] if j < len(bias) else -np.inf
    return out


@piece
def draw_layer(codes, rows, n_in, weights, offset, factor, out, held, room):
    """Draw a layer of ``rows`` rows given the ``codes`` of the other; ``out`` and the mask ``held`` are codes, too.

    Units that ``held`` marks keep their value; if it is empty none does. ``room`` is a tuple: generators, one for each
    `GROUP` of rows; the number of the first row; room for fields and for a table; and where ``kept_scale`` times the
    arguments z of the logistic function go, ``kept``, shape (all rows, units): nowhere if it is empty.
    """
    state, first, fields, table, kept, kept_scale = room
    across = len(offset) // TILE
    for tile in range(across):
        accumulate(fields, codes, rows, weights, n_in, across, tile, table)
        offset_low, offset_high = load(offset, tile * TILE), load(offset, tile * TILE + LANES)
        scale = splat(offset.dtype.type(factor))
        for begin in range(0, rows, GROUP):
            which = (first + begin) // GROUP
            s = loaded(state, which)
            for r in range(begin, min(begin + GROUP, rows)):
                low, s = bernoulli(muladd(load(fields, r * TILE), scale, offset_low), s)
                high, s = bernoulli(muladd(load(fields, r * TILE + LANES), scale, offset_high), s)
                new = spread(bits(low) | (bits(high) << np.uint32(16)))
                word = (tile * TILE // BLOCK * rows + r) * WORDS + tile % WORDS
                if len(held):
                    new = (new & ~held[word]) | (out[word] & held[word])
                out[word] = new
            stored(state, which, s)
        if len(kept):
            _keep(fields, rows, tile, offset, factor, kept, first, kept_scale)


@piece
def _keep(fields, rows, tile, offset, factor, kept, first, kept_scale):
    """Write the fields that one tile of `draw_layer` was drawn from to ``kept``."""
    units, j0, number = kept.shape[1], tile * TILE, kept.dtype.type
    whole = j0 + TILE <= units
    ratio, scale = splat(number(kept_scale)), splat(number(kept_scale * factor))
    low, high = ratio * load(offset, j0), ratio * load(offset, j0 + LANES)
    to, start, step = (kept.reshape(-1), first * units + j0, units) if whole else (fields, 0, TILE)
    for r in range(rows):
        store(to, start + r * step, muladd(load(fields, r * TILE), scale, low))
        store(to, start + r * step + LANES, muladd(load(fields, r * TILE + LANES), scale, high))
    if not whole:
        for r in range(rows):
            for j in range(j0, units):
                kept[first + r, j] = fields[r * TILE + j - j0]


@kernel
def sweep_few(
    state, begin, end, n, visible, hidden, trace, kept, weights, b, c, held_v, held_h, spins, clamped, hidden_last
):
    """Run ``n`` sweeps for each draw of the rows from ``begin`` to ``end``, row by row.

    Parameters
    ----------
    state : uint32, of `uniforms.seeded`, a generator for each `group_of` rows
    begin, end : int
        Whole groups.
    n : int
    visible, hidden : int8, shapes (rows, visible), (rows, hidden)
        ``hidden`` is written to: the last states.
    trace : int8, shape (draws, rows, visible)
        Written to: the visible states after each ``n`` sweeps.
    kept : type of the weights, shape (rows, hidden), or (0, hidden)
        Written to, if it is not empty: the fields that the last hidden states were drawn from.
    weights, b, c : float32 or float64, contiguous, all of one type
    held_v, held_h : bool, shapes (rows, units), or (0, units) where none is held
    spins, clamped : pairs of bool
        By layer: whether units are -1 and 1, whether all of them are clamped.
    hidden_last : bool
        Whether a sweep ends with the hidden layer, instead of the visible one.
    """
    draws, again = len(trace), n * len(trace) * (end - begin) >= WORTH_A_COPY
    back = transposed_copy(weights) if again else weights
    b_offset, c_offset, factor = affine(weights, b, c, spins)
    field = np.empty(max(len(b_offset), len(c_offset)), weights.dtype)
    for row in range(begin, end):
        v, h = visible[row].copy(), hidden[row]
        for draw in range(draws):
            for k in range(2 * n):
                down = (k % 2 == 1) != hidden_last  # with one call in the source it is compiled once
                if not clamped[0 if down else 1]:
                    x, out, held = (h, v, held_v) if down else (v, h, held_h)
                    matrix, offset = (back, b_offset) if down else (weights, c_offset)
                    spin = spins[0 if down else 1]
                    draw_row(x, matrix, down and not again, offset, factor, out, held, row, spin, state, field)
            for i in range(len(v)):  # a slice would bring its error message into the machine code
                trace[draw, row, i] = v[i]
        for j in range(len(c) if len(kept) else 0):
            kept[row, j] = (c_offset[j] + factor * field[j]) / (2 if spins[1] else 1)


@kernel
def sweep_many(
    state, begin, end, n, visible, hidden, trace, kept, weights, b, c, held_v, held_h, spins, clamped, hidden_last
):
    """Run ``n`` sweeps for each draw of the rows from ``begin`` to ``end``, many rows at once, by table."""
    n_visible, n_hidden = weights.shape
    tiles_up, tiles_down = tiles(weights), transposed_tiles(weights)
    b_offset, c_offset, factor = affine(weights, b, c, spins)
    table, nothing = table_room(weights), np.empty((0, 1), weights.dtype)
    kept_scale = 0.5 if spins[1] else 1.0
    fields = aligned(min(ROWS, end - begin) * TILE, weights)
    for first in range(begin, end, ROWS):
        last = min(first + ROWS, end)
        rows = last - first
        # A layer that is drawn before it is read need not be packed.
        reads_v = n < 1 or clamped[0] or len(held_v) > 0 or not hidden_last
        reads_h = n < 1 or clamped[1] or len(held_h) > 0 or hidden_last
        v = packed(visible, first, last) if reads_v else np.empty(blocks_of(n_visible) * rows * WORDS, np.uint64)
        h = packed(hidden, first, last) if reads_h else np.empty(blocks_of(n_hidden) * rows * WORDS, np.uint64)
        # Lanes of booleans are one bit wide, but arrays of booleans are stored as bytes.
        marks_v = packed(held_v.view(np.int8), min(first, len(held_v)), min(last, len(held_v)))
        marks_h = packed(held_h.view(np.int8), min(first, len(held_h)), min(last, len(held_h)))
        for draw in range(len(trace)):
            for k in range(2 * n):
                down = (k % 2 == 1) != hidden_last
                if down and not clamped[0]:
                    room = state, first, fields, table, nothing, 1.0
                    draw_layer(h, rows, n_hidden, tiles_down, b_offset, factor, v, marks_v, room)
                elif not down and not clamped[1]:
                    room = state, first, fields, table, kept if k == 2 * n - 1 else nothing, kept_scale
                    draw_layer(v, rows, n_visible, tiles_up, c_offset, factor, h, marks_h, room)
            unpack(v, trace[draw], first, last, spins[0])
        unpack(h, hidden, first, last, spins[1])


@kernel
def group_of(rows):
    """Return how many of ``rows`` rows share a generator."""
    return 1 if rows < FEW_ROWS else GROUP
