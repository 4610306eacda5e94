"""The product of binary states and weights by table: the method of four Russians (Arlazarov et al. 1970).

Four units have sixteen joint states, so a row of four weights has sixteen possible contributions to a field. For a tile
of `BLOCK` inputs and `TILE` outputs they are added up beforehand; a row of states then costs one addition of a table
entry for every four units. The tables of a tile fit into the first-level cache and pay for themselves over the rows.
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, piece
from pymc_rbm.kernels.lanes import LANES, address, byte_at, load, store
from pymc_rbm.kernels.packing import BLOCK, GROUPS, blocks_of

__all__ = ["TILE", "accumulate", "aligned", "tiles", "tiles_of"]

TILE = 2 * LANES
"""Outputs of a tile."""
CACHE_LINE = 64


@piece
def aligned(count, like):
    """An array of ``count`` elements of the type of ``like``, at the beginning of a cache line."""
    raw = np.empty(count + CACHE_LINE // like.itemsize, like.dtype)
    skip = -address(raw) % CACHE_LINE // like.itemsize
    return raw[skip : skip + count]


@piece
def tiles_of(units):
    """Number of tiles of that many outputs."""
    return (units + TILE - 1) // TILE


@piece
def tiles(weights, transposed):
    """Weights (inputs, outputs), or the transpose of (outputs, inputs), as tiles (blocks, tiles, BLOCK, TILE)."""
    n_in, n_out = weights.shape if not transposed else weights.shape[::-1]
    blocks, across = blocks_of(n_in), tiles_of(n_out)
    out = aligned(blocks * across * BLOCK * TILE, weights)
    for block in range(blocks):
        for tile in range(across):
            start = (block * across + tile) * BLOCK * TILE
            i0, j0 = block * BLOCK, tile * TILE
            rows, columns = min(BLOCK, n_in - i0), min(TILE, n_out - j0)
            if rows < BLOCK or columns < TILE:
                for k in range(BLOCK * TILE):
                    out[start + k] = 0
            if transposed:
                for j in range(columns):
                    for i in range(rows):
                        out[start + i * TILE + j] = weights[j0 + j, i0 + i]
            else:
                for i in range(rows):
                    for j in range(columns):
                        out[start + i * TILE + j] = weights[i0 + i, j0 + j]
    return out


@inlined
def _entries(table, weights, start, half):
    """Fill one half of the lanes of the sixteen entries of every group of four inputs."""
    for g in range(GROUPS):
        w = start + g * 4 * TILE + half
        t = g * 16 * TILE + half
        w0, w1 = load(weights, w), load(weights, w + TILE)
        w2, w3 = load(weights, w + 2 * TILE), load(weights, w + 3 * TILE)
        low = (w0 - w0, w0, w1, w0 + w1)
        high = (w0 - w0, w2, w3, w2 + w3)
        for k in range(4):
            for m in range(4):
                store(table, t + (4 * k + m) * TILE, low[m] + high[k])


@piece
def accumulate(fields, codes, rows, weights, n_in, across, tile, table):
    """Write ``Σ_i x_i W_ij`` for one tile of outputs to ``fields`` (rows, TILE).

    ``codes`` are those of ``rows`` rows, ``weights`` come from `tiles`, with ``across`` tiles; ``table`` is room for
    ``GROUPS * 16 * TILE`` numbers.
    """
    for k in range(rows * TILE):
        fields[k] = 0
    for block in range(blocks_of(n_in)):
        start = (block * across + tile) * BLOCK * TILE
        _entries(table, weights, start, 0)
        _entries(table, weights, start, LANES)
        groups = min(GROUPS, (n_in - block * BLOCK + 3) // 4)
        if groups == GROUPS:
            for r in range(rows):
                _add(fields, r * TILE, codes, (block * rows + r) * GROUPS, table, GROUPS)
        else:
            for r in range(rows):
                _add(fields, r * TILE, codes, (block * rows + r) * GROUPS, table, groups)


@inlined
def _add(fields, field, codes, code, table, groups):
    """Add the entries that a row's codes select."""
    low, high = load(fields, field), load(fields, field + LANES)
    for g in range(groups):
        entry = (g * 16 + byte_at(codes, code + g)) * TILE
        low, high = low + load(table, entry), high + load(table, entry + LANES)
    store(fields, field, low)
    store(fields, field + LANES, high)
