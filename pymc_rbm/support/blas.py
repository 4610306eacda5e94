"""BLAS in one thread, as long as anybody needs that.

The limit is the process's own. Of several that overlap, in threads or in a callback, each would put back what it found:
the last one to end might leave one thread for good.
"""

from __future__ import annotations

import threading
from typing import Any

from threadpoolctl import threadpool_limits

__all__ = ["OneBlasThread"]


class OneBlasThread:
    """Context in which BLAS has one thread: set by the first that enters, taken back by the last that leaves."""

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
