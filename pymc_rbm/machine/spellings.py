"""Names and orders of arguments of version 0.1 work for one more release, with a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from pymc_rbm.machine.targets import machine_of

__all__ = ["by_keyword", "data_first", "renamed"]

F = TypeVar("F", bound=Callable[..., Any])


def data_first(*further: str) -> Callable[[F], F]:
    """Decorate a function of data, target and learned that used to take target, learned, data and ``further``."""
    before = "target", "learned", "data", *further

    def decorate(function: F) -> F:
        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            if not (arguments and _stands_for_a_machine(arguments[0])):
                return function(*arguments, **named)
            name, given = function.__name__, dict(zip(before, arguments, strict=False))
            now = f"{name}(data, target, learned{', …' * bool(further)})"
            if "data" not in given.keys() | named.keys():
                raise TypeError(f"{name} takes the data first, but got a {type(arguments[0]).__name__}. Call {now}.")
            _warn(f"{name}({', '.join(before)})", now)
            return function(**given, **named)

        return cast(F, called)

    return decorate


def renamed(**names: str) -> Callable[[F], F]:
    """Decorate a function some of whose arguments had other names: ``old="new"``."""

    def decorate(function: F) -> F:
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

        return cast(F, called)

    return decorate


def by_keyword(name: str, after: int) -> Callable[[F], F]:
    """Decorate a function that used to take its option ``name`` also by position, behind ``after`` other arguments."""

    def decorate(function: F) -> F:
        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            if len(arguments) != after + 1 or name in named:
                return function(*arguments, **named)
            given, name_of_function = arguments[after], function.__name__
            _warn(f"{name_of_function}(…, {given!r})", f"{name_of_function}(…, {name}={given!r})")
            return function(*arguments[:after], **named, **{name: given})

        return cast(F, called)

    return decorate


def _stands_for_a_machine(x: Any) -> bool:
    return x is not None and machine_of.dispatch(type(x)) is not machine_of.dispatch(object)


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is now {new}. The old spelling works in this release and not in the next.",
        DeprecationWarning,
        stacklevel=4,
    )
