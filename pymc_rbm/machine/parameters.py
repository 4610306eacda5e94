"""Check the numbers of a machine where they are given: sizes, finiteness, symmetry.

One fault has one message. Symbolic parameters have no numbers yet and pass, and so does None: machines that the
package makes of these cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable

from pymc_rbm.machine.colouring import own_entries, unit_numbers
from pymc_rbm.machine.positions import Parameters
from pymc_rbm.support.arguments import check_not_empty, known_values, listed, shape_of
from pymc_rbm.units.unit import Unit

__all__ = [
    "check_couplings",
    "check_layer",
    "check_numbers",
    "check_unit",
    "general_size",
    "names_of",
    "restricted_sizes",
    "sizes_that_fit",
    "words_for",
]

ASYMMETRY = 1e-6
NOT_FINITE = "contains NaN or infinity, or has missing entries; the parameters of a machine must be finite numbers."
Shape = tuple[int | None, ...]
Shapes = list[Shape | None]
Pairs = list[tuple[int, int]]
WORDS: dict[tuple[int, Any], tuple[Parameters, str]] = {
    (2, ((0, 1),)): (
        Parameters(("b", "c"), ("W",)),
        "W is (visible, hidden), b is (visible,) and c is (hidden,).",
    ),
    (1, ((0, 0),)): (
        Parameters(("b",), ("U",)),
        "U is (units, units) and b is (units,). (A machine with W of shape (visible, hidden) is pymc_rbm.restricted, "
        "or pymc_rbm.RBM.)",
    ),
}
"""For numbers of layers and pairs that are coupled, what the parameters are called and what shapes they have."""


def check_unit(unit: Any, name: str, default: bool = True) -> None:
    """Refuse what is not a unit, such as its name or its class. None stands for the default, where there is one."""
    if isinstance(unit, Unit) or (unit is None and default):
        return
    if isinstance(unit, type) and issubclass(unit, Unit):
        raise TypeError(f"{name} must be a unit, got the class {unit.__name__}. Call it: pymc_rbm.{unit.__name__}(…).")
    raise TypeError(
        f"{name} must be a unit such as pymc_rbm.Bernoulli() or pymc_rbm.Gaussian(sigma), got {unit!r}, a "
        f"{type(unit).__name__}."
    )


def check_layer(unit: Unit | None, size: int | None, side: str, shape_of: Callable = np.shape) -> None:
    """Refuse a layer that is not a whole number of units, or whose units' own parameters have another length."""
    if unit is None or size is None:
        return
    unit.check_size(size, side)
    for key, p in zip(unit.parameter_names, unit.parameters, strict=True):
        shape = () if p is None or (shape_of is np.shape and isinstance(p, Variable)) else shape_of(p)
        if shape and shape[-1] not in (None, 1, size):
            raise ValueError(
                f"{key} of {type(unit).__name__} has shape {shape}, but there are {size} units on the {side} "
                f"side. Give one number for all, or {size}."
            )


def words_for(layers: int, pairs: Pairs) -> tuple[Parameters, str]:
    """Return what the weights and biases of a machine are called, and what shapes they have."""
    known = WORDS.get((layers, tuple(pairs)))
    if known is not None:
        return known
    names = Parameters(
        tuple(f"the bias of layer {i}" for i in range(layers)),
        tuple(f"the weights between layers {i} and {j}" for i, j in pairs),
    )
    return names, "Weights are (units of the first layer, units of the second), biases are (units,)."


def names_of(machine: Any) -> Parameters:
    """Return what the weights and biases of ``machine`` are called."""
    return words_for(len(machine.layers), [(c.first, c.second) for c in machine.couplings])[0]


def sizes_that_fit(biases: Shapes, weights: Shapes, pairs: Pairs) -> list[int | None]:
    """Return the sizes of the layers, or raise ValueError where shapes do not fit. None fits any size."""
    sizes = _sizes(biases, weights, pairs)
    rows = [*(x[:-1] for x in biases if x), *(x[:-2] for x in weights if x)]
    rows_fit = not any(rows) or _are_broadcast(rows)
    if sizes is not None and rows_fit:
        return sizes
    names, needed = words_for(len(biases), pairs)
    named = [(name, shape, 2) for name, shape in zip(names.weights, weights, strict=True)]
    named += [(name, shape, 1) for name, shape in zip(names.biases, biases, strict=True)]
    given = [(name, shape, ndim) for name, shape, ndim in named if shape is not None]
    shown = ", ".join(f"{name} {shape}" for name, shape, _ in given)
    if sizes is not None:
        raise ValueError(
            f"The batch axes do not fit: {shown}. {needed} Axes before these are as long for all "
            "parameters, or of length one."
        )
    for name, shape, ndim in given:
        if len(shape) < ndim:
            raise ValueError(
                f"{name} must have at least {ndim} {'axis' if ndim == 1 else 'axes'}, got shape {shape}. {needed}"
            )
        if ndim == 2:
            check_not_empty(name, shape)
    hint = "Check which of them has the wrong size."
    if pairs == [(0, 1)] and _sizes(biases, [weights[0] and (*weights[0][:-2], *weights[0][:-3:-1])], pairs):
        hint = "W looks transposed: pass W.T. (scikit-learn's components_ are (hidden, visible).)"
    raise ValueError(f"The shapes do not fit: {shown}. {needed} {hint}")


