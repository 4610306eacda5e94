"""Names and orders of arguments of version 0.1 work for one more release, with a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

from pymc_rbm.machine.targets import machine_of

__all__ = ["data_first", "renamed"]


def data_first(*further: str) -> Callable[[Callable], Callable]:
    """Decorate a function of data, target and learned that used to take target, learned, data and ``further``."""
    before = "target", "learned", "data", *further

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            if not (arguments and _stands_for_a_machine(arguments[0])):
                return function(*arguments, **named)
            name = function.__name__
            _warn(f"{name}({', '.join(before)})", f"{name}(data, target, learned{', …' * bool(further)})")
            return function(**dict(zip(before, arguments, strict=False)), **named)

        return called

    return decorate


def renamed(**names: str) -> Callable[[Callable], Callable]:
    """Decorate a function some of whose arguments had other names: ``old="new"``."""

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            for old, new in names.items():
                if old not in named:
                    continue
                if new in named:
                    raise TypeError(
                        f"{function.__name__} got {old}= and {new}=, which are the same argument: give {new}= only."
                    )
                _warn(f"{function.__name__}({old}=)", f"{new}=")
                named[new] = named.pop(old)
            return function(*arguments, **named)

        return called

    return decorate


def _stands_for_a_machine(x: Any) -> bool:
    return x is not None and machine_of.dispatch(type(x)) is not machine_of.dispatch(object)


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is now {new}. The old spelling works in this release and not in the next.",
        DeprecationWarning,
        stacklevel=4,
    )
