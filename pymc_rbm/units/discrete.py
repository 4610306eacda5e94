"""These units have finitely many values: one of q, or a count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.support.arguments import at_most, whole_number
from pymc_rbm.units.unit import Unit, logsumexp, zeros_like

__all__ = ["Binomial", "Categorical"]

MOST_VALUES, MOST_COUNT = 2**12, 2**16 - 1  # some tables hold all values, and all pairs of them


@dataclass(frozen=True)
class Categorical(Unit):
    """A Potts unit with ``q`` values, one-hot in q neighbouring entries: ``p(x_k = 1 | f) = exp(f_k) / Σ_l exp(f_l)``.

    A layer of n such units has n·q entries, biases and rows (or columns) of W. Adding the same number to the q fields
    of a unit changes nothing, so biases and weights are determined up to that.

    Parameters
    ----------
    q : int
        Number of values, at least 2.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> W = [[0.0], [1.0], [2.0]]  # one visible unit with three values takes three rows of W
    >>> pmr.conditional_visible([1.0], W, np.zeros(3), visible=pmr.Categorical(3)).round(2)
    array([0.09, 0.24, 0.67])
    """

    q: int

    dtype: ClassVar[str] = "int8"

    def __post_init__(self):
        at_most("q", whole_number("q", self.q, 2), MOST_VALUES, "Merge rare values, or use several units.")

    @property
    def finite(self):
        """True: the q values can be listed."""
        return True

    @property
    def ends(self):
        """0 and 1, the values of an entry."""
        return 0.0, 1.0

    @property
    def width(self):
        """The number of entries of one unit."""
        return self.q

    @property
    def middle(self):
        """The mean of an entry without a field."""
        return 1 / self.q

    @property
    def support(self):
        """The values, in words."""
        return f"0 and 1, exactly one 1 in each group of {self.q} neighbouring entries"

    @property
    def remedy(self):
        """What to do with data that are labels, in words."""
        return f"Labels from 0 to {self.q - 1} become states as np.eye({self.q})[labels].reshape(len(labels), -1)."

    @property
    def states(self):
        """The rows of the identity matrix."""
        return tuple(map(tuple, np.eye(self.q).tolist()))

    def contains(self, x):
        """Whether each entry is 0 or 1 and its group has exactly one 1."""
        one_hot = pt.eq(self._groups(x).astype("float64").sum(-1, keepdims=True), 1)
        inside = pt.eq(x, 0) | pt.eq(x, 1)
        return inside & pt.broadcast_to(one_hot, self._groups(x).shape).reshape(x.shape, ndim=x.ndim)

    def log_base(self, x):
        """Return 0: all values weigh the same."""
        return zeros_like(x)

    def log_normaliser(self, field):
        """Return ``log Σ_k exp(field_k)``, one value a group."""
        return logsumexp(self._groups(field))

    def mean(self, field):
        """Return the softmax of each group's fields."""
        groups = self._groups(field)
        return pt.exp(groups - logsumexp(groups)[..., None]).reshape(field.shape, ndim=field.ndim)

    def sample(self, field, rng):
        """Draw as the largest of fields with Gumbel noise (Gumbel 1954), which needs no sum that could round."""
        groups = self._groups(field)
        rng, noise = pt.random.gumbel(0, 1, size=groups.shape, dtype="float64", rng=rng, return_next_rng=True)
        return rng, self._one_hot((groups + noise).argmax(-1), field.shape, field.ndim)

    def dispersed(self, shape, rng):
        """Draw each row with its own preferences: fields of Normal(0, 2), the same for all units of a row."""
        shape = tuple(shape)
        batch = shape[:-1]
        rng, field = pt.random.normal(0, 2, size=(*batch, 1, self.q), rng=rng, return_next_rng=True)
        groups = pt.broadcast_to(field, (*batch, shape[-1] // self.q, self.q))
        return self.sample(groups.reshape((*batch, shape[-1])), rng)

    def bias_of_mean(self, mean):
        """Return the logarithms of the means, minus their average in each group."""
        log_mean = np.log(np.reshape(mean, (*np.shape(mean)[:-1], -1, self.q)))
        return (log_mean - log_mean.mean(-1, keepdims=True)).reshape(np.shape(mean))

    def _groups(self, x):
        return x.reshape((*(x.shape[i] for i in range(x.ndim - 1)), -1, self.q))

    def _one_hot(self, index, shape, ndim):
        hot = pt.eq(index[..., None], pt.arange(self.q))
        return hot.reshape(shape, ndim=ndim).astype(self.dtype)


@dataclass(frozen=True)
class Binomial(Unit):
    """A count from 0 to ``n``: ``p(x | f) ∝ C(n, x)·exp(f·x)``, the sum of n `Bernoulli` units that share W and bias.

    Parameters
    ----------
    n : int
        Largest count, at least 1.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.conditional_visible([1.0], [[0.0], [2.0]], [0.0, 0.0], visible=pmr.Binomial(10)).round(1)
    array([5. , 8.8])
    """

    n: int

    dtype: ClassVar[str] = "int32"
    counts: ClassVar[bool] = True

    def __post_init__(self):
        at_most(
            "n", whole_number("n", self.n), MOST_COUNT, "For larger counts use Gaussian units of their square root."
        )

    @property
    def middle(self):
        """The mean without a field."""
        return self.n / 2

    @property
    def support(self):
        """The values, in words."""
        return f"whole numbers from 0 to {self.n}"

    @property
    def states(self):
        """The counts from 0 to n."""
        return tuple(map(float, range(self.n + 1)))

    def contains(self, x):
        """Whether each entry is one of the counts."""
        return pt.ge(x, 0) & pt.le(x, self.n) & pt.eq(x, pt.floor(x))

    def log_base(self, x):
        """Return the logarithm of the binomial coefficient."""
        table = np.array(_log_coefficients(self.n))
        dtype = x.dtype if x.dtype.startswith("float") else pytensor.config.floatX
        return pt.as_tensor(table.astype(dtype))[x.astype("int64")]

    def log_normaliser(self, field):
        """Return ``n log(1 + exp(field))``."""
        return self.n * pt.softplus(field)

    def mean(self, field):
        """Return ``n`` times the logistic function of the field."""
        return self.n * pt.sigmoid(field)

    def sample(self, field, rng):
        """Draw with NumPy's binomial generator."""
        p = pt.sigmoid(field).astype("float64")
        rng, x = pt.random.binomial(self.n, p, rng=rng, return_next_rng=True)
        return rng, x.astype(self.dtype)

    def dispersed(self, shape, rng):
        """Draw each row with its own probability, uniform between 0 and 1."""
        rng, level = pt.random.uniform(size=(*shape[:-1], 1), dtype="float64", rng=rng, return_next_rng=True)
        rng, x = pt.random.binomial(self.n, pt.broadcast_to(level, shape), rng=rng, return_next_rng=True)
        return rng, x.astype(self.dtype)

    def bias_of_mean(self, mean):
        """Return the log-odds of the mean as a share of n."""
        return np.log(mean) - np.log(self.n - mean)


@lru_cache(4)
def _log_coefficients(n: int) -> tuple[float, ...]:
    """Return the logarithms of the binomial coefficients, each an exact whole number made from the one before it."""
    found, c = [], 1
    for k in range(n + 1):
        found.append(math.log(c))
        c = c * (n - k) // (k + 1)
    return tuple(found)
