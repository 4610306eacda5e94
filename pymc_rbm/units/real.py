"""These units have real values: they are Gaussian, or Gaussian and cut off at zero.

Both have the energy of Cho, Ilin & Raiko (2011), in which σ scales a unit's state wherever it meets a bias or W,

    E(x, rest) = Σ (x - b)²/2σ² - Σ (x/σ²)·(W rest),

so that ``x | rest ~ Normal(b + W rest, σ)``, cut off or not, and b and W are measured as x is. As an exponential
family, ``base(x) = exp(-x²/2σ²)``, ``f = (b + W rest)/σ²``, and the energy has the further term ``b²/2σ²``. On
the other side of W, too, the field is made of x/σ².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytensor
import pytensor.tensor as pt
import scipy
from pytensor.graph.basic import Variable

from pymc_rbm.support.arguments import positive_parameter
from pymc_rbm.units.unit import Unit, floating, zeros_like

__all__ = ["Gaussian", "Real", "Rectified", "numeric_cut_mean"]

FAR = 30.0
"""Beyond this many standard deviations a tail is computed by its continued fraction."""


class Real(Unit):
    """The base class of units with real values."""

    quadratic: ClassVar[bool] = True
    middle: ClassVar[float] = 0.0
    support: ClassVar[str] = "finite numbers"

    @property
    def dtype(self):
        """The floating type that PyTensor is set to."""
        return pytensor.config.floatX

    @property
    def states(self):
        """None, because the values cannot be listed."""
        return None

    def contains(self, x):
        """Whether each entry is a finite number."""
        return ~(pt.isnan(x) | pt.isinf(x))


class _Quadratic(Real):
    """Units with ``base(x) = exp(-x²/2σ²)``."""

    parameter_names: ClassVar[tuple[str, ...]] = ("sigma",)
    absorbing: ClassVar[bool] = True
    sigma: Any

    def __post_init__(self):
        if self.sigma is not None and not isinstance(self.sigma, Variable):
            positive_parameter("sigma", self.sigma)

    def parameters_of_deviation(self, deviation):
        """Return the deviation as σ."""
        return {"sigma": deviation}

    def log_base(self, x):
        """Return ``-x²/2σ²``."""
        return -(x**2) / (2 * self._sigma**2)

    def scaled(self, x):
        """Return ``x/σ²``."""
        return x / self._sigma**2

    def heated(self, beta):
        """Return the unit with ``σ/√β``."""
        return self.with_parameters([self._sigma / pt.sqrt(beta)])

    def offset(self, bias):
        """Return ``b²/2σ²``, which completes the energy to ``(x - b)²/2σ²``."""
        return pt.as_tensor(bias) ** 2 / (2 * self._sigma**2)

    @property
    def _sigma(self):
        return floating(self.sigma)


@dataclass(frozen=True)
class Gaussian(_Quadratic):
    """A real unit: ``x | f ~ Normal(σ² f, σ)``, with a bias and weights as in Cho, Ilin & Raiko (2011).

    ``E(v, h) = Σ (v - b)²/2σ² - Σ (v/σ²)·Wh - cᵀh`` where h are units without a σ: ``v | h ~ Normal(b + Wh, σ)``.

    Parameters
    ----------
    sigma : float, array or variable, default 1
        Standard deviation given the other units, one for all or one a unit. A random variable is learned.

    References
    ----------
    .. [1] Cho, K., Ilin, A., Raiko, T. (2011). Improved learning of Gaussian-Bernoulli restricted Boltzmann machines.
       ICANN.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> machine = pmr.restricted([[1.0], [-1.0]], [0.0, 3.0], [0.0], visible=pmr.Gaussian(0.5))
    >>> pmr.conditional_visible([1.0], machine)
    array([1., 2.])
    """

    sigma: Any = 1.0

    integrable: ClassVar[bool] = True

    def log_normaliser(self, field):
        """Return ``σ² field²/2 + log σ + log(2π)/2``."""
        return (self._sigma * field) ** 2 / 2 + pt.log(self._sigma) + np.log(2 * np.pi) / 2

    def mean(self, field):
        """Return ``σ² field``."""
        return self._sigma**2 * field

    def sample(self, field, rng):
        """Draw from the normal distribution."""
        rng, z = pt.random.normal(size=field.shape, rng=rng, return_next_rng=True)
        return rng, (self.mean(field) + self._sigma * z).astype(self.dtype)

    def dispersed(self, shape, rng):
        """Draw each row around its own level: Normal(0, 3σ) plus Normal(0, 3σ)."""
        rng, level = pt.random.normal(size=(*shape[:-1], 1), rng=rng, return_next_rng=True)
        rng, z = pt.random.normal(size=shape, rng=rng, return_next_rng=True)
        return rng, (3 * self._sigma * (level + z)).astype(self.dtype)

    def bias_of_mean(self, mean):
        """Return the mean, which is the bias."""
        return np.asarray(mean)


@dataclass(frozen=True)
class Rectified(_Quadratic):
    r"""A real unit that is not negative: ``x | f`` is Normal(σ² f, σ) cut off at 0, sampled exactly.

    The energy is that of `Gaussian`. With ``z = σ f`` the number of standard deviations by which the uncut mean is
    positive, ``log_normaliser = log(σ √(2π) Φ(z)) + z²/2`` and ``mean = σ (z + φ(z)/Φ(z))``. Where z is far below zero
    both are the difference of large numbers; they are computed by the scaled complementary error function, the mean
    beyond 30 standard deviations by Laplace's continued fraction.

    Parameters
    ----------
    sigma : float, array or variable, default 1
        As in `Gaussian`.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.conditional_visible([1.0], [[-2.0], [2.0]], [0.0, 0.0], visible=pmr.Rectified(1.0)).round(2)
    array([0.37, 2.06])
    """

    sigma: Any = 1.0

    middle: ClassVar[float] = 1.0
    support: ClassVar[str] = "finite numbers of at least 0"
    one_sided: ClassVar[bool] = True

    def contains(self, x):
        """Whether each entry is finite and not negative."""
        return pt.ge(x, 0) & ~pt.isinf(x)

    def log_normaliser(self, field):
        """Return ``log ∫_0^∞ exp(field·x - x²/2σ²) dx``."""
        z = self._sigma * field
        # Each branch gets only arguments at which it is finite, because the gradients of both are computed.
        below = pt.log(pt.erfcx(pt.maximum(-z, 0) / np.sqrt(2)) / 2)
        up = pt.maximum(z, 0)
        above = up**2 / 2 + pt.log1p(-pt.erfc(up / np.sqrt(2)) / 2)
        return pt.log(self._sigma) + np.log(2 * np.pi) / 2 + pt.switch(z < 0, below, above)

    def mean(self, field):
        """Return ``σ (z + φ(z)/Φ(z))``."""
        return self._sigma * _cut_mean(self._sigma * field)

    def sample(self, field, rng):
        """Draw by inversion, of the normal distribution or, in the tail, of the logarithm of its upper tail."""
        z = self._sigma * field
        rng, u = pt.random.uniform(size=field.shape, dtype="float64", rng=rng, return_next_rng=True)
        return rng, (self._sigma * _cut_quantile(z.astype("float64"), 1 - u)).astype(self.dtype)

    def dispersed(self, shape, rng):
        """Draw each row with its own scale, uniform between 0 and 6σ."""
        rng, level = pt.random.uniform(size=(*shape[:-1], 1), rng=rng, return_next_rng=True)
        rng, z = pt.random.normal(size=shape, rng=rng, return_next_rng=True)
        return rng, (6 * self._sigma * level * abs(z)).astype(self.dtype)

    def bias_of_mean(self, mean):
        """Solve ``σ (z + φ(z)/Φ(z)) = mean`` for ``b = σ z`` by bisection; σ counts as 1 where it is not a number."""
        sigma = 1.0 if self.sigma is None or isinstance(self.sigma, Variable) else np.asarray(self.sigma)
        ratio = np.asarray(mean, dtype="float64") / sigma
        low, high = -1 / ratio - 1, ratio + 0.0  # the cut mean at z is more than z and less than -1/z
        for _ in range(100):
            z = (low + high) / 2
            beyond = numeric_cut_mean(z) > ratio
            low, high = np.where(beyond, low, z), np.where(beyond, z, high)
        return np.where(ratio > 0, sigma * (low + high) / 2, np.nan)


def _cut_mean(z):
    """Return ``z + φ(z)/Φ(z)``, the mean of a normal variable around z with deviation 1, cut off at 0."""
    t = pt.maximum(-z, 0)
    near = pt.minimum(t, FAR)
    below = np.sqrt(2 / np.pi) / pt.erfcx(near / np.sqrt(2)) - near
    far, fraction = pt.maximum(t, FAR), zeros_like(z)
    for k in range(10, 1, -1):
        fraction = k / (far + fraction)
    up = pt.maximum(z, 0)
    above = up + np.sqrt(2 / np.pi) * pt.exp(-(up**2) / 2) / (2 - pt.erfc(up / np.sqrt(2)))
    return pt.switch(z > 0, above, pt.switch(t > FAR, 1 / (far + fraction), below))


def numeric_cut_mean(z: np.ndarray) -> np.ndarray:
    """Return ``z + φ(z)/Φ(z)`` on arrays."""
    t = np.clip(-z, -FAR, FAR)
    far = np.maximum(-z, FAR)
    near = np.sqrt(2 / np.pi) / scipy.special.erfcx(t / np.sqrt(2)) - t
    return np.where(z > FAR, z, np.where(-z > FAR, 1 / (far + 2 / (far + 3 / (far + 4 / far))), near))


def _cut_quantile(z, u):
    """Return what a normal variable around z with deviation 1, cut off at 0, exceeds with probability u."""
    bulk = pt.maximum(z, -5)
    inner = bulk + np.sqrt(2) * pt.erfcinv(u * pt.erfc(-bulk / np.sqrt(2)))
    # In the tail Newton's method solves log Q(t + s) = log Q(t) + log u for s, where Q is the upper tail: log Q is
    # nearly quadratic, so that four iterations from the exponential's answer reach rounding.
    t, log_u = pt.maximum(-z, 5), pt.log(u)
    s = -2 * log_u / (pt.sqrt(t**2 - 2 * log_u) + t)
    for _ in range(4):
        scaled = pt.erfcx((t + s) / np.sqrt(2))
        excess = pt.log(scaled / pt.erfcx(t / np.sqrt(2))) - s * (t + s / 2) - log_u
        s = s + excess * np.sqrt(np.pi / 2) * scaled
    return pt.maximum(pt.switch(z > -5, inner, s), 0)
