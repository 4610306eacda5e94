"""Compiled functions, remembered for the next call that asks for the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any

from pytensor import config

__all__ = ["remembered"]

SETTINGS = "mode", "linker", "optimizer", "optimizer_including", "optimizer_excluding", "floatX"
"""Settings of PyTensor that decide what a graph is compiled to."""


def remembered(most: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a builder of compiled functions to keep its last ``most`` results.

    Unlike `functools.lru_cache` it keeps one for each of the settings under which it was asked: a function compiled in
    a debug mode must not serve those that ask in the default mode, nor the other way round.
    """

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        @lru_cache(maxsize=most)
        def found(settings: tuple[Hashable, ...], *arguments: Hashable) -> Any:
            return build(*arguments)

        @wraps(build)
        def ask(*arguments: Hashable) -> Any:
            return found(tuple(getattr(config, name) for name in SETTINGS), *arguments)

        return ask

    return decorate
