"""Unit families: the exponential families that layers are made of.

A unit ``x`` that feels the field ``f`` is distributed as ``p(x | f) ∝ base(x)·exp(f·x)``. Everything that a machine
needs to know about its units is said by a `Unit`; no line of the machine, of sampling or of learning names a family.
Here are the interface and the unit that all defaults are; `finite_units` and `real_units` hold the others.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

__all__ = ["Unit", "floating", "logsumexp", "unit_of", "zeros_like"]


class Unit(ABC):
    """Exponential family ``p(x | f) ∝ base(x)·exp(f·x)`` of one unit, all methods symbolic.

    A state and its field have the same shape. Most units are one number; a unit of ``width`` q takes q neighbouring
    entries of the last axis. Families are frozen dataclasses, so that graphs can be kept by them; numbers that
    learning may move (a standard deviation) are ``parameters`` and None in the family that graphs are kept by.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    quadratic: ClassVar[bool] = False
    """Whether ``log base(x)`` is -x²/2σ² with values without an upper end: coupled, such units may not normalise."""
    integrable: ClassVar[bool] = False
    """Whether it is so on the whole line, so that layers of such units integrate jointly."""
    one_sided: ClassVar[bool] = False
    """Whether quadratic units cannot be negative: inhibition between two of them never hurts."""
    counts: ClassVar[bool] = False
    """Whether the values are all whole numbers between two ends."""
    absorbing: ClassVar[bool] = False
    """Whether one more parabola about 0 only changes their first parameter, which is σ."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The type in which states are stored."""

    @property
    def width(self) -> int:
        """Entries of a state that are one unit."""
        return 1

    def parts(self, size: Any) -> list[tuple[Unit, Any]]:
        """Families that stand side by side in a layer of ``size`` entries, each with the number of its entries."""
        return [(self, size)]

    def count(self, size: int) -> int:
        """Return the number of units in a layer of ``size`` entries."""
        return sum(n // unit.width for unit, n in self.parts(size))

    def check_size(self, size: int | None, side: str) -> None:
        """Refuse a layer whose entries are no whole number of units."""
        if size is not None and size % self.width:
            raise ValueError(
                f"{size} {side} entries are no whole number of {self!r} units, which take {self.width} entries each."
            )

    def at(self, entries: Any) -> Unit:
        """Return the units that take the given entries of a layer: whole units, in order."""
        each: list[Any] = [p if p is None or isinstance(p, Variable) else np.asarray(p) for p in self.parameters]
        return self.with_parameters([p[..., entries] if np.ndim(p) else p for p in each])

    @property
    @abstractmethod
    def middle(self) -> Any:
        """A mean far from the extremes: estimates of means are shrunk to it by one row, so that none is certain."""

    @property
    @abstractmethod
    def support(self) -> str:
        """The values, in words."""

    @property
    def remedy(self) -> str:
        """What to do with data that have other values."""
        return "Leave such rows out, or clip them."

    @property
    def parameters(self) -> tuple[Any, ...]:
        """Numbers or variables that learning may move, a scalar or one an entry."""
        return tuple(getattr(self, name) for name in self.parameter_names)

    def with_parameters(self, parameters: Sequence[Any]) -> Unit:
        """Return the unit with other ``parameters``."""
        named: Any = dict(zip(self.parameter_names, parameters, strict=True))
        return replace(self, **named) if named else self  # type: ignore[type-var]  # families are dataclasses

    def parameters_of_deviation(self, deviation: Any) -> dict[str, Any]:
        """Return, by name, parameters with which unbounded independent units have this standard deviation."""
        return {}

    @property
    def family(self) -> Unit:
        """The unit without parameters: what graphs are kept by."""
        return self.with_parameters([None] * len(self.parameters))

    @property
    @abstractmethod
    def states(self) -> tuple[Any, ...] | None:
        """The values that one unit can take (tuples of ``width`` entries), or None where they cannot be listed."""

    @property
    def finite(self) -> bool:
        """Whether the values of all units can be listed."""
        return self.states is not None

    @property
    def ends(self) -> tuple[Any, Any]:
        """The least and the greatest value of finite units, by entry where entries differ."""
        return np.min(self.states), np.max(self.states)  # type: ignore[arg-type]  # finite units have states

    @abstractmethod
    def contains(self, x: TensorVariable) -> TensorVariable:
        """Whether each entry of ``x`` belongs to a unit in the support (NaN does not)."""

    @abstractmethod
    def log_base(self, x: TensorVariable) -> TensorVariable:
        """Return ``log base(x)`` on the support, by entry."""

    @abstractmethod
    def log_normaliser(self, field: TensorVariable) -> TensorVariable:
        """Return ``log Σ_x base(x)·exp(field·x)``, one value a unit, without overflow at any finite field."""

    @abstractmethod
    def mean(self, field: TensorVariable) -> TensorVariable:
        """Return ``E[x | field]``, the derivative of `log_normaliser`."""

    @abstractmethod
    def sample(self, field: TensorVariable, rng: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        """Draw ``x ~ p(x | field)`` independently for each unit; return (next rng, x)."""

    @abstractmethod
    def dispersed(self, shape: Any, rng: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        """Draw states more spread out than a machine's own; return (next rng, x).

        Rows (all axes but the last) are independent and differ in their *level*, so that chains that
        start here can disagree in every mode that a machine may have.
        """

    @abstractmethod
    def bias_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Return the bias of an independent unit whose mean is ``mean``, on arrays."""

    def scaled(self, x: Any) -> Any:
        """What stands for a state or a bias wherever the two, or states and weights, are multiplied."""
        return x

    def curvature(self, x: Any) -> Any:
        """Return the 1/σ² of a quadratic log base, by entry of ``x``; the least where it depends on the value."""
        return self.scaled(pt.ones_like(x))

    def heated(self, beta: Any) -> Unit:
        """The units with ``base(x)`` to the power β where their values are real; others are what they are."""
        return self

    def offset(self, bias: Any) -> Any:
        """The part of the energy that depends on the bias alone, by entry."""
        return zeros_like(bias)

    def level(self, mean: Any) -> Any:
        """Where a mean lies between the extremes, from 0 to 1; one half where there are none."""
        if not self.finite:
            return 0.5 + 0 * mean
        low, high = self.ends
        return (mean - low) / (high - low)


def unit_of(text: str) -> Unit:
    """Return the unit with the given ``repr``; ValueError if there is none."""
    try:
        unit = _value_of(ast.parse(text, mode="eval").body)
        if not isinstance(unit, Unit):
            raise TypeError
        return unit
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is no unit of this version of pymc_rbm.") from error


def _value_of(node: Any) -> Any:
    """The value of a literal, in which families may be called."""
    if isinstance(node, ast.Tuple):
        return tuple(map(_value_of, node.elts))
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    family = {family.__name__: family for family in _families(Unit)}[node.func.id]  # type: ignore[attr-defined]  # called by name
    return family(*map(_value_of, node.args), **{str(x.arg): _value_of(x.value) for x in node.keywords})


def _families(family: Any) -> list[Any]:
    return [family, *(x for child in family.__subclasses__() for x in _families(child))]


def floating(p: Any) -> TensorVariable:
    """A unit's parameter as a tensor; numbers by PyTensor's floating type (2.0 alone would become float32)."""
    return p if isinstance(p, Variable) else pt.as_tensor(np.asarray(p, dtype=pytensor.config.floatX))


def zeros_like(x: Any) -> TensorVariable:
    """Zeros of a floating type that does not widen float32."""
    x = pt.as_tensor(x)
    return pt.zeros_like(x, dtype="float64" if x.dtype == "float64" else "float32")


def logsumexp(x: TensorVariable, axis: int = -1) -> TensorVariable:
    """``log Σ exp(x)``, shifted by the maximum: stable without PyTensor's rewrites, too."""
    top = pytensor.gradient.disconnected_grad(x.max(axis=axis, keepdims=True))
    return pt.log(pt.exp(x - top).sum(axis=axis)) + top.squeeze(axis)
