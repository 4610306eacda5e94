"""BLAS runs in one thread as long as some computation asks for it.

The limit holds for the whole process. Of several contexts that overlap, in threads or in a callback, each would put
back what it found:
the last one to end might leave one thread for good.
"""

from __future__ import annotations

import threading
from typing import Any

from threadpoolctl import threadpool_limits

__all__ = ["OneBlasThread"]


class OneBlasThread:
    """Context in which BLAS has one thread: the first to enter sets the limit, the last to leave lifts it."""

    _lock = threading.RLock()
    _inside = 0
    _limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            OneBlasThread._inside += 1
            if OneBlasThread._inside == 1:
                OneBlasThread._limits = threadpool_limits(1, user_api="blas")

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            OneBlasThread._inside -= 1
            if OneBlasThread._inside == 0:
                OneBlasThread._limits.restore_original_limits()
