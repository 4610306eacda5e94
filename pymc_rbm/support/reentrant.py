"""Any thread may call a compiled function at any time; only one thread compiles at a time.

A function of PyTensor keeps the arguments and results of a call inside itself: two calls at once, from two threads or
from a signal handler in between, mix them up, or crash. PyTensor compiles under settings that
it changes for the whole process meanwhile (``config.mode`` among them): two threads that compile get each other's, and
may leave the wrong ones behind.

The last digits do not depend on what numba's caches hold. PyTensor lets numba reorder sums ("fastmath"). In which order
a piece of a graph is then summed depends on where it was optimised, alone or as a part of a larger one; and when a
process compiles both, the linker may take the one for the other. A process that loads them finds the second. Learning
and chains multiply such differences of 1e-16 until they are seen. So nothing is reordered here.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import pytensor
from pytensor import config

from pymc_rbm.support.interrupts import COMPILING, Whole, late, whole
from pymc_rbm.support.modes import INTERPRETED, InOrder, first_call

__all__ = ["Reentrant", "compiled", "one_compiles", "settings", "value_of"]

SETTINGS = "mode", "linker", "optimizer", "optimizer_including", "optimizer_excluding", "floatX"
"""Settings of PyTensor that decide what a graph is compiled to."""
_known: weakref.WeakSet[Reentrant] = weakref.WeakSet()
_compiler: list[Any] = [None, ()]
"""The thread that compiles, and the settings from before it began; each change makes a new list."""


class Reentrant:
    """A compiled function called by position: other threads wait, and a call from within itself goes to a copy.

    Numba's functions keep Python's lock while they run, so that nothing is lost by waiting. ``another`` makes the copy
    when it is first needed, which takes a signal handler that calls the package. Ctrl-C waits for the end of a call.
    """

    def __init__(self, function: Any, another: Callable[[], Any] | None = None):
        self._function, self._lock, self._busy, self._compiled = function, threading.RLock(), False, False
        self._another = another or function.copy
        self._copy: Reentrant | None = None
        _known.add(self)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function and return its results."""
        return whole(self._alone, *arguments)

    def _alone(self, *arguments: Any) -> Any:
        with self._lock:
            if self._busy:  # this same thread is in the midst of a call
                return self._next()(*arguments)
            self._busy = True
            try:
                if self._compiled:
                    return self._function(*arguments)
                with first_call():  # numba compiles during the first call
                    found = self._function(*arguments)
                self._compiled = True
                return found
            finally:
                self._busy = False

    def _next(self) -> Reentrant:
        if self._copy is None:
            with one_compiles():
                self._copy = Reentrant(self._another(), self._another)
        return self._copy

    @property
    def maker(self) -> Any:
        """The maker of the compiled function, as PyTensor's functions have one."""
        return self._function.maker

    @property
    def function(self) -> Any:
        """The compiled function as PyTensor made it."""
        return self._function

    def __reduce__(self):
        return Reentrant, (self._function,)


def compiled(*arguments: Any, by: Callable[..., Any] = pytensor.function, **options: Any) -> Reentrant:
    """Compile with ``pytensor.function``, or with the function ``by``, while no other thread compiles."""
    with one_compiles():
        return Reentrant(by(*arguments, **options))


def value_of(graph: Any) -> Any:
    """Return the value of a graph without inputs."""
    return compiled([], graph, mode=INTERPRETED)()


@contextmanager
def one_compiles() -> Iterator[None]:
    """Context in which no other thread compiles, and sums stay in the order in which they are written."""
    global _compiler
    late()
    with Whole(), COMPILING:
        outer = _compiler
        if outer[0] is None:
            _compiler = [threading.get_ident(), _settings()]
        try:
            with InOrder():
                yield
        finally:
            _compiler = [None, ()] if outer[0] is None else outer


def settings() -> tuple[Hashable, ...]:
    """Return PyTensor's `SETTINGS` as the user made them, even while another thread compiles under other ones."""
    while True:
        before, found = _compiler, _settings()
        if before[0] not in (None, threading.get_ident()):
            return before[1]
        if before is _compiler:
            return found


def _settings() -> tuple[Hashable, ...]:
    return tuple(getattr(config, name) for name in SETTINGS)


def _after_fork() -> None:
    """Free the locks of other threads in the child of a fork, where these threads do not exist."""
    global _compiler
    for x in (None, *_known):
        lock = COMPILING if x is None else x._lock
        if not lock._is_owned():  # type: ignore[attr-defined]  # CPython's locks have it; it is not declared
            lock._at_fork_reinit()  # type: ignore[attr-defined]  # as threading does
            if x is not None:
                x._busy = False
    if _compiler[0] != threading.get_ident():
        _compiler = [None, ()]
    InOrder._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
