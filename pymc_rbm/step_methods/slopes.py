r"""Slopes of log-densities in a transition are partial derivatives: everything but the block's own units is constant.

A block x moves by its conditional ``log π(x | rest) = f(rest)·x + log base(x) + D(x, rest)``. Its slope is a *partial*
derivative: the rest is a constant, also where the graph that computes it reads x. In a restricted machine the hidden
units were drawn given x just before, by a formula of x (``h = mean(f(x)) + σz`` of Gaussian units, an inversion of
rectified ones), and the field is one of h. A derivative that runs through that draw is the slope of another density,
or has no value at all (Binomial units).

*Constant*: the field, the states of all other layers, clamped entries, the parameters of machine and units, whatever
else dependants read. *Differentiated*: x where it stands in ``f·x``, in the log base and in D.

So every slope is taken of a graph in a variable that has no history (`slope_at`, or the variables of `effects`, in
which dependants are written before any state is put in), and the state takes its place after that.
"""

from __future__ import annotations

from collections.abc import Callable

import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.units.unit import Unit

__all__ = ["own_slope", "slope_at"]


def slope_at(x: TensorVariable, density: Callable[[TensorVariable], TensorVariable]) -> TensorVariable:
    """Return the partial derivative of ``density(x).sum()``, for which other variables that read x are constants."""
    bare = x.type()
    slope = pt.grad(density(bare).sum(), bare, disconnected_inputs="ignore")
    return graph_replace(slope, {bare: x}, strict=False)


def own_slope(unit: Unit, x: TensorVariable, field: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
    """Return the log-density of a block's units in a constant ``field``, by entry, and its slope."""

    def density(y: TensorVariable) -> TensorVariable:
        return unit.log_base(y) + field * y

    return density(x), slope_at(x, density)
