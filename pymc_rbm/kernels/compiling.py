"""How kernels are compiled: once a machine, then kept on disk."""

from __future__ import annotations

from functools import partial

from numba import njit

__all__ = ["inlined", "kernel", "piece"]

kernel = njit(cache=True, nogil=True, error_model="numpy")
"""A kernel: no interpreter lock, no checks for division by zero, compiled code kept on disk."""

piece = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""A piece of kernels, compiled as a part of them."""

inlined = partial(njit, forceinline=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)()
"""A piece that is compiled into the place where it is called."""
