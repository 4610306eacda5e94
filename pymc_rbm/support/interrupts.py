"""Ctrl-C is delivered at a moment at which nothing breaks.

A KeyboardInterrupt that is raised while numba's compiled code runs surfaces as a SystemError or crashes the process; or
it comes between two updates that belong together. So no Ctrl-C, not even the second one, is raised inside a
compiled call: it waits for the end of the call (`Whole`). Long loops hear the first one at the end of a piece, and
return what they have; the second one is raised there. While something is compiled, which is Python and may take long,
and there is nothing to return yet, the first one is raised at once; numba brings it through compiled code that asked
for a kernel.

A SIGINT that is ignored stays ignored. Outside of the main thread, where Python delivers no signals, nothing is done.
"""

from __future__ import annotations

import _signal  # `signal` itself turns numbers into enums, which costs 10 µs a context
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["COMPILING", "DeferredInterrupt", "Prompt", "Whole", "arviz", "late", "whole"]

COMPILING = threading.RLock()
"""The lock that a thread has while it compiles a graph (`reentrant`)."""
FRAGILE = {
    *("__del__", "on_disposal", "_on_type_disposal", "remove", "_remove"),
    *("_raw_object_cache_notify", "_raw_object_cache_getbuffer"),
    "_call_objmode_dispatcher",
    "install_registry",
    "replace_all_validate",
}
"""Functions in which nothing may be raised. Python calls them, and those of `weakref`, when an object is deleted, or
LLVM does while it compiles, and what they raise is lost. Compiled code calls one when it first comes to Python inside
it, and goes on with garbage. Or numba learns there, once in a process, which functions and attributes it knows; what it
misses it never learns. Or PyTensor replaces a part of a graph there: done by half, it cannot be taken back, and the
error of that hides Ctrl-C.
"""


class Whole:
    """Context of a compiled call: Ctrl-C is delivered when it has ended.

    The handler that was installed before is called then: the default one, which raises KeyboardInterrupt, or another
    one. While something is compiled it is called at once, and if its exception was lost, again at the end. Inside
    another such context, or a `DeferredInterrupt`, this context does nothing.
    """

    __slots__ = ("_late", "_loop", "_outside", "_previous")

    def __enter__(self) -> None:
        previous = _handler()
        self._late, self._previous = False, None if _waits(previous) else previous
        self._loop = _loop_of(previous)
        if self._previous is not None:
            _signal.signal(_signal.SIGINT, self._note)
        if self._loop is not None:
            self._outside, self._loop.before_call = self._loop.before_call, self._loop.count

    def __exit__(self, kind: Any, *exception: object) -> None:
        if self._loop is not None:
            self._loop.before_call = self._outside
        if self._previous is None:
            return
        _signal.signal(_signal.SIGINT, self._previous)
        late, self._late = self._late and kind is not KeyboardInterrupt, False
        if late and callable(self._previous):
            self._previous(_signal.SIGINT, None)
        elif late:  # the system's own handling
            _signal.raise_signal(_signal.SIGINT)

    def deliver(self) -> None:
        """Call the handler that was installed before, if it was not called yet for a Ctrl-C that came here."""
        if self._late and callable(self._previous):
            self._previous(_signal.SIGINT, sys._getframe())
            self._late = False  # it raised nothing; an exception that is lost is raised again at the end

    def _note(self, number: int, frame: Any) -> None:
        self._late = True
        _when_firm(frame, self.deliver, _compiles)


class Prompt(Whole):
    """Context of long work in Python that leaves nothing behind when it ends early: Ctrl-C is delivered at once.

    Where the exception would be lost, in what Python calls when objects are deleted, it is delivered right after.
    """

    __slots__ = ()

    def _note(self, number: int, frame: Any) -> None:
        self._late = True
        _when_firm(frame, self.deliver, lambda: True)


def late(in_call: bool = False) -> None:
    """Deliver a Ctrl-C that waits, before something is compiled: ``in_call`` if a compiled call comes to Python for it.

    A loop whose `DeferredInterrupt` is prompt is told of it at once if it came while something was compiled, or in this
    compiled call: nothing has been done since that could be lost.
    """
    handler = _handler()
    context, loop = getattr(handler, "__self__", None), _loop_of(handler)
    if isinstance(context, Whole):
        context.deliver()
    elif loop is not None:
        loop.deliver(in_call)


