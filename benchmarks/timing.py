"""How everything here is timed: CPU seconds of the process and wall seconds, of a unit of work in a long run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

__all__ = ["calibrated", "elapsed", "paired", "per_unit", "thread_environment"]

THREAD_VARIABLES = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"


def thread_environment(threads: int) -> dict[str, str]:
    """The environment of a process whose libraries may use this many threads."""
    return os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))


def elapsed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, of all threads, and wall seconds of ``work()``."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def per_unit(advance: Callable[[int], object], short: int, long: int) -> tuple[float, float]:
    """CPU and wall seconds of a unit: the difference between a long run and a short one, without what a call costs."""
    first, second = elapsed(partial(advance, short)), elapsed(partial(advance, long))
    cpu, wall = ((b - a) / (long - short) for a, b in zip(first, second, strict=True))
    return cpu, wall


def calibrated(advance: Callable[[int], object], seconds: float) -> tuple[int, int]:
    """Numbers of units of a short and a long run, the long one of at least ``seconds``; both have run then.

    Where ``advance.whole`` is there, units are done that many together, and runs have whole multiples of it.
    """
    n, cpu = getattr(advance, "whole", 1), 0.0
    whole = n
    advance(n)
    while cpu < seconds:
        n *= 2
        advance(n)  # some compile for each number of units
        cpu, _ = elapsed(partial(advance, n))
    short = max(whole, n // 8)
    advance(short)
    return short, n


def paired(first: Sequence[float], second: Sequence[float]) -> float:
    """Median of the ratios second / first of pairs that were measured one right after the other."""
    return statistics.median(b / a for a, b in zip(first, second, strict=True))
