"""How graphs are compiled that are evaluated once, or now and then: not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pytensor.compile.mode import Mode
from pytensor.link.vm import VMLinker

__all__ = ["INTERPRETED", "first_call"]

INTERPRETED = Mode(VMLinker(use_cloop=False, c_thunks=False), "fast_compile")
"""Each node of a graph by NumPy, from Python: ready in a tenth of a second, where numba takes up to six, and where
PyTensor's FAST_COMPILE starts a C compiler. On 2,000 states of 784 units numba saves less than that in 50 calls."""


@contextmanager
def first_call() -> Iterator[None]:
    """Context in which numba compiles a function that may hold more than a megabyte of states.

    It says that it cannot keep such a function on disk, of which PyTensor's own filter is silent unless a user's strict
    ones come before it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Cannot cache compiled function")
        yield
