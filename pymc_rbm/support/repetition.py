"""A compiled function with updates, called many times in a row without Python in between.

On the numba back end the loop is compiled, too: the function is called through a pointer, not compiled into the loop,
so that the loop costs little to compile. Other back ends are called from a loop in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from pymc_rbm.support.fast_calls import compiled_for, in_numba
from pymc_rbm.support.modes import first_call
from pymc_rbm.support.reentrant import one_compiles

__all__ = ["Repeated"]


class Repeated:
    """Repeated calls of ``function(rng, fixed, *changing)``, which returns the generator and values to record.

    Parameters
    ----------
    function : compiled function
        Each call goes on from the shared variables and the generator that the one before left. The records are arrays
        whose shapes do not change.
    """

    def __init__(self, function: Any):
        self._function = function
        self._in_numba = in_numba(function)
        self._loops: dict[tuple, Callable] = {}

    def __call__(self, rng: np.random.Generator, fixed: Any, changing: Sequence[np.ndarray]) -> list[Any]:
        """Call the function for each entry of the first axis of ``changing``; return the generator and the records.

        The records have the axis of calls first.
        """
        if not self._in_numba:
            return self._by_python(rng, fixed, changing)
        storage = [container.storage for container in self._function.input_storage]
        shared = [cell[0] for cell in storage[2 + len(changing) :]]
        moving = list(self._function.maker.fgraph.update_mapping.values())
        values = [rng, np.asarray(fixed), *map(np.ascontiguousarray, changing), *shared]
        for i in moving:  # their types must not change from call to call
            values[i] = np.asarray(values[i], order="C")
        kinds = tuple(map(_kind, values))
        if kinds not in self._loops:
            self._loops[kinds] = self._loop(values, len(changing), moving)
        found = list(self._loops[kinds](*values))
        for i in reversed(moving):
            storage[i][0] = found.pop()
        return found

    def _by_python(self, rng, fixed, changing):
        rows = []
        for given in zip(*changing, strict=True):
            rng, *recorded = self._function(rng, fixed, *given)
            rows.append(recorded)
        return [rng, *map(np.array, zip(*rows, strict=True))]

    def _loop(self, values: list[Any], changing: int, moving: list[int]) -> Callable:
        """Return the compiled loop for values of these types."""
        from numba import typeof, types
        from pytensor.link.numba.cache import compile_numba_function_src
        from pytensor.link.numba.dispatch.basic import numba_njit

        once = [np.asarray(x[0]) if i in _each(changing) else x for i, x in enumerate(values)]
        with first_call():
            update = compiled_for(self._function, once)
        signature = update.signature
        recorded = [x.ndim for x in list(signature.return_type)[1 : len(signature.return_type) - len(moving)]]
        source = _source([np.ndim(x) for x in values], changing, moving, recorded)
        key = sha256(f"{__name__} {source}".encode()).hexdigest()  # numba's cache on disk names this module
        loop = compile_numba_function_src(source, "repeated", dict(globals()), cache_key=f"pymc_rbm_repeated_{key}")
        loop = numba_njit(loop, final_function=True, cache=True)
        types_of_loop = (types.FunctionType(signature), *map(typeof, values))
        with one_compiles():
            loop.compile(types_of_loop)
        return partial(loop.overloads[types_of_loop].entry_point, _Pointer(update))


class _Pointer:
    """A compiled function as an argument of others, found once: numba would look for it in each call."""

    def __init__(self, compiled: Any):
        self._compiled = compiled  # holds the machine code
        self._address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)

    def __wrapper_address__(self) -> int:
        return self._address


def _each(changing: int) -> range:
    """Return the indices of the inputs that change from call to call: those after the generator and the fixed one."""
    return range(2, 2 + changing)


def _kind(x: Any) -> Any:
    """Return what the numba type of a value depends on."""
    return (x.dtype, x.ndim, x.flags.c_contiguous, x.flags.writeable) if isinstance(x, np.ndarray) else type(x)


def _source(ndims: list[int], changing: int, moving: list[int], of_records: list[int]) -> str:
    """Write the loop; it returns the generator, the records, then the new values of the ``moving`` inputs.

    ``of_records`` are numbers of axes. Entries are copied one by one: where whole arrays are assigned, numba compiles
    a check of shapes and the text of its error, for two seconds.
    """
    names = [f"x{i}" for i in range(len(ndims))]
    given = ", ".join(f"np.asarray({x}[i])" if i in _each(changing) else x for i, x in enumerate(names))
    recorded = [f"r{k}" for k in range(1, 1 + len(of_records))]
    found = ", ".join(["x0", *recorded, *(names[i] for i in moving)])
    new = ", ".join(["x0", *(f"y{r[1:]}" for r in recorded), *(f"z{i}" for i in moving)])
    lines = [
        f"def repeated(update, {', '.join(names)}):",
        "    n = len(x2)",
        "    for i in range(n):",
        f"        {new} = update({given})",
        "        if i == 0:",
        *(f"            {r} = np.empty((n, *y{r[1:]}.shape), y{r[1:]}.dtype)" for r in recorded),
        *(line for r, ndim in zip(recorded, of_records, strict=True) for line in _copied(r, ndim)),
        # Updates may be views with other layouts. `np.ascontiguousarray` would give a scalar an axis.
        *(f"        x{i} = np.ascontiguousarray(z{i})" if ndims[i] else f"        x{i} = z{i}" for i in moving),
        f"    return {found}",
    ]
    return "\n".join(lines) + "\n"


def _copied(record: str, ndim: int) -> list[str]:
    """Write the loops that copy what one call returned, ``y1``, to its place in a record, ``r1``."""
    value, axes = f"y{record[1:]}", [f"j{axis}" for axis in range(ndim)]
    lines = [f"{'    ' * (2 + k)}for {j} in range({value}.shape[{k}]):" for k, j in enumerate(axes)]
    return [*lines, f"{'    ' * (2 + ndim)}{record}[{', '.join(['i', *axes])}] = {value}[{', '.join(axes) or '()'}]"]
