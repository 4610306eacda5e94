"""Ctrl-C at a good moment.

A KeyboardInterrupt that is raised while numba's compiled code runs surfaces as a SystemError or crashes the process; or
it comes between two updates that belong together. So no Ctrl-C, not the second either, is ever raised inside of a
compiled call: it waits for the end of the call (`whole`). Long loops hear the first one at the end of a piece, and
return what they have; the second one is raised there. While something is compiled, which is Python and may take long,
and there is nothing to return yet, the first one is raised at once.

A SIGINT that is ignored stays ignored. Outside of the main thread, where Python delivers no signals, nothing is done.
"""

from __future__ import annotations

import _signal  # the functions of `signal` without its enums, which cost 10 µs a context
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["COMPILING", "DeferredInterrupt", "held_back", "whole"]

COMPILING = threading.RLock()
"""Held while a graph is compiled (`reentrant`)."""
_here = threading.local()


def whole(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a compiled function; a Ctrl-C that comes meanwhile is delivered when the call has ended.

    What was to hear it hears it then: the default handler, which raises KeyboardInterrupt, or another one.
    """
    previous = _handler()
    if previous is None or _defers(previous):
        return function(*arguments)
    late: list[tuple[int, Any]] = []

    def note(number: int, frame: Any) -> None:
        late.append((number, frame))
        if _compiles():
            deliver()

    def deliver() -> None:
        if callable(previous):
            previous(*late.pop())
        else:
            late.pop()
            _signal.raise_signal(_signal.SIGINT)

    _signal.signal(_signal.SIGINT, note)
    try:
        return function(*arguments)
    finally:
        _signal.signal(_signal.SIGINT, previous)
        if late:
            deliver()


class DeferredInterrupt:
    """Context in which the first Ctrl-C only sets `pending`; with the second one, `pending` raises KeyboardInterrupt.

    A context inside of another, in a callback or in a loop that has loops, tells the outer one at its end.

    Attributes
    ----------
    prompt : bool
        Whether Ctrl-C is raised at once while something is compiled: set to False as soon as there is something that
        would be lost.
    """

    def __init__(self) -> None:
        self.prompt, self._count = True, 0
        self._previous: Any = None

    def __enter__(self) -> DeferredInterrupt:
        self._previous = _handler()  # known before the first signal can come
        if self._previous is not None:
            _signal.signal(_signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._previous is None:
            return
        _signal.signal(_signal.SIGINT, self._previous)
        outer = getattr(self._previous, "__self__", None)
        if self._count and isinstance(outer, DeferredInterrupt):
            outer._count += 1

    @property
    def pending(self) -> bool:
        """Whether Ctrl-C was pressed. Raises KeyboardInterrupt if it was pressed again."""
        if self._count > 1:
            raise KeyboardInterrupt
        return self._count > 0

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Context of a callback, which may take long and asks nobody: there the second Ctrl-C is raised at once."""
        if self._previous is None:
            yield
            return
        _signal.signal(_signal.SIGINT, self._note_or_raise)
        try:
            yield
        finally:
            _signal.signal(_signal.SIGINT, self._note)

    def _note(self, *arguments: object) -> None:
        self._count += 1
        if self.prompt and _compiles():
            raise KeyboardInterrupt

    def _note_or_raise(self, *arguments: object) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Context of what is compiled while compiled code runs and waits for it: nothing may be raised through that."""
    before, _here.held_back = getattr(_here, "held_back", False), True
    try:
        yield
    finally:
        _here.held_back = before


def _handler() -> Any:
    """What hears SIGINT now; None outside of the main thread and where nothing is to hear it."""
    if threading.get_ident() != threading.main_thread().ident:
        return None
    handler = _signal.getsignal(_signal.SIGINT)
    return None if handler == _signal.SIG_IGN else handler


def _defers(handler: Any) -> bool:
    return getattr(handler, "__func__", None) is DeferredInterrupt._note


def _compiles() -> bool:
    """Whether this thread, the main one, compiles: PyTensor a graph, or numba machine code."""
    numba = sys.modules.get("numba.core.compiler_lock")
    locked = COMPILING._is_owned() or (numba is not None and numba.global_compiler_lock.is_locked())  # type: ignore
    return locked and not getattr(_here, "held_back", False)
