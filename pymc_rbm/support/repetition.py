"""A compiled function with updates, called many times in a row.

On the numba back end its machine code is called; at first from Python, 40 µs a call. A loop that is compiled, too,
takes numba as long as 40,000 such calls, so it is made only for runs that are long, and later ones find it on disk. It
calls the function through a pointer, not compiled into the loop, so that it costs no more. Other back ends are called
from Python throughout. What is computed is the same, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from pymc_rbm.support.fast_calls import compiled_for, in_numba
from pymc_rbm.support.interrupts import whole
from pymc_rbm.support.modes import first_call
from pymc_rbm.support.reentrant import one_compiles

__all__ = ["Repeated"]

WORTH_A_LOOP = 40_000
"""The number of calls from which on a compiled loop pays."""


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
        self._ways: dict[tuple, _Way] = {}
        self._made = 0

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
        if kinds not in self._ways:
            once = [np.asarray(x[0]) if i in _each(len(changing)) else x for i, x in enumerate(values)]
            with first_call():
                self._ways[kinds] = _Way(compiled_for(self._function, once), len(changing), moving)
        way = self._ways[kinds]
        self._made += len(changing[0])
        loop = way.loop(values, pays=self._made > WORTH_A_LOOP)
        found = list(loop(*values)) if loop is not None else way.by_entry(values)
        for i in reversed(moving):
            storage[i][0] = found.pop()
        return found

    def _by_python(self, rng, fixed, changing):
        rows = []
        for given in zip(*changing, strict=True):
            rng, *recorded = self._function(rng, fixed, *given)
            rows.append([np.array(x) for x in recorded])
        return [rng, *map(np.array, zip(*rows, strict=True))]


class _Way:
    """How a function is called for arguments of one kind: its machine code, and the loop around it, if there is one."""

    def __init__(self, update: Any, changing: int, moving: list[int]):
        self._update, self._changing, self._moving = update, changing, moving
        self._loop: Callable | None = None
        self._sought = False

    def by_entry(self, values: list[Any]) -> list[Any]:
        """Call the function from Python; return the generator, the records and the new values of what moves."""
        values, entry, last, rows = list(values), self._update.entry_point, len(self._moving), []
        changing = values[2 : 2 + self._changing]
        for i in range(len(changing[0])):
            values[2 : 2 + self._changing] = [np.asarray(x[i]) for x in changing]
            values[0], *found = whole(entry, *values)
            rows.append([np.array(x) for x in found[: len(found) - last]])  # the next call may write over what it is
            for at, new in zip(self._moving, found[len(found) - last :], strict=True):
                values[at] = np.asarray(new, order="C")
        records = [np.array(x) for x in zip(*rows, strict=True)]
        return [values[0], *records, *(values[i] for i in self._moving)]

    def loop(self, values: list[Any], pays: bool) -> Callable | None:
        """Return the loop if it is known, on disk, or ``pays``."""
        if self._loop is None and (pays or not self._sought):
            self._sought = True
            loop, types_of_loop = self._written(values)
            with one_compiles():
                if pays or loop._cache.load_overload(types_of_loop, loop.targetctx) is not None:
                    loop.compile(types_of_loop)
                    self._loop = partial(loop.overloads[types_of_loop].entry_point, _Pointer(self._update))
        return self._loop

    def _written(self, values: list[Any]) -> tuple[Any, tuple]:
        """Return the loop for values of these types, and its types."""
        from numba import typeof, types
        from pytensor.link.numba.cache import compile_numba_function_src
        from pytensor.link.numba.dispatch.basic import numba_njit

        signature, moving = self._update.signature, self._moving
        found = list(signature.return_type)[1:]
        recorded = [x.ndim for x in found[: len(found) - len(moving)]]
        copied = {i for i, x in zip(reversed(moving), reversed(found), strict=False) if x.layout != "C"}
        source = _source([np.ndim(x) for x in values], self._changing, moving, copied, recorded)
        key = sha256(f"{__name__} {source}".encode()).hexdigest()  # numba's cache on disk names this module
        loop = compile_numba_function_src(source, "repeated", dict(globals()), cache_key=f"pymc_rbm_repeated_{key}")
        loop = numba_njit(loop, final_function=True, cache=True)
        return loop, (types.FunctionType(signature), *map(typeof, values))


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


def _source(ndims: list[int], changing: int, moving: list[int], copied: set[int], of_records: list[int]) -> str:
    """Write the loop; it returns the generator, the records, then the new values of the ``moving`` inputs.

    Those in ``copied`` may be views with other layouts. ``of_records`` are numbers of axes. Entries are copied one by
    one: where whole arrays are assigned, numba compiles a check of shapes and the text of its error, for two seconds.
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
        *(f"        x{i} = np.ascontiguousarray(z{i})" if i in copied else f"        x{i} = z{i}" for i in moving),
        f"    return {found}",
    ]
    return "\n".join(lines) + "\n"


def _copied(record: str, ndim: int) -> list[str]:
    """Write the loops that copy what one call returned, ``y1``, to its place in a record, ``r1``."""
    value, axes = f"y{record[1:]}", [f"j{axis}" for axis in range(ndim)]
    lines = [f"{'    ' * (2 + k)}for {j} in range({value}.shape[{k}]):" for k, j in enumerate(axes)]
    return [*lines, f"{'    ' * (2 + ndim)}{record}[{', '.join(['i', *axes])}] = {value}[{', '.join(axes) or '()'}]"]
