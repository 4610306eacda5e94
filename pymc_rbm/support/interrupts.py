"""Ctrl-C at a good moment.

A KeyboardInterrupt that is raised while numba's compiled code runs surfaces as a SystemError or crashes the process; or
it comes between two updates that belong together. So no Ctrl-C, not the second either, is ever raised inside of a
compiled call: it waits for the end of the call (`Whole`). Long loops hear the first one at the end of a piece, and
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

__all__ = ["COMPILING", "DeferredInterrupt", "Prompt", "Whole", "arviz", "late", "whole"]

COMPILING = threading.RLock()
"""Held while a graph is compiled (`reentrant`)."""
LOSING = {
    *("__del__", "on_disposal", "_on_type_disposal", "remove"),
    *("_raw_object_cache_notify", "_raw_object_cache_getbuffer"),
}
"""Functions that are called when an object goes, or by LLVM, where things are compiled: what they raise is lost."""


class Whole:
    """Context of a compiled call: Ctrl-C is delivered when it has ended.

    What was to hear it hears it then: the default handler, which raises KeyboardInterrupt, or another one. Only while
    something is compiled it hears it at once, and if that was lost, again at the end. Inside of another such context,
    or of a `DeferredInterrupt`, this one does nothing.
    """

    __slots__ = ("_late", "_previous")

    def __enter__(self) -> None:
        previous = _handler()
        self._late, self._previous = False, None if _waits(previous) else previous
        if self._previous is not None:
            _signal.signal(_signal.SIGINT, self._note)

    def __exit__(self, kind: Any, *exception: object) -> None:
        if self._previous is None:
            return
        _signal.signal(_signal.SIGINT, self._previous)
        if self._late and kind is not KeyboardInterrupt:
            self._deliver(_signal.SIGINT, None)

    def _note(self, number: int, frame: Any) -> None:
        self._late = True
        if _compiles() and not _fragile(frame) and callable(self._previous):
            self._deliver(number, frame)
            self._late = False  # it was heard, and nothing was raised

    def _deliver(self, number: int, frame: Any) -> None:
        if callable(self._previous):
            self._previous(number, frame)
        else:  # the system's own handling
            _signal.raise_signal(number)


class Prompt(Whole):
    """Context of work in Python that may take long, and of which nothing is left: Ctrl-C is heard at once.

    Where that would be lost, in what Python calls when objects go, it is heard before the next compilation (`late`), or
    at the end.
    """

    __slots__ = ()

    def _note(self, number: int, frame: Any) -> None:
        self._late = _fragile(frame)
        if not self._late:
            self._deliver(number, frame)


def late() -> None:
    """Deliver a Ctrl-C that a `Prompt` could not."""
    context = getattr(_handler(), "__self__", None)
    if isinstance(context, Prompt) and context._late:
        context._late = False
        context._deliver(_signal.SIGINT, None)


def whole(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a compiled function returns; see `Whole`."""
    with Whole():
        return function(*arguments)


def arviz() -> Any:
    """ArviZ, whose import takes a while, as a whole: Ctrl-C in the midst of an import leaves it broken for good."""
    with Whole():
        import arviz
    return arviz


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
        elif self._count and isinstance(outer, Whole):
            outer._late = True

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

    def _note(self, number: int, frame: Any) -> None:
        self._count += 1
        if self.prompt and _compiles() and not _fragile(frame):
            raise KeyboardInterrupt

    def _note_or_raise(self, number: int, frame: Any) -> None:
        self._count += 1
        if self._count > 1 and not _fragile(frame):
            raise KeyboardInterrupt


def _handler() -> Any:
    """What hears SIGINT now; None outside of the main thread and where nothing is to hear it."""
    if threading.get_ident() != threading.main_thread().ident:
        return None
    handler = _signal.getsignal(_signal.SIGINT)
    return None if handler == _signal.SIG_IGN else handler


def _waits(handler: Any) -> bool:
    """Whether it hears Ctrl-C only when something has ended."""
    return getattr(handler, "__func__", None) in (DeferredInterrupt._note, Whole._note)


def _compiles() -> bool:
    """Whether this thread, the main one, compiles: PyTensor a graph, or numba machine code."""
    numba = sys.modules.get("numba.core.compiler_lock")
    ours = COMPILING._is_owned()  # type: ignore[attr-defined]  # of all locks in CPython; not declared
    return ours or (numba is not None and numba.global_compiler_lock.is_locked())


def _fragile(frame: Any) -> bool:
    """Whether an exception would be lost here, or leave a module that is imported in part."""
    while frame is not None:
        if frame.f_code.co_name in LOSING or frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
