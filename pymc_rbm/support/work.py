"""Long work is done in pieces, with a count of what is done, a progress bar, and Ctrl-C between pieces."""

from __future__ import annotations

import time
from importlib.util import find_spec

from rich import get_console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pymc_rbm.support.blas import OneBlasThread
from pymc_rbm.support.interrupts import DeferredInterrupt

__all__ = ["Work", "can_show", "parts_of"]

SECONDS_WITHOUT_BAR = 2.0


def parts_of(whole: int, most: int) -> list[int]:
    """Return the sizes of pieces that add up to ``whole``, each but the last of size ``most``."""
    return [min(most, whole - done) for done in range(0, whole, most)]


def can_show(progressbar: bool) -> bool:
    """Whether a bar is wanted and can be shown.

    In Jupyter rich needs ipywidgets, and warns where it has none. In a pipe or a file it would leave an empty line.
    """
    console = get_console()
    return progressbar and (find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal)


class Work:
    """Context of a long computation that is done in pieces.

    It counts what was done (chains times sweeps), shows a bar once the work takes more than two seconds, and defers
    Ctrl-C to the end of a piece: ask `interrupted` between pieces. BLAS gets one thread: the products are small, and
    where cores are shared its threads wait for each other (measured: fifteen times slower).
    """

    def __init__(self, progressbar: bool = True):
        self.done = 0
        self._shows, self._began = can_show(progressbar), time.perf_counter()
        self._interrupt, self._threads = DeferredInterrupt(), OneBlasThread()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(),
            transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("")

    def __enter__(self) -> Work:
        self._interrupt.__enter__()
        self._threads.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.__exit__(*exception)
        self._interrupt.__exit__(*exception)
        if self._bar.live.is_started:
            self._bar.stop()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._interrupt.pending

    def begin(self, what: str, total: int) -> None:
        """Begin a new phase of the work, called ``what``, with ``total`` to be counted by `advance`."""
        self._bar.reset(self._task, description=what, total=total)

    def advance(self, amount: int) -> None:
        """Count ``amount`` as done."""
        self.done += amount
        self._bar.advance(self._task, amount)
        late = time.perf_counter() - self._began > SECONDS_WITHOUT_BAR
        if late and self._shows and not self._bar.live.is_started:
            self._bar.start()
