"""Compiled functions are remembered for the next call that asks for the same one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, partial, wraps
from operator import itemgetter
from typing import Any

from pymc_rbm.support.reentrant import Reentrant, one_compiles, settings

__all__ = ["remembered"]


def remembered(most: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function that compiles a function, or a tuple of them, to keep its last ``most`` results.

    Unlike `functools.lru_cache` it keeps one result for each setting of PyTensor: a function compiled in
    a debug mode must not serve those that ask in the default mode, nor the other way round. Threads that ask for the
    same function get the same one, built once, and may all call it (`Reentrant`).
    """

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        @lru_cache(maxsize=most)
        def built(current: tuple[Hashable, ...], *arguments: Hashable) -> Any:
            return _for_all(lambda: build(*arguments))

        @lru_cache(maxsize=most)
        def found(current: tuple[Hashable, ...], *arguments: Hashable) -> Any:
            with one_compiles():  # a thread that waited here finds the function built
                return built(current, *arguments)

        @wraps(build)
        def ask(*arguments: Hashable) -> Any:
            return found(settings(), *arguments)

        return ask

    return decorate


def _for_all(build: Callable[[], Any]) -> Any:
    """Return what ``build`` returns, with functions that any thread may call."""
    result = build()
    if not isinstance(result, tuple):
        return Reentrant(result, build)
    parts = ((x, itemgetter(i)) for i, x in enumerate(result))
    return tuple(Reentrant(x, partial(_part, build, which)) if callable(x) else x for x, which in parts)


def _part(build: Callable[[], Any], which: Callable[[Any], Any]) -> Any:
    return which(build())
