"""Binary states as codes: four neighbouring units are one of sixteen numbers.

A layer of n units and R rows is an array of shape (blocks, R, 2) of 64-bit words, flattened: sixteen bytes, which are
the codes of a row's 64 units of a block. Missing units of the last block are off. States are int8, 0 or 1 for Bernoulli
units and -1 or 1 for spins: a unit is on where it is positive.
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import piece

__all__ = ["BLOCK", "GROUPS", "WORDS", "blocks_of", "packed", "unpack"]

BLOCK = 64
"""Units of a block."""
GROUPS = BLOCK // 4
"""Codes of a row of a block."""
WORDS = 2
"""Words of a row of a block."""


@piece
def blocks_of(units):
    """Number of blocks of that many units."""
    return (units + BLOCK - 1) // BLOCK


@piece
def packed(states, begin, end):
    """Codes of the rows from ``begin`` to ``end`` of ``states`` (rows, units); True or positive is on."""
    rows, units = end - begin, states.shape[1]
    codes = np.zeros(blocks_of(units) * rows * WORDS, np.uint64)
    for r in range(rows):
        for i in range(0, units, 32):
            word = np.uint64(0)
            for k in range(min(32, units - i)):
                on = np.uint64(states[begin + r, i + k] > 0)
                word |= on << np.uint64(k // 4 * 8 + k % 4)
            codes[(i // BLOCK * rows + r) * WORDS + i // 32 % WORDS] = word
    return codes


@piece
def unpack(codes, states, begin, end, spin):
    """Write codes to the rows from ``begin`` to ``end`` of ``states``."""
    rows, units = end - begin, states.shape[1]
    off = -1 if spin else 0
    for r in range(rows):
        for i in range(0, units, 32):
            word = codes[(i // BLOCK * rows + r) * WORDS + i // 32 % WORDS]
            for k in range(min(32, units - i)):
                on = np.int64(word >> np.uint64(k // 4 * 8 + k % 4)) & 1
                states[begin + r, i + k] = np.int8(off + (1 - off) * on)
