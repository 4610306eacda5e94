"""Uniform random numbers come in lanes: xoshiro128++ (Blackman & Vigna 2021, ACM TOMS 47), one generator a lane.

The lanes start at independent uniform states of 128 bits, taken from the NumPy generator of the graph, so that
``random_seed`` rules. With a period of 2¹²⁸ - 1, two of 16 lanes that deliver 2⁴⁰ numbers each overlap with probability
below 2⁻⁷⁹.
"""

from __future__ import annotations

import numpy as np
from numba import uint32

from pymc_rbm.kernels.compiling import inlined, kernel
from pymc_rbm.kernels.lanes import LANES, load, splat, store

__all__ = ["WORDS", "advanced", "loaded", "seeded", "stored"]

WORDS = 4 * LANES
"""The number of 32-bit words in the state of all lanes."""


@kernel
def seeded(generator, rows, group):
    """Return start states of all lanes for each group of rows; ``generator`` advances by `WORDS` numbers a group."""
    state = np.empty((rows + group - 1) // group * WORDS, np.uint32)
    for i in range(len(state)):
        state[i] = np.uint32(np.uint64(generator.random() * 2.0**32))
    return state


@inlined
def loaded(state, which):
    """Load the state of generator ``which`` into registers."""
    i = which * WORDS
    return load(state, i), load(state, i + LANES), load(state, i + 2 * LANES), load(state, i + 3 * LANES)


@inlined
def stored(state, which, s):
    """Write the state of generator ``which`` back."""
    for i in range(4):
        store(state, which * WORDS + i * LANES, s[i])


@inlined
def _rotated(x, left, right):
    return (x << splat(left)) | (x >> splat(right))


@inlined
def advanced(s):
    """Return 32 random bits a lane, and the next state."""
    s0, s1, s2, s3 = s
    bits = _rotated(s0 + s3, uint32(7), uint32(25)) + s0
    shifted = s1 << splat(uint32(9))
    s2, s3 = s2 ^ s0, s3 ^ s1
    s1, s0 = s1 ^ s2, s0 ^ s3
    return bits, (s0, s1, s2 ^ shifted, _rotated(s3, uint32(11), uint32(21)))
