"""Learning-rate schedules for `fit`: functions of the share of learning that is done, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

from pymc_rbm.support.arguments import finite_number

__all__ = ["constant", "cosine", "hold_then_fall", "linear", "robbins_monro"]

Schedule = Callable[[float], float]


def constant(rate: float) -> Schedule:
    """Return the same rate throughout. The iterates keep wandering: use their average (`averaged`).

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> rate = pmr.schedules.constant(0.1)
    >>> [round(rate(done), 3) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.1, 0.1, 0.1, 0.1, 0.1]
    """
    rate = _positive(rate)
    return lambda done: rate


def hold_then_fall(rate: float) -> Schedule:
    """Return ``rate`` in the first half, then a straight line to zero; `fit` makes this of a number.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> rate = pmr.schedules.hold_then_fall(0.1)
    >>> [round(rate(done), 3) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.1, 0.1, 0.1, 0.05, 0.0]
    """
    rate = _positive(rate)
    return lambda done: rate * min(1.0, 2 * (1 - done))


def linear(rate: float) -> Schedule:
    """Return a straight line from ``rate`` to zero.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> rate = pmr.schedules.linear(0.1)
    >>> [round(rate(done), 3) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.1, 0.075, 0.05, 0.025, 0.0]
    """
    rate = _positive(rate)
    return lambda done: rate * (1 - done)


def cosine(rate: float) -> Schedule:
    """Return half a cosine from ``rate`` to zero.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> rate = pmr.schedules.cosine(0.1)
    >>> [round(rate(done), 3) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.1, 0.085, 0.05, 0.015, 0.0]
    """
    rate = _positive(rate)
    return lambda done: rate * (1 + cos(pi * done)) / 2


def robbins_monro(rate: float, halved_at: float = 0.1) -> Schedule:
    """Return ``rate / (1 + done / halved_at)``: like 1/t, half of the rate at the share ``halved_at`` of learning.

    Its sum diverges and the sum of its squares does not, over a horizon without end (Robbins & Monro 1951).

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> rate = pmr.schedules.robbins_monro(0.1)
    >>> [round(rate(done), 3) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.1, 0.029, 0.017, 0.012, 0.009]
    """
    rate, halved_at = _positive(rate), _positive(halved_at, "halved_at")
    return lambda done: rate / (1 + done / halved_at)


def _positive(value: float, name: str = "learning_rate") -> float:
    return finite_number(name, value, 0, " or a callable" if name == "learning_rate" else "")