def whole(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a compiled function inside a `Whole` context and return its results."""
    with Whole():
        return function(*arguments)


def arviz() -> Any:
    """Import ArviZ without interruption: Ctrl-C in the midst of its import would break it for the whole process."""
    with Whole():
        import arviz
    return arviz


class DeferredInterrupt:
    """Context in which the first Ctrl-C only sets `pending`; with the second one, `pending` raises KeyboardInterrupt.

    A context inside another, in a callback or in nested loops, passes the Ctrl-C on to the outer one at its end. One
    that the outer context has noted before is pending in the inner one, too, but for callbacks (`lifted`).

    Attributes
    ----------
    prompt : bool
        Whether Ctrl-C is raised at once while something is compiled: set to False as soon as there is something that
        would be lost.
    count : int
        How often it was pressed.
    late : bool
        Whether it came while something was compiled.
    before_call : int, optional
        The count when the compiled call began that is under way.
    """

    def __init__(self) -> None:
        self.prompt, self.count, self.late, self._inherited = True, 0, False, 0
        self.before_call: int | None = None
        self._previous: Any = None

    def __enter__(self) -> DeferredInterrupt:
        self._previous = _handler()  # known before the first signal can come
        if self._previous is not None:
            _signal.signal(_signal.SIGINT, self._note)
        outer = _loop_of(self._previous)
        if outer is not None:
            self._inherited = int(outer.count > 0)
            self.count += self._inherited
        return self

    def __exit__(self, *exception: object) -> None:
        if self._previous is None:
            return
        _signal.signal(_signal.SIGINT, self._previous)
        self.late = False
        outer, came = getattr(self._previous, "__self__", None), self.count > self._inherited
        if came and isinstance(outer, DeferredInterrupt):
            outer.count += 1
        elif came and isinstance(outer, Whole):
            outer._late = True

    @property
    def pending(self) -> bool:
        """Whether Ctrl-C was pressed. Raises KeyboardInterrupt if it was pressed again."""
        if self.count > 1:
            raise KeyboardInterrupt
        return self.count > 0

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Context of a callback, which may take long and never reads `pending`: a second Ctrl-C is raised at once."""
        if self._previous is None:
            yield
            return
        _signal.signal(_signal.SIGINT, self._note_or_raise)
        try:
            yield
        finally:
            _signal.signal(_signal.SIGINT, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self.count += 1
        self.late = self.prompt and _compiles()
        _when_firm(frame, self.deliver, _compiles)

    def deliver(self, in_call: bool = False) -> None:
        """Raise KeyboardInterrupt if it came while something was compiled or, ``in_call``, in the call under way."""
        since = in_call and self.before_call is not None and self.count > self.before_call
        if self.prompt and (self.late or since):
            raise KeyboardInterrupt

    def _note_or_raise(self, number: int, frame: Any) -> None:
        self.count += 1
        if self.count > 1 and not _fragile(frame):
            raise KeyboardInterrupt


def _handler() -> Any:
    """Return the present handler of SIGINT; None outside the main thread and where SIGINT is ignored."""
    if threading.get_ident() != threading.main_thread().ident:
        return None
    handler = _signal.getsignal(_signal.SIGINT)
    return None if handler == _signal.SIG_IGN else handler


def _loop_of(handler: Any) -> DeferredInterrupt | None:
    """Return the loop that notes a Ctrl-C, if that is what the handler does: not while it runs a callback."""
    return handler.__self__ if getattr(handler, "__func__", None) is DeferredInterrupt._note else None


def _waits(handler: Any) -> bool:
    """Whether the handler only notes a Ctrl-C, which is delivered later."""
    return _loop_of(handler) is not None or getattr(handler, "__func__", None) is Whole._note


def _compiles() -> bool:
    """Whether the main thread, in which this is called, compiles a graph or has numba make machine code."""
    numba = sys.modules.get("numba.core.compiler_lock")
    ours = COMPILING._is_owned()  # type: ignore[attr-defined]  # CPython's locks have it; it is not declared
    return ours or (numba is not None and numba.global_compiler_lock.is_locked())


def _when_firm(frame: Any, deliver: Callable[[], None], wanted: Callable[[], bool]) -> None:
    """Call ``deliver`` if it is wanted: now, or at the first event of Python's outside of what is `_fragile`."""
    if not _fragile(frame):
        return deliver() if wanted() else None
    others = sys.getprofile()

    def look(frame: Any, event: Any, argument: Any) -> None:
        if others is not None:
            others(frame, event, argument)
        if not (wanted() and _fragile(frame)):
            sys.setprofile(others)
            if wanted():
                deliver()

    sys.setprofile(look)


def _fragile(frame: Any) -> bool:
    """Whether an exception would be lost here, or would leave a module imported, or numba's knowledge, in part."""
    while frame is not None:
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if name in FRAGILE or file == weakref.__file__ or file.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
