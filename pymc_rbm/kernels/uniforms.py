"""Uniform random numbers in lanes: xoshiro128++ (Blackman & Vigna 2021, ACM TOMS 47), one generator a lane.

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
"""32-bit words of the state of all lanes."""


@kernel
def seeded(generator):
    """The start state of all lanes; ``generator`` advances by `WORDS` numbers."""
    state = np.empty(WORDS, np.uint32)
    for i in range(WORDS):
        state[i] = np.uint32(np.uint64(generator.random() * 2.0**32))
    return state


@inlined
def loaded(state):
    """The state in registers."""
    return load(state, 0), load(state, LANES), load(state, 2 * LANES), load(state, 3 * LANES)


@inlined
def stored(state, s):
    """Write the state back."""
    for i in range(4):
        store(state, i * LANES, s[i])


@inlined
def _rotated(x, k):
    return (x << splat(uint32(k))) | (x >> splat(uint32(32 - k)))


@inlined
def advanced(s):
    """32 random bits a lane, and the next state."""
    s0, s1, s2, s3 = s
    bits = _rotated(s0 + s3, 7) + s0
    shifted = s1 << splat(uint32(9))
    s2, s3 = s2 ^ s0, s3 ^ s1
    s1, s0 = s1 ^ s2, s0 ^ s3
    return bits, (s0, s1, s2 ^ shifted, _rotated(s3, 11))
