"""Learning-rate schedules for `fit`: functions of the share of learning that is done, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

from pymc_rbm.support.arguments import finite_number

__all__ = ["constant", "cosine", "hold_then_fall", "linear", "robbins_monro"]

Schedule = Callable[[float], float]


def constant(rate: float) -> Schedule:
    """Return the same rate throughout. The iterates keep wandering: use their average (`averaged`)."""
    rate = _positive(rate)
    return lambda done: rate


def hold_then_fall(rate: float) -> Schedule:
    """Return ``rate`` in the first half, then a straight line to zero; `fit` makes this of a number."""
    rate = _positive(rate)
    return lambda done: rate * min(1.0, 2 * (1 - done))


def linear(rate: float) -> Schedule:
    """Return a straight line from ``rate`` to zero."""
    rate = _positive(rate)
    return lambda done: rate * (1 - done)


def cosine(rate: float) -> Schedule:
    """Return half a cosine from ``rate`` to zero."""
    rate = _positive(rate)
    return lambda done: rate * (1 + cos(pi * done)) / 2


def robbins_monro(rate: float, halved_at: float = 0.1) -> Schedule:
    """Return ``rate / (1 + done / halved_at)``: like 1/t, half of the rate at the share ``halved_at`` of learning.

    Its sum diverges and the sum of its squares does not, over a horizon without end (Robbins & Monro 1951).
    """
    rate, halved_at = _positive(rate), _positive(halved_at, "halved_at")
    return lambda done: rate / (1 + done / halved_at)


def _positive(value: float, name: str = "learning_rate") -> float:
    return finite_number(name, value, 0, " or a callable" if name == "learning_rate" else "")
