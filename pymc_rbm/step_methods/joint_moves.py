r"""Joint moves of real units use the Hessian of the log-density of what depends on them.

Given the rest, a layer x of real units has the log-density ``f·x + log base(x) + D(x)`` plus a constant, where f is the
field of the machine and D is as in `effects`. With its slope g(x) and a precision P(x), one move proposes

.. math::  x' = x + (1 - \rho) P^{-1} g + \sqrt{1 - \rho^2} \, P^{-1/2} z, \qquad z \sim \mathrm{Normal}(0, 1),

and accepts with probability ``min(1, π(x') q(x | x') / (π(x) q(x' | x)))``, which makes it reversible with respect to π
whatever P is (Hastings 1970). P is the unit's own curvature plus A(x), minus the Hessian of D: the proposal is that of
Gaussian random walks whose invariant density is the Gaussian approximation of π at x.

*Quadratic D and Gaussian units.* Then P does not depend on x, π is Normal(x + P⁻¹g, P⁻¹), and the proposal is
reversible with respect to it: the acceptance is 1 at every ρ, and at ρ = 0, where tuning leaves it, the draw is exact.

*Otherwise* tuning finds a ρ: near 0 this is a draw from the approximation of Newton's method, near 1 Langevin's
algorithm with step 2(1 - ρ), preconditioned (Girolami & Calderhead 2011; Cotter et al. 2013). Where P is not positive
definite its eigenvalues count by their size (Betancourt 2013).

*Units that cannot be negative* move as ``x = |y|``, where y has the density ``π(|y|)/2ⁿ`` on the whole space: no state
beyond a boundary is proposed in vain. Density and proposal stay as they are when signs of y are flipped, so these need
not be kept: each move may start at y = x.

*Units that D does not join* have a diagonal P. D has one value a unit then, and each unit accepts or refuses for
itself, as rows do.

*Rows*, *clamped entries* and θ are as in `metropolis`; ``1 - ρ = exp(-θ)``. Half of the moves that are not exact are
smaller by a random factor: where the Hessian changes fast, in the tail of a Poisson likelihood say, the way back from a
whole step of Newton's method is nearly impossible, and rows that start there would stay for ever.

References
----------
.. [1] Girolami, M., Calderhead, B. (2011). Riemann manifold Langevin and Hamiltonian Monte Carlo methods. JRSS B 73.
.. [2] Cotter, S. L., Roberts, G. O., Stuart, A. M., White, D. (2013). MCMC methods for functions: modifying old
   algorithms to make them faster. Statistical Science 28, 424-446.
.. [3] Betancourt, M. (2013). A general metric for Riemannian manifold Hamiltonian Monte Carlo. GSI.
.. [4] Hastings, W. K. (1970). Monte Carlo sampling methods using Markov chains and their applications. Biometrika 57.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.pymc_internals import ifelse
from pymc_rbm.machine.machine import Machine, State
from pymc_rbm.step_methods.metropolis import accepts, where_proper
from pymc_rbm.step_methods.slopes import own_slope

__all__ = ["joint_update"]

SLOWEST = 8.0
"""The most that is added to θ: far out in a tail only steps of about exp(-8) may be accepted."""


ROUNDING = 1e-10
"""The least eigenvalue, as a share of the largest: it is far above the rounding errors of products of matrices."""


def joint_update(
    machine: Machine,
    layer: int,
    state: State,
    rng: TensorVariable,
    effect: Any,
    caution: TensorVariable,
    held: Any = None,
    exact: bool = False,
    diagonal: bool = False,
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Move all units of ``layer`` that are not clamped, together.

    Arguments and results are those of `metropolis.corrected_update`. ``effect`` gives D, its slope and A: one matrix a
    row where D has one value a row, otherwise one for the entries of all rows; ``diagonal`` says that it gives the
    diagonal only, by entry. ``exact`` says that P does not depend on x and the units are Gaussian. With a negative
    ``caution`` any move that climbs is accepted, which leaves no density invariant and so is for early tuning only.
    """
    unit, x = machine.layers[layer].unit, pt.as_tensor(state[layer])
    field = machine.field(layer, state)

    def value(y: TensorVariable) -> TensorVariable:
        return abs(y) if unit.one_sided else y

    def total(each: TensorVariable, density: TensorVariable) -> TensorVariable:
        """Sum over units, unless each is accepted or refused for itself."""
        return each if density.ndim == x.ndim else each.sum(-1)

    def seen_from(y: TensorVariable):
        """Return the log target, the Cholesky factor L of P = LLᵀ, and L⁻¹g."""
        density, slope, hessian = effect([value(y) if i == layer else other for i, other in enumerate(state)])
        (own, own_pull), curvature = own_slope(unit, value(y), field), unit.curvature(y)
        sign = pt.where(y < 0, -1.0, 1.0) if unit.one_sided else pt.ones_like(y)
        slope = (slope + own_pull) * sign
        free = pt.ones_like(y, dtype="bool") if held is None else pt.broadcast_to(~held, y.shape)
        if density.ndim < y.ndim - 1:
            own, slope, curvature, free, sign = (each.ravel() for each in (own, slope, curvature, free, sign))
            hessian = hessian.ravel() if diagonal else hessian
        if hessian.ndim > slope.ndim:
            hessian = hessian * sign[..., :, None] * sign[..., None, :]
        root = _root(curvature, hessian, free)
        return density + total(own, density), root, _solved(root, pt.where(free, slope, 0.0))

    target, root, pull = seen_from(x)
    climbs, caution = pt.lt(caution, 0), pt.maximum(caution, 0.0)
    if not exact:
        rng, more = _hesitation(target.shape, rng)
        caution = caution + (more[..., None] if target.ndim < pull.ndim else more)
    step = pt.exp(-caution)
    spread = pt.sqrt(step * (2 - step))
    rng, z = pt.random.normal(size=pull.shape, dtype="float64", rng=rng, return_next_rng=True)
    moved = _solved(root, step * pull + spread * z, transposed=True).reshape(x.shape)
    new = (x + moved if held is None else pt.where(held, x, x + moved)).astype(x.dtype)
    proper, new = where_proper(new, x, target.ndim)
    new_target, new_root, new_pull = seen_from(new)

    def log_proposal(root: TensorVariable, pull: TensorVariable, change: TensorVariable) -> TensorVariable:
        white, log_scale = _whitened(root, change.reshape(pull.shape))
        return total(log_scale - pt.log(spread) - ((white - step * pull) / spread) ** 2 / 2, target)

    log_ratio = new_target - target + log_proposal(new_root, new_pull, x - new) - log_proposal(root, pull, new - x)
    log_ratio = pt.where(proper & ~pt.isnan(log_ratio), log_ratio, -np.inf)
    rng, accept = accepts(log_ratio, rng)
    accept = accept | (climbs & pt.gt(new_target, target))
    probability = pt.exp(pt.minimum(log_ratio, 0.0)).astype("float64")
    new = pt.where(accept if accept.ndim == x.ndim else accept[..., None], value(new), x)
    return new, rng, probability.sum(), pt.ones_like(probability).sum()


