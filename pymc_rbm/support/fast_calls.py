"""Make calls of compiled functions fast, for those that take only microseconds themselves.

A call of a PyTensor function checks each argument, and numba finds its type, in Python: 45 µs where one is a random
generator. What was found for one argument holds for all others of its kind, so it is kept by kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from pytensor.link.numba.linker import NumbaLinker

from pymc_rbm.support.reentrant import Reentrant, one_compiles

__all__ = ["Quick", "compiled_for", "in_numba"]

PLAIN = np.ndarray, np.random.Generator
_bare: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


class Quick:
    """A compiled function of arrays and generators that is called by position, with arguments of few types and shapes.

    Arguments that the function takes as they are go right to its machine code; others, and those of functions with
    updates or of other back ends than numba, go the usual way. Any thread may call it at any time. Whoever calls it
    from the main thread defers Ctrl-C meanwhile (`interrupts.whole`).
    """

    def __init__(self, function: Any):
        self._function, self._entries = function, dict[tuple, Any]()
        self._usual = Reentrant(function)
        inputs = zip(function.input_storage, function.maker.inputs, strict=True)
        self._shared = [container.storage for container, x in inputs if x.implicit]

    def __reduce__(self):
        return Quick, (self._function,)  # machine code cannot be pickled

    def __call__(self, *arguments: Any) -> Sequence[Any]:
        """Call the function and return its results."""
        values = (*arguments, *[cell[0] for cell in self._shared])
        kinds = tuple(map(_kind, values))
        if kinds not in self._entries:
            self._entries[kinds] = self._entry(values)
        entry = self._entries[kinds]
        return self._usual(*arguments) if entry is None else entry(values)

    def _entry(self, values: tuple) -> Any:
        inputs = self._function.input_storage
        if not in_numba(self._function) or self._function.maker.fgraph.update_mapping or len(values) != len(inputs):
            return None
        taken = (type(v) in PLAIN and x.type.is_valid_value(v) for x, v in zip(inputs, values, strict=True))
        return partial(_spread, compiled_for(self._function, values).entry_point) if all(taken) else None


def in_numba(function: Any) -> bool:
    """Whether numba has compiled a PyTensor function."""
    return isinstance(function.maker.linker, NumbaLinker)


def _kind(x: Any) -> tuple | type:
    """Return what decides the type of an argument in numba, and whether the function takes it unchanged."""
    return (x.dtype, x.shape, x.flags.num) if type(x) is np.ndarray else type(x)


def _spread(entry: Any, values: Sequence[Any]) -> Any:
    return entry(*values)


def compiled_for(function: Any, values: Sequence[Any]) -> Any:
    """Return numba's machine code of the function behind a PyTensor function, for arguments of these types."""
    from numba import typeof

    arguments = tuple(map(typeof, values))
    with one_compiles():
        jitted = _bare_function(function.vm.jit_fn)
        jitted.compile(arguments)
    return jitted.overloads[arguments]


def _bare_function(jitted: Any) -> Any:
    """Return the function inside the one that PyTensor wraps around each graph to keep it on disk, kept there, too.

    The wrapper would have LLVM optimise the whole graph a second time.
    """
    from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS
    from pytensor.link.numba.dispatch.basic import numba_njit

    if jitted not in _bare:
        outer = jitted.py_func
        key, wrapped = CACHED_SRC_FUNCTIONS.get(outer), outer.__globals__.get("jitable_func")
        inner = outer if wrapped is None else wrapped.py_func  # without a cache nothing is wrapped
        if key is not None:
            inner.__code__ = inner.__code__.replace(co_filename="<string>")  # numba looks for its files by this name
            CACHED_SRC_FUNCTIONS[inner] = f"{key}_bare"
        _bare[jitted] = numba_njit(inner, final_function=True, cache=key is not None)
    return _bare[jitted]
