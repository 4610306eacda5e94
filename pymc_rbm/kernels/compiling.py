"""Kernels are compiled once on a computer, then kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit
from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS

__all__ = ["VERSION", "inlined", "kernel", "piece"]

SOURCES = sorted(Path(__file__).parent.glob("*.py"))
VERSION = int(sha256(b"".join(path.name.encode() + path.read_bytes() for path in SOURCES)).hexdigest()[:12], 16)
"""A number that changes with the text or name of any file here, so that old machine code is not found again."""


def kernel(function: Callable) -> Any:
    """Compile a kernel: no interpreter lock, no checks for division by zero, kept on disk beside PyTensor's functions.

    Numba by itself would look at the date of the kernel's own file, not at the files of the pieces that it calls.
    """
    CACHED_SRC_FUNCTIONS[function] = f"pymc_rbm_{VERSION}"
    return njit(cache=True, nogil=True, error_model="numpy")(function)


piece = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compile a function that kernels call, as a part of them."""

inlined = partial(njit, forceinline=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)()
"""Compile a function that kernels call, into the place where it is called."""
