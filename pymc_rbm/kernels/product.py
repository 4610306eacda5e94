"""Tables give the product of binary states and weights, by the method of four Russians (Arlazarov et al. 1970).

Four units have sixteen joint states, so a row of four weights has sixteen possible contributions to a field. For a tile
of `BLOCK` inputs and `TILE` outputs they are added up beforehand; a row of states then costs one addition of a table
entry for every four units. The tables of a tile fit into the first-level cache and pay for themselves over the rows.
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, piece
from pymc_rbm.kernels.lanes import CACHE_LINE, LANES, address, byte_at, load, splat, stack_room, store, transpose_square
from pymc_rbm.kernels.packing import BLOCK, GROUPS, blocks_of

__all__ = [
    "TILE",
    "accumulate",
    "add_block",
    "aligned",
    "copy_tile",
    "table_room",
    "tile_room",
    "tiles",
    "tiles_of",
    "transposed_tiles",
]

TILE = 2 * LANES
"""The number of outputs in a tile."""
table_room, tile_room = stack_room(GROUPS * 16 * TILE), stack_room(BLOCK * TILE)


@piece
def aligned(count, like):
    """Return an array of ``count`` elements of the type of ``like`` that begins at a cache line."""
    raw = np.empty(count + CACHE_LINE // like.itemsize, like.dtype)
    skip = -address(raw) % CACHE_LINE // like.itemsize
    return raw[skip : skip + count]


@piece
def tiles_of(units):
    """Return the number of tiles that ``units`` outputs fill."""
    return (units + TILE - 1) // TILE


@inlined
def copy_tile(weights, block, tile, out, start):
    """Write a tile of contiguous weights (inputs, outputs) to ``out``, from ``start`` on.

    Its shape is (BLOCK, TILE), with zeros where there are no weights.
    """
    n_in, n_out = weights.shape
    i0, j0 = block * BLOCK, tile * TILE
    rows, columns = min(BLOCK, n_in - i0), min(TILE, n_out - j0)
    if columns == TILE:
        for i in range(rows):
            index, to = (i0 + i) * n_out + j0, start + i * TILE
            store(out, to, load(weights, index))
            store(out, to + LANES, load(weights, index + LANES))
    else:
        for i in range(rows):
            for j in range(TILE):
                out[start + i * TILE + j] = weights[i0 + i, j0 + j] if j < columns else 0
    for k in range(rows * TILE, BLOCK * TILE):
        out[start + k] = 0


@inlined
def _copy_transposed_tile(weights, block, tile, out, start):
    """Write a tile of the transpose of contiguous weights (outputs, inputs) to ``out``, from ``start`` on."""
    n_out, n_in = weights.shape
    i0, j0 = block * BLOCK, tile * TILE
    rows, columns = min(BLOCK, n_in - i0), min(TILE, n_out - j0)
    if rows < BLOCK or columns < TILE:
        for k in range(BLOCK * TILE):
            out[start + k] = 0
    for j in range(0, columns, LANES):
        for i in range(0, rows, LANES):
            if i + LANES <= rows and j + LANES <= columns:
                transpose_square(weights, (j0 + j) * n_in + i0 + i, n_in, out, start + i * TILE + j, TILE)
            else:
                for k in range(j, min(j + LANES, columns)):
                    for m in range(i, min(i + LANES, rows)):
                        out[start + m * TILE + k] = weights[j0 + k, i0 + m]


def _all_tiles(copy, axis_in):
    """Make a function that returns all tiles of the weights, for repeated use: (blocks, tiles, BLOCK, TILE), flattened.

    ``copy`` writes a tile; the inputs are along ``axis_in`` of the weights. Were these arguments of one function, numba
    would compile both copies for either.
    """

    @piece
    def all_tiles(weights):
        blocks, across = blocks_of(weights.shape[axis_in]), tiles_of(weights.shape[1 - axis_in])
        out = aligned(blocks * across * BLOCK * TILE, weights)
        for block in range(blocks):
            for tile in range(across):
                copy(weights, block, tile, out, (block * across + tile) * BLOCK * TILE)
        return out

    return all_tiles


tiles, transposed_tiles = _all_tiles(copy_tile, 0), _all_tiles(_copy_transposed_tile, 1)


@inlined
def _entries(table, weights, start, stride, half, groups):
    """Fill one half of the lanes of the sixteen entries of every group of four inputs."""
    for g in range(groups):
        w = start + g * 4 * stride + half
        t = g * 16 * TILE + half
        w0, w1 = load(weights, w), load(weights, w + stride)
        w2, w3 = load(weights, w + 2 * stride), load(weights, w + 3 * stride)
        low = (w0 - w0, w0, w1, w0 + w1)
        high = (w0 - w0, w2, w3, w2 + w3)
        for k in range(4):
            for m in range(4):
                store(table, t + (4 * k + m) * TILE, low[m] + high[k])


@piece
def accumulate(fields, codes, rows, weights, n_in, across, tile, table):
    """Write ``Σ_i x_i W_ij`` for one tile of outputs to ``fields`` (rows, TILE).

    ``codes`` are those of ``rows`` rows, ``weights`` come from `tiles`, with ``across`` tiles; ``table`` is a
    `table_room`.
    """
    zero = splat(weights.dtype.type(0))
    for block in range(blocks_of(n_in)):
        source = weights, (block * across + tile) * BLOCK * TILE, TILE
        add_block(fields, (fields, 0, TILE), codes, rows, block, n_in, source, table, zero, zero)


@piece
def add_block(fields, to, codes, rows, block, n_in, source, table, low, high):
    """Add the inputs of one block of one tile to ``fields`` (rows, TILE); the first block begins with ``low, high``.

    ``to`` is where the sums go: an array, the index of those of the first row, and from row to row. ``source`` is the
    same of the weights, input by input. Both arrays are flat.
    """
    (out, first, step), (weights, start, stride) = to, source
    groups = min(GROUPS, (n_in - block * BLOCK + 3) // 4)
    _entries(table, weights, start, stride, 0, groups)
    _entries(table, weights, start, stride, LANES, groups)
    if groups == GROUPS:
        for r in range(rows):
            code = (block * rows + r) * GROUPS
            _add(fields, r * TILE, codes, code, table, GROUPS, block > 0, low, high, out, first + r * step)
    else:
        for r in range(rows):
            code = (block * rows + r) * GROUPS
            _add(fields, r * TILE, codes, code, table, groups, block > 0, low, high, out, first + r * step)


@inlined
def _add(fields, field, codes, code, table, groups, more, low, high, out, to):
    """Write the sum of the entries that a row's codes select, and of its earlier fields, if any, to ``out``."""
    sum_low, sum_high = load(fields, field), load(fields, field + LANES)
    if more:  # no array ends inside a branch, or its reference count would change in the loop over rows
        low, high = sum_low, sum_high
    for g in range(groups):
        entry = (g * 16 + byte_at(codes, code + g)) * TILE
        low, high = low + load(table, entry), high + load(table, entry + LANES)
    store(out, to, low)
    store(out, to + LANES, high)
