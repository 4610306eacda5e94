r"""A trust region keeps a machine, between two swaps with its ladder, from moving further than swaps can follow.

Let θ₀ be the parameters at the last swap, and θ' those after the optimiser's step, with ``Δ(v) = F_θ'(v) - F_θ₀(v)``.
Swaps between the two machines are accepted with probability

    A = E min(1, exp(Δ(y) - Δ(x))) = E_x,x' min(exp(-Δ(x)), exp(-Δ(x'))) / E_x exp(-Δ(x)),

with x and x' draws of θ₀, for which the particles stand, and y one of θ', which is a draw of θ₀ weighted by exp(-Δ).
Where Δ is normal with deviation σ, the Kullback-Leibler divergence is σ²/2 and A is erfc(σ/2). The step is shortened to
the largest of the shares 1, ½, ¼, … for which A is at least `LEAST`; to first order, Δ is linear in the share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Machine

__all__ = ["LEAST", "within"]

LEAST = 0.54
"""The least acceptance of swaps with the machine at the last swap: where Δ is normal, the divergence is at most .37
nats. An overlap of .3 with the last rung, 1.47 deviations, then does not fall behind .1, 2.33 deviations, before it
is seen."""
SHARES = 0.5 ** np.arange(12)


def within(
    moved: Sequence[tuple[Machine, Any]],
    updates: dict[Any, Any],
    parameters: Sequence[Any],
    anchors: Sequence[Any],
    factor: Any,
) -> tuple[dict[Any, Any], TensorVariable]:
    """Return new values of the shared ``parameters``, and the share of the step that is left.

    ``moved`` are machines at the shared parameters, and particles of each. ``anchors`` are the parameters at the last
    swap, shared, too. ``factor`` shortens every step.
    """
    step = {p: p + factor.astype(p.dtype) * (updates[p] - p) for p in parameters}
    shares = pt.as_tensor(np.append(SHARES, 0.0))
    fine = pt.ones(len(SHARES), dtype="bool")
    for machine, particles in moved:
        v = particles.type()  # the parameters that they were drawn with are not to be replaced
        energy = machine.free_energy(v)
        behind = graph_replace(energy, dict(zip(parameters, anchors, strict=True)), strict=False)
        there = graph_replace(energy, step, strict=False)
        here, behind, there = graph_replace([energy, behind, there], {v: particles})
        moves = (here - behind)[None] + shares[:-1, None] * (there - here)[None]
        fine = fine & ~(_acceptance(moves.astype("float64")) < LEAST)  # what is not finite is to be seen
    share = shares[pt.argmax(pt.concatenate([fine, pt.ones(1, dtype="bool")]))]
    new = {p: (p + share.astype(p.dtype) * (step[p] - p)).astype(p.dtype) for p in parameters}
    return new, share * factor


def _acceptance(moves: TensorVariable) -> TensorVariable:
    """Return A for each row of Δ. Of n sorted weights the k-th smallest is the lesser one in 2 (n - k) + 1 pairs."""
    weights = pt.sort(pt.exp(moves.min(-1, keepdims=True) - moves), axis=-1)
    n = weights.shape[-1]
    pairs = 2 * (n - 1 - pt.arange(n)) + 1
    return (weights * pairs).sum(-1) / (n * weights.sum(-1))
