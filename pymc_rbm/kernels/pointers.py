"""Kernels are called through pointers: compiled once for each type of number, not anew into every graph.

Numba would link the whole kernel into each function that calls it and optimise it again, seconds at a time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numba
from numba import types
from numba.core.typing.templates import Signature
from pytensor.link.numba.cache import _call_cached_ptr
from pytensor.link.numba.dispatch.basic import numba_njit

from pymc_rbm.support.interrupts import late

__all__ = ["address_of", "through_pointer"]


def address_of(module: str, name: str, arguments: tuple[types.Type, ...]) -> int:
    """Return the address of a kernel's machine code for these types of arguments, compiled if need be.

    By name: a kernel that was pickled into a compiled function would have lost its files. A Ctrl-C that came since the
    call began is raised here, before seconds of work: numba brings it through the compiled code to the caller.
    """
    late(in_call=True)
    kernel = getattr(import_module(module), name)
    kernel.compile(arguments)
    compiled = kernel.overloads[arguments]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)


def through_pointer(kernel: Any, signature: Signature) -> Any:
    """Make a function for use in numba that calls ``kernel`` with this signature; exceptions of the kernel are lost."""
    function_type, arguments = types.FunctionType(signature), signature.args
    module, name = kernel.__module__, kernel.__name__
    unique = f"{module}.{name}{arguments}"

    @numba_njit
    def pointer():
        with numba.objmode(address=types.intp):
            address = address_of(module, name, arguments)
        return address

    @numba_njit
    def call(*args):
        function = _call_cached_ptr(get_ptr_func=pointer, func_type_ref=function_type, unique_func_name_lit=unique)
        return function(*args)

    return call
