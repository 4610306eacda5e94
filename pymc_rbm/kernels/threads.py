"""Threads share the rows: each runs a kernel, without the interpreter lock, on a piece of them.

There are as many threads as numba would use (``NUMBA_NUM_THREADS``, by default one a processor). What becomes of a row
does not depend on the piece that it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import config

from pymc_rbm.kernels.fields import binary_dot, sum_softplus_of_states
from pymc_rbm.kernels.one_row import FEW_ROWS
from pymc_rbm.kernels.sweep import group_of, sweep_few, sweep_many

__all__ = ["WORTH_THREADS", "dot_in_threads", "pieces", "sums_in_threads", "sweep_in_threads"]

WORTH_THREADS = 2**27
"""How many products of a state and a weight, about 2 ms, make threads worth their cost of .1 ms each."""


def pieces(rows: int, group: int, threads: int) -> list[tuple[int, int]]:
    """Return begin and end of pieces of nearly equal sizes, each but the last of whole groups."""
    groups = -(-rows // group)
    count = max(1, min(threads, groups))
    ends = [min(round(k * groups / count) * group, rows) for k in range(count + 1)]
    return list(pairwise(ends))


def sweep_in_threads(state: np.ndarray, n: int, visible: np.ndarray, *arguments: Any) -> None:
    """Run `sweep.sweep_few` or `sweep.sweep_many` on all rows, in threads."""
    rows = len(visible)
    sweep = sweep_few if rows < FEW_ROWS else sweep_many
    in_threads(lambda begin, end: sweep(state, begin, end, n, visible, *arguments), rows, group_of(rows))


def dot_in_threads(
    states: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray, transposed: bool
) -> None:
    """Run `fields.binary_dot` on all rows, in threads."""
    in_threads(lambda begin, end: binary_dot(begin, end, states, weights, bias, out, transposed), len(out))


def sums_in_threads(states: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """Run `fields.sum_softplus_of_states` on all rows, in threads."""
    in_threads(lambda begin, end: sum_softplus_of_states(begin, end, states, weights, bias, out), len(out))


def in_threads(work: Callable[[int, int], None], rows: int, group: int = 1) -> None:
    """Run ``work(begin, end)`` on pieces of the rows, each in a thread.

    The threads end with the work: a process that still had some could not be forked without a warning.
    """
    first, *others = pieces(rows, group, config.NUMBA_NUM_THREADS)
    if not others:
        return work(*first)
    with ThreadPoolExecutor(len(others)) as pool:
        under_way = [pool.submit(work, *piece) for piece in others]
        work(*first)
    for piece in under_way:
        piece.result()  # an exception in a thread is raised here
