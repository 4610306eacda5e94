"""Unit families: the one-unit exponential families that layers are made of.

A unit ``x`` that feels the field ``f`` is distributed as ``p(x | f) ∝ base(x)·exp(f·x)``. Everything that
a machine needs to know about its units is said here; no other file names a family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

__all__ = ["Bernoulli", "Unit"]


class Unit(ABC):
    """One-unit exponential family ``p(x | f) ∝ base(x)·exp(f·x)``, all methods symbolic and elementwise.

    A state and its field have the same shape. ``dtype`` is the type in which states are stored.
    """

    dtype: ClassVar[str]

    @property
    @abstractmethod
    def states(self) -> tuple[float, ...] | None:
        """The values that one unit can take, or None where they cannot be listed."""

    @abstractmethod
    def contains(self, x: TensorVariable) -> TensorVariable:
        """Whether each entry of ``x`` lies in the support (NaN does not)."""

    @abstractmethod
    def log_base(self, x: TensorVariable) -> TensorVariable:
        """Return ``log base(x)`` on the support."""

    @abstractmethod
    def log_normaliser(self, field: TensorVariable) -> TensorVariable:
        """Return ``log Σ_x base(x)·exp(field·x)``, without overflow at any finite field."""

    @abstractmethod
    def mean(self, field: TensorVariable) -> TensorVariable:
        """Return ``E[x | field]``, the derivative of `log_normaliser`."""

    @abstractmethod
    def sample(self, field: TensorVariable, rng: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        """Draw ``x ~ p(x | field)`` independently for each entry; return (next rng, x)."""

    @abstractmethod
    def dispersed(self, shape: TensorVariable, rng: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        """Draw states more spread out than a machine's own; return (next rng, x).

        Rows (all axes but the last) are independent and differ in their *level*, so that chains that
        start here can disagree in every mode that a machine may have.
        """

    @abstractmethod
    def field_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Return the field whose mean is ``mean`` (the inverse of `mean`), on arrays."""


class Bernoulli(Unit):
    """Binary unit, 0 or 1: ``p(x = 1 | f) = 1 / (1 + exp(-f))``."""

    dtype = "int8"

    @property
    def states(self):
        """The values 0 and 1."""
        return (0.0, 1.0)

    def contains(self, x):
        """Whether each entry is 0 or 1."""
        return pt.eq(x, 0) | pt.eq(x, 1)

    def log_base(self, x):
        """Return 0: both values weigh the same."""
        return pt.zeros_like(x, dtype="float64" if x.dtype == "float64" else "float32")

    def log_normaliser(self, field):
        """Return ``log(1 + exp(field))``."""
        return pt.softplus(field)

    def mean(self, field):
        """Return the logistic function of the field."""
        return pt.sigmoid(field)

    def sample(self, field, rng):
        """Draw 0 or 1 by comparing one uniform number with the mean.

        The uniform number is float64 even for a float32 field: rounded to float32 it could be 1.0, and a
        saturated unit would then be off once in 2²⁵ draws.
        """
        rng, u = pt.random.uniform(size=field.shape, dtype="float64", rng=rng, return_next_rng=True)
        return rng, pt.lt(u, self.mean(field)).astype(self.dtype)

    def dispersed(self, shape, rng):
        """Draw each row with its own probability of being on, uniform between 0 and 1."""
        rng, level = pt.random.uniform(size=(*shape[:-1], 1), dtype="float64", rng=rng, return_next_rng=True)
        rng, u = pt.random.uniform(size=shape, dtype="float64", rng=rng, return_next_rng=True)
        return rng, pt.lt(u, level).astype(self.dtype)

    def field_of_mean(self, mean):
        """Return the log-odds."""
        return np.log(mean) - np.log1p(-mean)

    def __eq__(self, other):
        return type(self) is type(other)

    def __hash__(self):
        return hash(type(self))

    def __repr__(self):
        return "Bernoulli()"
