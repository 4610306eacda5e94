"""Compiled functions whose last digits do not depend on what numba's caches hold.

PyTensor lets numba reorder sums ("fastmath"). In which order a piece of a graph is then summed depends on where it was
optimised, alone or as a part of a larger one; and when a process compiles both, the linker may take the one for the
other. A process that loads them finds the second. Learning multiplies such differences of 1e-16 until they are seen.
Without reordering every compilation gives the same numbers.
"""

from __future__ import annotations

from typing import Any

import pymc as pm
import pytensor

__all__ = ["in_order"]


def in_order(inputs: list[Any], outputs: Any, **kwargs: Any) -> Any:
    """``pm.compile`` with sums in the order in which they are written; for `reentrant.compiled`."""
    with pytensor.config.change_flags(numba__fastmath=False):
        return pm.compile(inputs, outputs, **kwargs)
