"""Long work in pieces: its count, its progress bar and its Ctrl-C."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits

from pymc_rbm.interrupts import DeferredInterrupt

__all__ = ["Work"]

SECONDS_WITHOUT_BAR = 2.0


class Work:
    """Context of a long computation that is done in pieces.

    Counts what was done (chains times sweeps), shows a bar once it takes more than two seconds, and defers Ctrl-C to
    the end of a piece: ask `interrupted` between pieces. BLAS gets one thread: the products are small, and where cores
    are shared its threads wait for each other (measured: fifteen times slower).
    """

    def __init__(self, progressbar: bool = True):
        self.done = 0
        self._progressbar, self._began = progressbar, time.perf_counter()
        self._interrupt = DeferredInterrupt()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(),
            transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("")

    def __enter__(self) -> Work:
        self._interrupt.__enter__()
        self._threads = threadpool_limits(1, user_api="blas")
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.restore_original_limits()
        self._interrupt.__exit__(*exception)
        if self._bar.live.is_started:
            self._bar.stop()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._interrupt.pending

    def begin(self, what: str, total: int) -> None:
        """Begin a part of the work, ``total`` in the unit of `advance`."""
        self._bar.reset(self._task, description=what, total=total)

    def advance(self, amount: int) -> None:
        """Count ``amount`` as done."""
        self.done += amount
        self._bar.advance(self._task, amount)
        late = time.perf_counter() - self._began > SECONDS_WITHOUT_BAR
        if self._progressbar and late and not self._bar.live.is_started:
            self._bar.start()