def _hesitation(shape: Any, rng: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
    """Draw what is added to θ: 0 half of the time, otherwise a number between 0 and `SLOWEST`."""
    rng, u = pt.random.uniform(size=shape, dtype="float64", rng=rng, return_next_rng=True)
    return rng, SLOWEST * pt.maximum(2 * u - 1, 0.0)


def _root(curvature: TensorVariable, hessian: TensorVariable, free: TensorVariable) -> TensorVariable:
    """Return the lower Cholesky factor of P, or its diagonal; clamped entries are independent of the others."""
    if hessian.ndim == curvature.ndim:
        return pt.sqrt(curvature + pt.maximum(hessian, 0))
    both = free[..., :, None] & free[..., None, :]
    stiff = pt.where(both, hessian, 0.0) + pt.eye(curvature.shape[-1]) * curvature[..., None, :]
    root = pt.linalg.cholesky(stiff, lower=True, on_error="nan")
    failed = pt.isnan(root)
    return ifelse(failed.any(), pt.where(failed, _root_of_absolute(stiff, curvature), root), root)


def _root_of_absolute(stiff: TensorVariable, curvature: TensorVariable) -> TensorVariable:
    """Return the Cholesky factor of the matrix with absolute eigenvalues, at least the least curvature of the units.

    Nor are they below what rounding may leave of the largest. Where there is no factor even so, it is not a number, and
    the row (or all rows that are accepted with it) stays.
    """
    values, vectors = pt.linalg.eigh(stiff)
    least = pt.maximum(curvature.min(axis=-1, keepdims=True), ROUNDING * abs(values).max(axis=-1, keepdims=True))
    values = pt.maximum(abs(values), least)
    return pt.linalg.cholesky((vectors * values[..., None, :]) @ vectors.mT, lower=True, on_error="nan")


def _solved(root: TensorVariable, b: TensorVariable, transposed: bool = False) -> TensorVariable:
    """Return ``L⁻¹b``, or ``L⁻ᵀb``."""
    if root.ndim == b.ndim:
        return b / root
    matrix = root.mT if transposed else root
    return pt.linalg.solve_triangular(matrix, b[..., None], lower=not transposed, b_ndim=2)[..., 0]


def _whitened(root: TensorVariable, x: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
    """Return ``Lᵀx`` and the logarithms that make up log det L."""
    if root.ndim == x.ndim:
        return root * x, pt.log(root)
    return pt.matvec(root.mT, x), pt.log(pt.diagonal(root, axis1=-2, axis2=-1))
