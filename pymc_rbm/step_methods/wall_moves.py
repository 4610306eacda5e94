r"""Exact Hamiltonian dynamics moves real units that cannot be negative, where their joint log-density is quadratic.

Given the rest, such a layer x ≥ 0 has the density of ``Normal(μ, P⁻¹)`` cut off at the walls ``x_i = 0``: P is the
units' own curvature plus A, where A is minus the Hessian of D (`effects`), and ``μ = x + P⁻¹g`` with g the slope of the
log-density at any x. A particle of mass P with a velocity ``ẋ ~ Normal(0, P⁻¹)`` moves in that potential as

.. math::  x(t) = \mu + (x - \mu) \cos t + \dot x \sin t,

until the first unit reaches its wall, at a time that is known in closed form. There its momentum across the wall
changes sign: with ``Σ = P⁻¹``, ``ẋ' = ẋ - 2 (ẋ_j/Σ_jj) Σ_j``. After the time ``T = π/2``, in which a particle between
no walls forgets where it was, its place is the new state (Pakman & Paninski 2014).

*Exact.* Between walls and at them energy and volume are kept, and the path runs back when the velocity is turned
round, so that every end of a path is accepted, except where the path meets too many walls (`most_walls`): the way back
meets as many. Tuning then shortens paths to ``T = π/2 exp(-θ)``.

*Rows* and *clamped entries* are as in `metropolis`. Where P is not positive definite there are no such dynamics, and
the state stays (`blocks` chooses these moves where P is positive definite at random values of everything else).

References
----------
.. [1] Pakman, A., Paninski, L. (2014). Exact Hamiltonian Monte Carlo for truncated multivariate Gaussians. Journal of
   Computational and Graphical Statistics 23, 518-542.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.scan.utils import until
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Machine, State
from pymc_rbm.step_methods.slopes import own_slope

__all__ = ["reflected_update"]

QUARTER, FULL = np.pi / 2, 2 * np.pi
INSTANT = 1e-10
"""A wall that would be met less than this time before a full turn counts as met now: the difference is rounding."""


def most_walls(n: Any) -> Any:
    """Return how many walls a path of ``n`` units may meet.

    Under a regression with as much noise as units usually have a path meets less than one a unit. In a thin slice,
    where a sum of units is known to a thousandth, it meets hundreds: then paths are shortened, and draws are less
    effective.
    """
    return 50 + 10 * n


def reflected_update(
    machine: Machine,
    layer: int,
    state: State,
    rng: TensorVariable,
    effect: Any,
    caution: TensorVariable,
    held: Any = None,
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Move all units of ``layer`` that are not clamped, together; arguments and results are as in `joint_update`."""
    unit, x = machine.layers[layer].unit, pt.as_tensor(state[layer])
    density, slope, hessian = effect(list(state))
    slope = slope + own_slope(unit, x, machine.field(layer, state))[1]
    free = pt.ones_like(x, dtype="bool") if held is None else pt.broadcast_to(~held, x.shape)
    shape = (-1, x.shape[-1]) if x.ndim > 1 and density.ndim == x.ndim - 1 else (1, x.size)
    each, curvature, free, slope = (y.reshape(shape) for y in (x, unit.curvature(x), free, slope))
    rows, n = each.shape
    hessian = pt.broadcast_to(hessian.reshape((shape[0], n, n)), (rows, n, n))

    apart = ~(free[:, :, None] & free[:, None, :])
    precision = pt.where(apart, 0.0, hessian) + pt.eye(n) * curvature[:, None, :]
    root = pt.linalg.cholesky(precision, lower=True, on_error="nan")
    inverse = pt.linalg.solve_triangular(root, pt.broadcast_to(pt.eye(n), hessian.shape), lower=True, b_ndim=2)
    covariance = inverse.mT @ inverse
    rng, z = pt.random.normal(size=each.shape, dtype="float64", rng=rng, return_next_rng=True)
    velocity = pt.where(free, pt.matvec(inverse.mT, z), 0.0)
    mean = each + pt.matvec(covariance, pt.where(free, slope, 0.0))
    time = QUARTER * pt.exp(-pt.maximum(caution, 0.0))
    end, _, left = path(each - mean, velocity, mean, covariance, time * pt.ones(rows))
    arrived = pt.eq(left, 0) & ~pt.isnan(end).any(-1)
    new = pt.where(arrived[:, None], pt.maximum(mean + end, 0.0), each)
    new = pt.where(free, new, each).reshape(x.shape, ndim=x.ndim).astype(x.dtype)
    arrived = arrived.astype("float64")
    return new, rng, arrived.sum(), pt.ones_like(arrived).sum()


def path(
    place: TensorVariable, velocity: TensorVariable, mean: TensorVariable, covariance: TensorVariable, time: Any
) -> tuple[TensorVariable, TensorVariable, TensorVariable]:
    """Follow each particle for its time; ``place`` is x - μ, and the walls are where it is -μ.

    Returns
    -------
    place, velocity : tensor, shape (rows, n)
    left : tensor, shape (rows,)
        The time that is left: 0 for particles that have not met too many walls.
    """
    shape = place.type.shape

    def to_next_wall(place, velocity, left, mean, covariance):
        first, unit = _next_wall(place, velocity, mean)
        hits = pt.lt(first, left)
        step = pt.minimum(first, left)[:, None]
        place, velocity = (
            place * pt.cos(step) + velocity * pt.sin(step),
            velocity * pt.cos(step) - place * pt.sin(step),
        )
        place = pt.maximum(place, -mean)  # rounding must not put a unit behind its wall
        there = pt.arange(place.shape[0]), unit
        place = place[there].set(pt.where(hits, -mean[there], place[there]))  # a unit that meets its wall is at it
        velocity = pt.where(hits[:, None], reflected(velocity, unit, covariance), velocity)
        left = pt.specify_shape(pt.where(hits, left - first, 0.0), shape[:1])
        place, velocity = pt.specify_shape(place, shape), pt.specify_shape(velocity, shape)
        return (place, velocity, left), until(pt.eq(left, 0).all())

    places, velocities, lefts = pytensor.scan(
        to_next_wall,
        outputs_info=[place, velocity, time],
        non_sequences=[mean, covariance],
        n_steps=most_walls(place.shape[1]),
        return_updates=False,
    )
    return places[-1], velocities[-1], lefts[-1]


def _next_wall(place: TensorVariable, velocity: TensorVariable, mean: TensorVariable):
    """Return the time until the first unit of each row comes down to its wall, and which unit that is."""
    radius = pt.maximum(pt.sqrt(place**2 + velocity**2), 1e-300)
    level = -mean / radius
    down = pt.mod(pt.arctan2(velocity, place) + pt.arccos(pt.clip(level, -1, 1)), FULL)
    down = pt.where(pt.gt(down, FULL - INSTANT), 0.0, down)
    down = pt.where(pt.lt(abs(level), 1), down, np.inf)
    return down.min(-1), down.argmin(-1)


def reflected(velocity: TensorVariable, unit: TensorVariable, covariance: TensorVariable) -> TensorVariable:
    """Return the velocities after the given unit of each row has met its wall."""
    rows = pt.arange(velocity.shape[0])
    column = covariance[rows, unit]
    return velocity - (2 * velocity[rows, unit] / column[rows, unit])[:, None] * column