def _sizes(biases: Shapes, weights: Shapes, pairs: Pairs) -> list[int | None] | None:
    """Return the sizes of the layers as far as shapes say them; None where shapes do not fit."""
    if () in biases:
        return None
    sizes = [None if shape is None else shape[-1] for shape in biases]
    for pair, shape in zip(pairs, weights, strict=True):
        if shape is None:
            continue
        if len(shape) < 2 or 0 in shape[-2:]:
            return None
        for i, n in zip(pair, shape[-2:], strict=True):
            if None not in (n, sizes[i]) and n != sizes[i]:
                return None
            sizes[i] = n if sizes[i] is None else sizes[i]
    return sizes


def _are_broadcast(shapes: list[Any]) -> bool:
    """Whether axes of these lengths, as far as they are known, broadcast."""
    try:
        np.broadcast_shapes(*(tuple(1 if n is None else n for n in shape) for shape in shapes))
    except ValueError:
        return False
    return True


def general_size(U: Any, b: Any) -> int | None:
    """Return the number of entries; ValueError where the shapes of U and b do not fit or numbers are not finite."""
    return _checked_sizes(Parameters((b,), (U,)), [(0, 0)])[0]


def restricted_sizes(W: Any, b: Any, c: Any) -> tuple[int | None, int | None]:
    """Return (visible, hidden) sizes, or raise ValueError where shapes do not fit or numbers are not finite.

    A bias that is None fits any size.
    """
    visible, hidden = _checked_sizes(Parameters((b, c), (W,)), [(0, 1)])
    return visible, hidden


def _checked_sizes(parameters: Parameters, pairs: Pairs) -> list[int | None]:
    """Return the sizes of the layers, whatever the parameters are; the shapes of variables are inferred."""
    shapes = parameters.map(lambda x: None if x is None else shape_of(x))
    sizes = sizes_that_fit(list(shapes.biases), list(shapes.weights), pairs)
    names, _ = words_for(len(sizes), pairs)
    check_finite(names, parameters.map(lambda x: None if x is None else known_values(x)))
    return sizes


def check_finite(names: Parameters, parameters: Parameters) -> None:
    """Refuse biases and weights that are NaN, infinite or masked, where they are arrays."""
    for name, x in zip(names.weights_first(), (*parameters.weights, *parameters.biases), strict=True):
        if isinstance(x, np.ndarray) and not np.isfinite(np.ma.filled(x, np.nan) if np.ma.is_masked(x) else x).all():
            raise ValueError(f"{name} {NOT_FINITE}")


def check_numbers(machine: Any) -> None:
    """Refuse arrays that are not finite, and couplings in a layer that are not symmetric and zero inside units."""
    names = names_of(machine)
    check_finite(names, machine.by_kind)
    for name, c in zip(names.weights, machine.couplings, strict=True):
        if c.first == c.second and isinstance(c.weights, np.ndarray):
            unit, size = machine.layers[c.first].unit, c.weights.shape[-1]
            inside = own_entries(unit, size)
            check_couplings(c.weights, ~inside, False, inside, name)
            _check_classes(c.classes, c.weights, unit_numbers(unit, size))


def _check_classes(classes: Any, U: np.ndarray, number: np.ndarray) -> None:
    """Refuse classes that do not hold each whole unit once, or that hold units which are coupled."""
    if classes is None:
        return
    groups = [
        listed("classes", x, "a list of groups of entries") for x in listed("classes", classes, "a list of groups")
    ]
    entries = [i for group in groups for i in group]
    numbers = all(isinstance(i, int | np.integer) for i in entries)
    whole = (
        numbers
        and sorted(entries) == list(range(len(number)))
        and all(set(np.flatnonzero(np.isin(number, number[list(group)]))) == set(group) for group in classes)
    )
    if not whole or any(np.any(U[..., list(group), :][..., list(group)] != 0) for group in classes):
        raise ValueError(
            f"classes must hold each of the {len(number)} entries once, those of a unit together, and no two units "
            f"that are coupled, since the units of a class are updated at once; got {classes}. Leave them out: "
            "pymc_rbm.boltzmann finds them."
        )


def check_couplings(U: np.ndarray, allowed: np.ndarray, given: bool, inside: np.ndarray, name: str = "U") -> None:
    """Refuse a matrix that is not symmetric, not zero inside units or, if ``given``, not zero where not ``allowed``."""
    asymmetry = np.abs(U - np.swapaxes(U, -1, -2)).max(initial=0)
    if asymmetry > ASYMMETRY * np.abs(U).max(initial=0):
        raise ValueError(
            f"{name} must be symmetric, but {name} and its transpose differ by up to {asymmetry:.3g}. Pass "
            "(U + U.T) / 2; or, if your energy counts each pair in one triangle of U only, U + U.T."
        )
    if np.any(U[..., inside] != 0):
        raise ValueError(
            f"{name} must be zero between a unit and itself (on the diagonal, in blocks where a unit has several "
            "entries). For 0/1 units x² = x: add half of the diagonal to b. For ±1 units x² = 1, so that the "
            "diagonal only adds a constant: set it to zero."
        )
    if given and np.any(U[..., ~allowed] != 0):
        raise ValueError(
            f"{name} has couplings that are not zero where pattern is zero. Set them to zero, or leave pattern out."
        )
