"""Binary units have the values 0 and 1, or -1 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytensor.tensor as pt

from pymc_rbm.units.unit import Unit, zeros_like

__all__ = ["Bernoulli", "Spin"]


class _Binary(Unit):
    """The base class of units with two values."""

    dtype: ClassVar[str] = "int8"
    values: ClassVar[tuple[int, int]]

    @property
    def states(self):
        """The two values."""
        return tuple(map(float, self.values))

    def contains(self, x):
        """Whether each entry is one of the two values."""
        low, high = self.values
        return pt.eq(x, low) | pt.eq(x, high)

    def log_base(self, x):
        """Return 0: both values weigh the same."""
        return zeros_like(x)

    def dispersed(self, shape, rng):
        """Draw each row with its own probability of the greater value, uniform between 0 and 1."""
        rng, level = pt.random.uniform(size=(*shape[:-1], 1), dtype="float64", rng=rng, return_next_rng=True)
        return self._drawn(level, shape, rng)

    def _drawn(self, p, shape, rng):
        """Draw the greater value with probability ``p``, by comparing with one uniform number.

        The uniform number is float64 even for a float32 field: rounded to float32 it could be 1.0, and a
        saturated unit would then be off once in 2²⁵ draws.
        """
        low, high = self.values
        rng, u = pt.random.uniform(size=shape, dtype="float64", rng=rng, return_next_rng=True)
        return rng, pt.where(pt.lt(u, p), high, low).astype(self.dtype)


@dataclass(frozen=True)
class Bernoulli(_Binary):
    """A binary unit with values 0 and 1: ``p(x = 1 | f) = 1 / (1 + exp(-f))``.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.conditional_visible([1.0], [[0.0], [2.0]], [0.0, 0.0], visible=pmr.Bernoulli()).round(2)
    array([0.5 , 0.88])
    """

    values: ClassVar[tuple[int, int]] = (0, 1)
    counts: ClassVar[bool] = True
    middle: ClassVar[float] = 0.5
    support: ClassVar[str] = "0 and 1"
    remedy: ClassVar[str] = "Binarise first, for example (data > threshold).astype(int)."

    def log_normaliser(self, field):
        """Return ``log(1 + exp(field))``."""
        return pt.softplus(field)

    def mean(self, field):
        """Return the logistic function of the field."""
        return pt.sigmoid(field)

    def sample(self, field, rng):
        """Draw 1 with the mean for its probability."""
        return self._drawn(self.mean(field), field.shape, rng)

    def bias_of_mean(self, mean):
        """Return the log-odds."""
        return np.log(mean) - np.log1p(-mean)


@dataclass(frozen=True)
class Spin(_Binary):
    """An Ising spin with values -1 and 1: ``p(x = 1 | f) = 1 / (1 + exp(-2f))``.

    The factor 2 is the distance of the two values. A spin is ``2·Bernoulli - 1``: with W for 0/1 units on both sides,
    spins have W/4 and biases of half the 0/1 ones plus a quarter of the sums of W's rows or columns.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.conditional_visible([1.0], [[0.0], [2.0]], [0.0, 0.0], visible=pmr.Spin()).round(2)
    array([0.  , 0.96])
    """

    values: ClassVar[tuple[int, int]] = (-1, 1)
    middle: ClassVar[float] = 0.0
    support: ClassVar[str] = "-1 and 1"
    remedy: ClassVar[str] = "Data of 0 and 1 become spins as 2 * data - 1."

    def log_normaliser(self, field):
        """Return ``log(2 cosh(field))``, as ``log(1 + exp(2 field)) - field``."""
        return pt.softplus(2 * field) - field

    def mean(self, field):
        """Return ``tanh(field)``."""
        return pt.tanh(field)

    def sample(self, field, rng):
        """Draw 1 with the logistic function of twice the field for its probability."""
        return self._drawn(pt.sigmoid(2 * field), field.shape, rng)

    def bias_of_mean(self, mean):
        """Return the inverse hyperbolic tangent."""
        return (np.log1p(mean) - np.log1p(-mean)) / 2
