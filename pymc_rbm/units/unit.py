"""The interface of units: each is an exponential family, and layers are made of them.

A unit ``x`` that feels the field ``f`` is distributed as ``p(x | f) ∝ base(x)·exp(f·x)``. Everything that a machine
needs to know about its units is said by a `Unit`; no line of the machine, of sampling or of learning names a family.
The families are in `binary`, `discrete`, `real` and `drelu`; `beside` puts several into one layer.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

__all__ = ["Unit", "floating", "logsumexp", "unit_of", "zeros_like"]


class Unit(ABC):
    """The exponential family ``p(x | f) ∝ base(x)·exp(f·x)`` of a unit; methods take and return symbolic variables.

    A state and its field have the same shape. Most units are one number; a unit of ``width`` q takes q neighbouring
    entries of the last axis. Families are frozen dataclasses, so that they can be keys of compiled graphs; numbers that
    learning may move (a standard deviation) are ``parameters``, which are None in such a key.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    quadratic: ClassVar[bool] = False
    """Whether ``log base(x)`` is -x²/2σ² and values have no upper end, so that strong couplings have no finite Z."""
    integrable: ClassVar[bool] = False
    """Whether the unit is quadratic on the whole line, so that layers of such units integrate jointly."""
    one_sided: ClassVar[bool] = False
    """Whether quadratic units cannot be negative, so that inhibition between two of them never makes Z infinite."""
    counts: ClassVar[bool] = False
    """Whether the values are all whole numbers between two ends."""
    absorbing: ClassVar[bool] = False
    """Whether a further term -a·x² of the log-density only changes the first parameter, which is σ."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The type in which states are stored."""

    @property
    def width(self) -> int:
        """The number of entries of one unit."""
        return 1

    def parts(self, size: Any) -> list[tuple[Unit, Any]]:
        """Return the families in a layer of ``size`` entries, each with the number of its entries."""
        return [(self, size)]

    def count(self, size: int) -> int:
        """Return the number of units in a layer of ``size`` entries."""
        return sum(n // unit.width for unit, n in self.parts(size))

    def check_size(self, size: int | None, side: str) -> None:
        """Refuse a layer whose number of entries is not a multiple of `width`."""
        if size is not None and size % self.width:
            raise ValueError(
                f"{size} {side} entries are not a whole number of {self!r} units, which take {self.width} entries "
                f"each: give a multiple of {self.width}."
            )

    def at(self, entries: Any) -> Unit:
        """Return the units that take the given entries of a layer, which must be whole units in order."""
        each: list[Any] = [p if p is None or isinstance(p, Variable) else np.asarray(p) for p in self.parameters]
        return self.with_parameters([p[..., entries] if np.ndim(p) else p for p in each])

    @property
    @abstractmethod
    def middle(self) -> Any:
        """A mean far from the extremes: estimates of means count it as one more row, so that none is at an extreme."""

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

    def changed(self, change: Callable[[str, Any, slice], Any], entries: slice = slice(None)) -> Unit:
        """Return the unit with ``change(name, parameter, entries)`` for each parameter of the layer's ``entries``."""
        return self.with_parameters(
            [change(name, p, entries) for name, p in zip(self.parameter_names, self.parameters, strict=True)]
        )

    def parameters_of_deviation(self, deviation: Any) -> dict[str, Any]:
        """Return parameters by name with which unbounded independent units have this standard deviation."""
        return {}

    @property
    def family(self) -> Unit:
        """The unit with None for its parameters: a key of compiled graphs."""
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
        """The least and the greatest value of finite units, for each entry where entries differ."""
        return np.min(self.states), np.max(self.states)  # type: ignore[arg-type]  # finite units have states

    @abstractmethod
    def contains(self, x: TensorVariable) -> TensorVariable:
        """Whether each entry of ``x`` belongs to a unit that has one of its values (NaN is not a value)."""

    @abstractmethod
    def log_base(self, x: TensorVariable) -> TensorVariable:
        """Return ``log base(x)`` of each entry; ``x`` must be one of the unit's values."""

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
        """Return the bias of an independent unit with the given mean; both are arrays."""

    def scaled(self, x: Any) -> Any:
        """Return the factor that stands for a state in products with biases and weights, such as x/σ²."""
        return x

    def curvature(self, x: Any) -> Any:
        """Return the 1/σ² of a quadratic log base for each entry of ``x``; the least where it depends on the value."""
        return self.scaled(pt.ones_like(x))

    def heated(self, beta: Any) -> Unit:
        """Return the units with ``base(x)`` to the power β; units whose values are not real numbers stay the same."""
        return self

    def offset(self, bias: Any) -> Any:
        """Return the term of the energy that depends on the bias alone, for each entry."""
        return zeros_like(bias)

    def level(self, mean: Any) -> Any:
        """Return where a mean lies between the extremes, from 0 to 1; one half where the values have no extremes."""
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
        raise ValueError(
            f"{text!r} is not a unit of this version of pymc_rbm: read the file with the version that wrote it."
        ) from error


def _value_of(node: Any) -> Any:
    """Return the value of a literal expression, in which unit families may be called."""
    if isinstance(node, ast.Tuple):
        return tuple(map(_value_of, node.elts))
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    family = {family.__name__: family for family in _families(Unit)}[node.func.id]  # type: ignore[attr-defined]
    return family(*map(_value_of, node.args), **{str(x.arg): _value_of(x.value) for x in node.keywords})


def _families(family: Any) -> list[Any]:
    return [family, *(x for child in family.__subclasses__() for x in _families(child))]


def floating(p: Any) -> TensorVariable:
    """Return a unit's parameter as a tensor; numbers get PyTensor's floating type (2.0 alone would become float32)."""
    return p if isinstance(p, Variable) else pt.as_tensor(np.asarray(p, dtype=pytensor.config.floatX))


def zeros_like(x: Any) -> TensorVariable:
    """Return zeros of a floating type that does not widen float32."""
    x = pt.as_tensor(x)
    return pt.zeros_like(x, dtype="float64" if x.dtype == "float64" else "float32")


def logsumexp(x: TensorVariable, axis: int = -1) -> TensorVariable:
    """Return ``log Σ exp(x)``, shifted by the maximum, so that it is stable without PyTensor's rewrites, too."""
    top = pytensor.gradient.disconnected_grad(x.max(axis=axis, keepdims=True))
    return pt.log(pt.exp(x - top).sum(axis=axis)) + top.squeeze(axis)
