"""How graphs are compiled that are evaluated once, or now and then: not at all."""

from __future__ import annotations

from pytensor.compile.mode import Mode
from pytensor.link.vm import VMLinker

__all__ = ["INTERPRETED"]

INTERPRETED = Mode(VMLinker(use_cloop=False, c_thunks=False), "fast_compile")
"""Each node of a graph by NumPy, from Python: ready in a tenth of a second, where numba takes up to six, and where
PyTensor's FAST_COMPILE starts a C compiler. On 2,000 states of 784 units numba saves less than that in 50 calls."""
