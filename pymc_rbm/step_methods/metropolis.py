r"""A block whose units are not independent given the rest is updated by proposals with Metropolis correction.

Given the rest, a layer x has the density

.. math::  \pi(x) \propto \exp(f^\top x + \log \mathrm{base}(x) + D(x)),

where f is the field of the machine and D is as in `effects`. One update

1. chooses units S: each with probability exp(-θ), whatever the state (real units: all of them);
2. draws the units of S from ``q_i(x'_i | x) ∝ base(x'_i)·exp((f + a(x))_i x'_i - c_i x'_i²/2)``, all at once, with
   ``a(x) = ∇D(x) + c x``: D is replaced by its tangent at x, less c/2 times the squared distance where units are real.
   Other units stay. This is the gradient-informed proposal of Grathwohl et al. (2021) for a whole block, as in Zhang,
   Liu & Liu (2022), with the machine's own conditional in it exactly; with ∇D = 0 it is that conditional;
3. accepts with probability ``min(1, r)``, ``r = π(x') q_S(x | x') / (π(x) q_S(x' | x))``.

*Detailed balance.* For x ≠ x' that differ inside S only, ``π(x) P(S) q_S(x'|x) min(1, r) = P(S) min(π(x) q_S(x'|x),
π(x') q_S(x|x'))``, which is symmetric in x and x' because P(S) does not depend on the state; summed over S it stays so.
f does not change with x: units of a layer are not coupled (where they are, `transition` clamps all but one class of
uncoupled ones), and the other layers are clamped. The update thus leaves π(x | rest) invariant, and with it the joint
``p(x, rest)``. The machine's other layer, updated in turn, has p(h | v) itself where D does not read h, so that (v, h)
is augmented and v alone has the density p(v) exp(D(v)).

*Rows.* Where D is a sum over rows, each is accepted or refused for itself: rows are then independent given the rest. A
row's proposal that is forbidden (also by a check of parameters: `conditions`), or is not a number, is refused. Where
rows are not proved to be independent they are accepted or refused together, and θ may rise to the log of the number of
all their units; `BlockGibbs` warns of it.

Real units that D joins take `joint_moves` or `wall_moves` instead.

*Units of many values* (or whose states are not affinely independent), and finite ones of several families side by side,
take the same path. θ is between 0 and log n, n the units that one acceptance serves (real units: 20); any value is
right, since every S with θ > 0, and every state with θ = 0, has a positive probability.

References
----------
.. [1] Zanella, G. (2020). Informed proposals for local MCMC in discrete spaces. JASA 115, 852-865.
.. [2] Grathwohl, W., Swersky, K., Hashemi, M., Duvenaud, D., Maddison, C. (2021). Oops I took a gradient: scalable
   sampling for discrete distributions. ICML.
.. [3] Zhang, R., Liu, X., Liu, Q. (2022). A Langevin-like sampler for discrete distributions. ICML.
.. [4] Hastings, W. K. (1970). Monte Carlo sampling methods using Markov chains and their applications. Biometrika 57.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Machine, State
from pymc_rbm.step_methods.effects import by_unit
from pymc_rbm.units.unit import Unit

__all__ = [
    "CLIMBING",
    "MOST",
    "accepts",
    "caution_range",
    "corrected_update",
    "moves_per_sweep",
    "tuned_caution",
    "where_proper",
]

TARGET = 0.5
"""The acceptance of proposals that change something at which tuning aims: between 0.234 (random walks, Roberts,
Gelman & Gilks 1997) and 0.574 (Langevin, Roberts & Rosenthal 1998)."""

CLIMBING = 30
"""The number of first draws of tuning in which real units accept any move that climbs, to come back from far out."""

MOST = 20.0
"""The largest θ of real units, at which the curvature of a proposal is 5e8 times the unit's own."""


