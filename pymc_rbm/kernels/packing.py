"""Binary states become codes: four neighbouring units become one of sixteen numbers.

A layer of n units and R rows is an array of shape (blocks, R, 2) of 64-bit words, flattened: sixteen bytes, which are
the codes of a row's 64 units of a block. Missing units of the last block are off. States are int8, 0 or 1 for Bernoulli
units and -1 or 1 for spins: a unit is on where it is 1.
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import inlined, piece
from pymc_rbm.kernels.lanes import LANES, bits, from_bits, load, number, splat, store

__all__ = ["BLOCK", "GROUPS", "WORDS", "blocks_of", "gathered", "packed", "packed_columns", "spread", "unpack"]

BLOCK = 64
"""The number of units in a block."""
GROUPS = BLOCK // 4
"""The number of codes in a row of a block."""
WORDS = 2
"""The number of 64-bit words in a row of a block."""


@piece
def blocks_of(units):
    """Return the number of blocks that ``units`` units fill."""
    return (units + BLOCK - 1) // BLOCK


@inlined
def spread(mask):
    """Return the eight codes in 32 bits, one a byte, the lowest first."""
    x = np.uint64(mask)
    x = (x | (x << np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    x = (x | (x << np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    return (x | (x << np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)


@inlined
def _sixteen(states, index):
    """Return `LANES` states as bits."""
    x = load(states, index)
    one = x ^ x ^ splat(states.dtype.type(1))
    return bits(x - one < one)  # as unsigned numbers only 1 - 1 is less than 1


@piece
def packed(states, begin, end):
    """Return codes of the rows from ``begin`` to ``end`` of contiguous ``states`` (rows, units); 1 is on."""
    rows, units = end - begin, states.shape[1]
    codes = np.zeros(blocks_of(units) * rows * WORDS, np.uint64)
    for r in range(rows):
        for i in range(0, units, 32):
            if i + 32 <= units:
                start = (begin + r) * units + i
                mask = _sixteen(states, start) | (_sixteen(states, start + LANES) << np.uint32(16))
            else:
                mask = np.uint32(0)
                for k in range(units - i):
                    mask |= np.uint32(states[begin + r, i + k] == 1) << np.uint32(k)
            codes[(i // BLOCK * rows + r) * WORDS + i // 32 % WORDS] = spread(mask)
    return codes


@piece
def packed_columns(states, begin, end):
    """Return codes of the columns from ``begin`` to ``end`` of contiguous ``states`` (units, rows), 0 and 1."""
    units, width = states.shape
    rows = end - begin
    codes, masks = np.zeros(blocks_of(units) * rows * WORDS, np.uint64), np.empty(LANES, np.uint32)
    whole = rows // LANES * LANES
    for i0 in range(0, units, 32):
        i1, first = min(i0 + 32, units), i0 // BLOCK * rows * WORDS + i0 // 32 % WORDS
        for r in range(0, whole, LANES):
            mask = splat(np.uint32(0))
            for i in range(i0, i1):
                on = number(load(states, i * width + begin + r), np.uint32(0))
                mask = mask | (on << splat(np.uint32(i - i0)))
            store(masks, 0, mask)
            for k in range(LANES):
                codes[first + (r + k) * WORDS] = spread(masks[k])
        for r in range(whole, rows):
            bits_of_row = np.uint32(0)
            for i in range(i0, i1):
                bits_of_row |= np.uint32(states[i, begin + r]) << np.uint32(i - i0)
            codes[first + r * WORDS] = spread(bits_of_row)
    return codes


@inlined
def gathered(word):
    """Return the 32 bits of eight codes: the inverse of `spread`."""
    x = (word | (word >> np.uint64(4))) & np.uint64(0x00FF00FF00FF00FF)
    x = (x | (x >> np.uint64(8))) & np.uint64(0x0000FFFF0000FFFF)
    return np.uint32((x | (x >> np.uint64(16))) & np.uint64(0xFFFFFFFF))


@piece
def unpack(codes, states, begin, end, spin):
    """Write codes as states to the rows from ``begin`` to ``end`` of contiguous ``states``."""
    rows, units = end - begin, states.shape[1]
    off = np.int8(-1 if spin else 0)
    step = np.int8(1 - off)
    for r in range(rows):
        for i in range(0, units, 32):
            mask = gathered(codes[(i // BLOCK * rows + r) * WORDS + i // 32 % WORDS])
            if i + 32 <= units:
                start = (begin + r) * units + i
                for k in range(0, 32, LANES):
                    store(states, start + k, from_bits(mask >> np.uint32(k)) * splat(step) + splat(off))
            else:
                for k in range(units - i):
                    states[begin + r, i + k] = off + step * np.int8((mask >> np.uint32(k)) & np.uint32(1))
