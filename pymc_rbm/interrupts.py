"""Ctrl-C at a good moment.

A KeyboardInterrupt that is raised while numba's compiled code runs surfaces as a SystemError or crashes the process; or
it comes between two updates that belong together. Compiled calls and long loops of the package defer it to their end.
"""

from __future__ import annotations

import _signal  # the functions of `signal` without its enums, which cost 10 µs a context
import threading
from typing import Any

__all__ = ["DeferredInterrupt"]


class DeferredInterrupt:
    """Context in which the first Ctrl-C only sets ``pending``; a second one interrupts at once.

    With ``reraise`` the first one is raised at the end of the context. Outside of the main thread, where Python
    delivers no signals, it does nothing.
    """

    def __init__(self, reraise: bool = False) -> None:
        self.pending, self._reraise = False, reraise
        self._previous: Any = None

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = _signal.getsignal(_signal.SIGINT)  # known before the first signal can come
            _signal.signal(_signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: object = None, *exception: object) -> None:
        if self._previous is not None:
            _signal.signal(_signal.SIGINT, self._previous)
        if self._reraise and self.pending and kind is None:
            raise KeyboardInterrupt

    def _note(self, *arguments: object) -> None:
        self.pending = True
        _signal.signal(_signal.SIGINT, self._previous)
