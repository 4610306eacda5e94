r"""The two-sided rectified unit is Gaussian on either side of zero, with a curvature for each side.

Tubiana, Cocco & Monasson (2019) give a real unit the potential ``γ₊x₊²/2 + θ₊x₊ + γ₋x₋²/2 + θ₋x₋`` with x₊ = max(x, 0)
and x₋ = max(-x, 0). What θ₊ and θ₋ differ by is a field, so here ``θ₊ = θ - b`` and ``θ₋ = θ + b`` with b the unit's
bias:

    log base(x) = -γ₊x₊²/2 - γ₋x₋²/2 - θ|x|.

Given its field f the unit is a mixture of a `Rectified` one with field ``f - θ`` and the mirror image of one with
field ``-f - θ``, weighted by their normalisers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
import scipy
from pytensor.graph.basic import Variable

from pymc_rbm.support.arguments import positive_parameter
from pymc_rbm.units.real import Real, Rectified, numeric_cut_mean
from pymc_rbm.units.unit import floating

__all__ = ["DReLU"]


@dataclass(frozen=True)
class DReLU(Real):
    r"""A two-sided rectified unit: ``log base(x) = -γ₊x²/2 - θ|x|`` for x > 0 and ``-γ₋x²/2 - θ|x|`` for x < 0.

    Its mean follows the field with a slope that differs between the sides. θ > 0 makes it sparse (a soft threshold),
    θ < 0 bimodal, γ₊ = γ₋ and θ = 0 Gaussian with σ² = 1/γ. Bias and weights multiply x itself, not x/σ².

    Parameters
    ----------
    gamma_plus, gamma_minus : float, array or variable, default 1
        Curvatures on the two sides, positive; one for all or one a unit. Random variables are learned.
    theta : float, array or variable, default 0
        Slope of the potential on both sides.

    References
    ----------
    .. [1] Tubiana, J., Cocco, S., Monasson, R. (2019). Learning protein constitutive motifs from sequence data. eLife
       8.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> unit = pmr.DReLU(gamma_plus=1.0, gamma_minus=1.0, theta=1.0)  # small fields change little
    >>> pmr.conditional_visible([1.0], [[0.5], [4.0]], [0.0, 0.0], visible=unit).round(2)
    array([0.24, 3.  ])
    """

    gamma_plus: Any = 1.0
    gamma_minus: Any = 1.0
    theta: Any = 0.0

    parameter_names: ClassVar[tuple[str, ...]] = ("gamma_plus", "gamma_minus", "theta")

    def __post_init__(self):
        for name, positive in (("gamma_plus", True), ("gamma_minus", True), ("theta", False)):
            value = getattr(self, name)
            if value is None or isinstance(value, Variable):
                continue
            positive_parameter(name, value, positive)

    def parameters_of_deviation(self, deviation):
        """Return the precision ``1/deviation²`` as both curvatures."""
        return dict.fromkeys(("gamma_plus", "gamma_minus"), 1 / deviation**2)

    def log_base(self, x):
        """Return ``-γ₊x₊²/2 - γ₋x₋²/2 - θ|x|``."""
        gamma = pt.switch(x > 0, floating(self.gamma_plus), floating(self.gamma_minus))
        return -gamma * x**2 / 2 - floating(self.theta) * abs(x)

    def log_normaliser(self, field):
        """Return the log of the sum of both sides' normalisers."""
        return pt.logaddexp(*self._log_normalisers(field))

    def mean(self, field):
        """Return the sides' means, weighted by their probabilities."""
        (above, up), (below, down) = self._sides(field)
        p = self._positive(field)
        return p * above.mean(up) - (1 - p) * below.mean(down)

    def sample(self, field, rng):
        """Draw the side, then a rectified unit on that side, both exactly."""
        (above, up), (below, down) = self._sides(field)
        rng, u = pt.random.uniform(size=field.shape, dtype="float64", rng=rng, return_next_rng=True)
        side = u < self._positive(field)
        # One rectified unit is drawn, with the σ and the field of the chosen side.
        chosen = Rectified(pt.switch(side, above.sigma, below.sigma))
        rng, x = chosen.sample(pt.switch(side, up, down), rng)
        return rng, pt.switch(side, x, -x).astype(self.dtype)

    def dispersed(self, shape, rng):
        """Draw each row around its own level: Normal(0, 3σ) plus Normal(0, 3σ) with the flatter side's σ."""
        rng, level = pt.random.normal(size=(*shape[:-1], 1), rng=rng, return_next_rng=True)
        rng, z = pt.random.normal(size=shape, rng=rng, return_next_rng=True)
        return rng, (3 / pt.sqrt(self._least) * (level + z)).astype(self.dtype)

    def bias_of_mean(self, mean):
        """Solve for the field by bisection; parameters that are not numbers count as 1, 1 and 0."""
        plus, minus, theta = (
            default if p is None or isinstance(p, Variable) else np.asarray(p)
            for p, default in zip(self.parameters, (1.0, 1.0, 0.0), strict=True)
        )
        mean = np.asarray(mean, dtype="float64")
        reach = np.abs(theta) + (np.abs(mean) + 10) * np.maximum(plus, minus) + 10 * np.sqrt(np.maximum(plus, minus))
        low, high = -reach + 0 * mean, reach + 0 * mean
        for _ in range(100):
            field = (low + high) / 2
            beyond = _numeric_mean(field, plus, minus, theta) > mean
            low, high = np.where(beyond, low, field), np.where(beyond, field, high)
        return (low + high) / 2

    def heated(self, beta):
        """Return the unit with β times its parameters."""
        return self.with_parameters([beta * floating(p) for p in self.parameters])

    def curvature(self, x):
        """Return the smaller of γ₊ and γ₋."""
        return self._least * pt.ones_like(x)

    @property
    def _least(self):
        return pt.minimum(floating(self.gamma_plus), floating(self.gamma_minus))

    def _sides(self, field):
        """Return the rectified units of the positive and the mirrored negative side, each with its field."""
        above, below = (Rectified(1 / pt.sqrt(floating(g))) for g in (self.gamma_plus, self.gamma_minus))
        theta = floating(self.theta)
        return (above, field - theta), (below, -field - theta)

    def _log_normalisers(self, field):
        return [unit.log_normaliser(own) for unit, own in self._sides(field)]

    def _positive(self, field):
        """Return the probability of the positive side."""
        above, below = self._log_normalisers(field)
        return pt.sigmoid(above - below)


def _numeric_mean(field, plus, minus, theta):
    """Return the mean of a `DReLU` unit on arrays."""
    sigmas, fields = (1 / np.sqrt(plus), 1 / np.sqrt(minus)), (field - theta, -field - theta)
    log_z, means = [], []
    for sigma, own in zip(sigmas, fields, strict=True):
        z = sigma * own
        tail = np.log(scipy.special.erfcx(np.maximum(-z, 0) / np.sqrt(2)) / 2)
        log_z.append(np.log(sigma) + np.where(z < 0, tail, scipy.special.log_ndtr(z) + z**2 / 2))
        means.append(sigma * numeric_cut_mean(z))
    p = scipy.special.expit(log_z[0] - log_z[1])
    return p * means[0] - (1 - p) * means[1]