def corrected_update(
    machine: Machine,
    layer: int,
    state: State,
    rng: TensorVariable,
    effect: Any,
    caution: TensorVariable,
    held: Any = None,
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Update ``layer`` once, by a proposal that is accepted or refused.

    Parameters
    ----------
    machine, layer, state, rng
        As in `sweep.sweep`; the layer's own state must be given.
    effect : callable
        A function from a state to D (one value a row, or one for all), its slope and its curvature by entry.
    caution : scalar tensor
        θ: log of the expected number of updates until a unit is chosen. For real units ``c`` is at least
        ``(exp(θ) - 1)/σ²``.
    held : mask, optional
        True where a unit keeps its value.

    Returns
    -------
    x : tensor
    rng : random generator variable
    accepted, changed : scalar tensors
        Sum of the acceptance probabilities of proposals (of rows) that differ from the state, and their number.
    """
    unit, x = machine.layers[layer].unit, pt.as_tensor(state[layer])
    field, caution = machine.field(layer, state), pt.maximum(caution, 0.0)

    def seen_from(x: TensorVariable) -> tuple[TensorVariable, Unit, TensorVariable]:
        there = [x if i == layer else other for i, other in enumerate(state)]
        density, slope, curvature = effect(there)
        curvature = curvature + (pt.expm1(caution) / unit.parameters[0] ** 2 if unit.quadratic else 0)
        log_target = _by_unit(unit, unit.log_base(x.astype(field.dtype)) + field * x)
        return (density, log_target), _stiffened(unit, curvature), field + slope + curvature * x

    (density, own), family, pull = seen_from(x)
    rng, drawn = family.sample(pull, rng)
    rng, chosen = _chosen(unit, x, caution, rng)
    if held is not None:
        chosen = chosen & ~held
    apart = density.ndim == x.ndim - 1
    proper, new = where_proper(pt.where(chosen, drawn.astype(x.dtype), x), x, density.ndim)
    (new_density, new_own), new_family, new_pull = seen_from(new)

    in_block = _by_unit(unit, chosen) > 0

    def log_proposal(family: Unit, pull: TensorVariable, y: TensorVariable) -> TensorVariable:
        log_q = _by_unit(unit, family.log_base(y.astype(pull.dtype)) + pull * y) - family.log_normaliser(pull)
        return pt.where(in_block, log_q, 0.0)

    by_unit_ratio = new_own - own + log_proposal(new_family, new_pull, x) - log_proposal(family, pull, new)
    moved = pt.neq(new, x)
    log_ratio = new_density - density + (by_unit_ratio.sum(-1) if apart else by_unit_ratio.sum())
    moved = moved.any(-1) if apart else moved.any()
    log_ratio = pt.where(proper & ~pt.isnan(log_ratio), log_ratio, -np.inf)  # or both states are impossible
    rng, accept = accepts(log_ratio, rng)
    probability = pt.exp(pt.minimum(log_ratio, 0.0))
    new = pt.where(accept[..., None] if apart else accept, new, x)
    return new, rng, pt.where(moved, probability, 0.0).sum().astype("float64"), moved.sum().astype("float64")


def moves_per_sweep(units: Sequence[Unit], cautions: Sequence[TensorVariable]) -> TensorVariable:
    """Return the number of updates after which each unit of the corrected layers has been chosen about once."""
    finite = [pt.ceil(pt.exp(t) - 1e-6) for u, t in zip(units, cautions, strict=True) if not u.quadratic]
    return (pt.stack(finite).max() if finite else pt.as_tensor(1)).astype("int64")


def caution_range(unit: Unit, units: int, rows: int = 1) -> tuple[float, float]:
    """Return the start and the largest value of θ, for rows of ``units`` units, ``rows`` of them accepted together.

    Real units start at the exact conditional of a quadratic D.
    """
    return (0.0, MOST) if unit.quadratic else (float(np.log(units)) / 2, float(np.log(units * rows)))


def tuned_caution(caution: float, accepted: float, after: int, most: float) -> float:
    """Return θ after one step of Robbins & Monro: it rises while acceptance is below `TARGET`.

    ``after`` counts the steps so far.
    """
    return float(np.clip(caution + (after + 1) ** -0.6 * (TARGET - accepted), 0, most))


def _stiffened(unit: Unit, curvature: TensorVariable) -> Unit:
    """Return real units with ``c x²/2`` added to the energy, so that σ² becomes 1/(1/σ² + c)."""
    if not unit.quadratic:
        return unit
    return unit.with_parameters([(unit.parameters[0] ** -2 + curvature) ** -0.5])


def _chosen(unit: Unit, x: TensorVariable, caution: TensorVariable, rng: TensorVariable):
    """Choose units, each with probability exp(-θ); all of them where they are real."""
    if unit.quadratic:
        return rng, pt.ones_like(x, dtype="bool")
    chosen = []
    for family, own in _by_family(unit, x):
        shape = (*(own.shape[i] for i in range(own.ndim - 1)), own.shape[-1] // family.width)
        rng, u = pt.random.uniform(size=shape, dtype="float64", rng=rng, return_next_rng=True)
        chosen.append(pt.repeat(pt.lt(u, pt.exp(-caution)), family.width, axis=-1))
    return rng, _joined(chosen)


def _by_unit(unit: Unit, x: TensorVariable) -> TensorVariable:
    """Sum over the entries of each unit, whatever its family."""
    return _joined([by_unit(own, family.width) for family, own in _by_family(unit, x)])


def _by_family(unit: Unit, x: TensorVariable) -> list[tuple[Unit, TensorVariable]]:
    """Return the families of a layer, each with its entries of ``x``."""
    families, start, found = unit.parts(None), 0, []
    if len(families) == 1:
        return [(unit, x)]
    for family, size in families:
        found.append((family, x[..., start : start + size]))
        start += size
    return found


def _joined(parts: list[TensorVariable]) -> TensorVariable:
    return parts[0] if len(parts) == 1 else pt.concatenate(parts, axis=-1)


def where_proper(new: TensorVariable, x: TensorVariable, ndim: int) -> tuple[TensorVariable, TensorVariable]:
    """Find proposals that are numbers throughout, one boolean for each acceptance, with ``ndim`` axes.

    Entries that are accepted together with one that is not a number stay at ``x``, so that it spoils no other
    acceptance.
    """
    bad = pt.isnan(new) | pt.isinf(new)
    if ndim < x.ndim:
        bad = bad.any(-1) if ndim == x.ndim - 1 else bad.any()
    return ~bad, pt.where(bad[..., None] if ndim == x.ndim - 1 else bad, x, new)


def accepts(log_ratio: TensorVariable, rng: TensorVariable):
    """Accept with probability ``min(1, exp(log_ratio))``."""
    rng, u = pt.random.uniform(size=log_ratio.shape, dtype="float64", rng=rng, return_next_rng=True)
    return rng, pt.lt(pt.log(u), log_ratio)
