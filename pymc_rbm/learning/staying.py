r"""Steps of learning are shortened so that the machine can still be normalised.

Real units on both sides, or real units that are coupled to each other, exist only for weights that are small enough:
where their precision matrix P (`normalisable`) is positive definite. A step from θ to θ' is shortened to
``θ + t (θ' - θ)``, t = 1, ½, ¼, …, until

    P(θ + t (θ' - θ)) ≻ ½ P(θ),

so that no step uses up more than half of the way to the boundary in any direction (the fraction-to-the-boundary rule of
interior-point methods, Wächter & Biegler 2006, Math. Program. 106, here for matrices). P is taken without inhibition
between units that cannot be negative. Other machines' steps are not changed, and nothing is compiled for them.
"""

from __future__ import annotations

from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.scan.utils import until
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.normalisable import certain_precision, smallest_eigenvalue
from pymc_rbm.support.reentrant import value_of

__all__ = ["at_the_edge", "shortened"]

MOST_HALVINGS = 40
EDGE = 1e-3
"""The smallest eigenvalue of P, scaled to a unit diagonal, below which learning has come to the boundary."""
SLACK = 1e-6
"""The smallest eigenvalue of P, scaled to a unit diagonal, that a step must leave; it is above rounding errors."""


def shortened(machine: Machine, updates: dict[Any, Any], parameters: list[Any]) -> dict[Any, Any]:
    """Return new values of the shared ``parameters`` that P depends on, after a step that is short enough.

    Parameters
    ----------
    machine : Machine
        The machine at the shared parameters.
    updates : dict
        The new values after the optimiser's whole step.
    parameters : list of shared variables
    """
    sizes = value_of([pt.as_tensor(layer.bias).shape[-1] for layer in machine.layers])
    matrix = certain_precision(machine, [int(n) for n in sizes])
    moved = [p for p in parameters if p in set(ancestors([matrix]))]
    if not moved:
        return {}
    before, after = [pt.as_tensor(p) for p in moved], [updates[p] for p in moved]
    share = _share(matrix, moved, before, after)
    return {
        p: pt.switch(pt.ge(share, 1), new, old + share.astype(p.dtype) * (new - old)).astype(p.dtype)
        for p, old, new in zip(moved, before, after, strict=True)
    }


def at_the_edge(machine: Machine) -> bool:
    """Whether a machine with numbers for parameters is close to where it cannot be normalised any more."""
    return smallest_eigenvalue(machine) < EDGE


def _share(matrix: TensorVariable, moved: list[Any], before: list[Any], after: list[Any]) -> TensorVariable:
    """Return the share t of the step that is allowed: 1 outside the set, where learning must be free to come back."""

    def halved(t, allowed, *points):
        old, new = points[: len(moved)], points[len(moved) :]
        there = graph_replace([matrix], dict(zip(moved, _between(old, new, t), strict=True)), strict=False)[0]
        fine = _is_positive(there - allowed)
        return [t / 2, t, fine], until(fine)

    here = matrix - SLACK * pt.eye(matrix.shape[0])
    first = pt.as_tensor(1.0, dtype="float64")
    _, tried, fine = pytensor.scan(
        halved,
        outputs_info=[first, None, None],
        non_sequences=[(matrix + SLACK * pt.eye(matrix.shape[0])) / 2, *before, *after],
        n_steps=MOST_HALVINGS,
        return_updates=False,
    )
    return pt.switch(_is_positive(here), pt.switch(fine[-1], tried[-1], 0.0), 1.0)


def _between(old: Any, new: Any, t: Any) -> list[TensorVariable]:
    return [(a + t.astype(a.dtype) * (b - a)).astype(a.dtype) for a, b in zip(old, new, strict=True)]


def _is_positive(matrix: TensorVariable) -> TensorVariable:
    """Whether the matrix is finite and positive definite."""
    return pt.all(pt.isfinite(pt.linalg.cholesky(matrix, on_error="nan")))
