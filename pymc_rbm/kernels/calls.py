"""Call kernels from Python, by the same machine code that compiled graphs call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import numba_funcify_and_cache_key, numba_njit

from pymc_rbm.kernels import dispatch  # noqa: F401  # the implementations register on import
from pymc_rbm.kernels.compiling import VERSION
from pymc_rbm.support.modes import InOrder

__all__ = ["run"]

SMALL = 2**16
"""A read-only array of at most this many entries is copied, which avoids compiling a kernel for its type."""
_known: dict[Any, Callable] = {}


def run(node: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the outputs of a kernel's node for these inputs."""
    key = node.op, *(x.type for x in node.inputs)
    if key not in _known:
        _known[key] = _compiled(node)
    found = _known[key](*map(_as_compiled_for, inputs))
    return list(found) if len(node.outputs) > 1 else [found]


def _compiled(node: Any) -> Callable:
    """Return a kernel's implementation as a function of its own, which is kept on disk."""
    with InOrder():
        implementation, key = numba_funcify_and_cache_key(node.op, node=node)
        alone = compile_numba_function_src(
            "def alone(*args): return implementation(*args)",
            "alone",
            globals() | {"implementation": implementation},  # numba's cache names this module
            cache_key=f"pymc_rbm_{VERSION}_{key}_alone",
        )
        return numba_njit(alone, final_function=True, cache=True)


def _as_compiled_for(x: Any) -> Any:
    """Return an input in the layout and type that all calls share, so that numba compiles once."""
    if not isinstance(x, np.ndarray):
        return x
    x = np.asarray(x, order="C", dtype="int64" if x.ndim == 0 and x.dtype.kind in "iu" else None)
    return x if x.flags.writeable or x.size > SMALL else x.copy()
