"""Other terms of a log-density act on the units of a layer by exact fields, or by derivatives for a proposal.

Let ``D(x)`` be the log-density of everything that depends on the layer ``x`` but is not its machine. Given the other
layers the units then follow ``exp(field·x + log base(x) + D(x))``. Where ``D(x) = Σ_i g_i(x_i) + const`` and a unit's
states are affinely independent (two values; one-hot), each ``g_i`` is a linear function of its states, so that D only
shifts the field: the block's conditional stays exact. Otherwise a proposal needs the slope of D, and for real units its
curvature, or its Hessian where D joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import NullTypeGradError
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import graph_replace, vectorize_graph
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors, io_toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar.basic import Cast
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.step_methods.proofs import affine_in, axes_of, gathered, is_affine
from pymc_rbm.support.reentrant import one_compiles
from pymc_rbm.units.unit import Unit

__all__ = [
    "MOST_ENTRIES",
    "Effect",
    "by_unit",
    "exact_offset",
    "is_quadratic",
    "log_density_by_entry",
    "log_density_by_row",
    "slope_and_curvature",
    "slope_and_hessian",
    "without_checks",
]

NO_DERIVATIVE = NotImplementedError, NullTypeGradError, TypeError, ValueError
"""The exceptions that PyTensor raises where there is no derivative."""

MOST_ENTRIES = 4_000_000
"""The most entries that the Hessians of a step may have."""

IMPOSSIBLE = -1e5
"""The log-density, relative to a unit's best state, that stands for -inf, so that fields stay finite."""


@dataclass(frozen=True)
class Effect:
    """Graphs of the states of the layers, with the other variables that they read, which a loop must not draw anew."""

    layers: tuple[Variable, ...]
    outputs: tuple[TensorVariable, ...]

    @property
    def given(self) -> list[Variable]:
        """Variables that the graphs read and that do not depend on the layers."""
        moving, read = set(self.layers), list[Variable](self.outputs)
        for node in io_toposort(self.layers, self.outputs):
            if moving & set(node.inputs):
                moving.update(node.outputs)
                read += node.inputs
        given = dict[Variable, None]()
        while read:
            v = read.pop()
            if v in moving or isinstance(v, Constant):
                continue
            if isinstance(v, TensorVariable):
                given[v] = None
            else:  # scans take tensors, of which scalars in indices and checks are made
                read += v.owner.inputs
        return list(given)

    def __call__(self, state: Sequence[Any], given: dict[Variable, Variable] | None = None) -> list[TensorVariable]:
        """Return the outputs at a state, with other variables for those `given`."""
        replacements = {x: new for x, new in zip(self.layers, state, strict=True) if new is not None}
        return graph_replace(list(self.outputs), {**(given or {}), **replacements}, strict=False)


def without_checks(terms: Sequence[TensorVariable]) -> list[TensorVariable]:
    """Return the terms without PyMC's checks of their parameters, which join the entries that they check."""
    nodes = {v.owner for v in ancestors(terms) if v.owner is not None and isinstance(v.owner.op, CheckAndRaise)}
    # Inner checks are replaced first, so that nested ones vanish, too.
    replacements: dict[Variable, Variable] = {}
    for node in io_toposort([], terms):
        if node in nodes:
            replacements[node.outputs[0]] = graph_replace(node.inputs[0], replacements, strict=False)
    return graph_replace(list(terms), replacements, strict=False)


def log_density_by_row(
    x: TensorVariable, terms: Sequence[TensorVariable], rows: Callable[[], Sequence[np.ndarray] | None] | None = None
) -> TensorVariable:
    """Return D with one value a row of ``x`` where each row has its own share of it, and their sum otherwise.

    Where the axes of terms do not tell, ``rows`` returns the row that each entry of each term reads (`belonging`).
    """
    known = axes_of(x, list(terms))
    batch = [known[term][:-1] if term in known else (None,) * (x.ndim - 1) for term in terms]
    if not any(None in axes for axes in batch):
        return sum(gathered(term, axes) for term, axes in zip(terms, batch, strict=True))
    found = rows() if rows is not None and x.ndim > 1 else None
    if found is None:
        return sum(term.sum() for term in terms)
    shape = [x.shape[i] for i in range(x.ndim - 1)]
    total = pt.zeros(pt.prod(shape), dtype="float64")
    for term, row in zip(terms, found, strict=True):
        row = pt.broadcast_to(row, term.shape).ravel()
        total = total[pt.maximum(row, 0)].inc(pt.where(pt.ge(row, 0), term.ravel(), 0.0))
    return total.reshape(shape)


def log_density_by_entry(x: TensorVariable, terms: Sequence[TensorVariable]) -> TensorVariable | None:
    """Return D by entry of ``x``, up to a constant, or None where D is not proved to be a sum over entries.

    ``D = a + Σ_k (weights_k · e_k(x)).sum()``, where entry i of ``e_k`` reads entry i of x only (`affine_in`).
    """
    total = sum(term.sum() for term in terms)
    parts = affine_in(x, total)
    if not parts:
        return None
    stand_ins = {e: pt.tensor(dtype="float64", shape=e.type.shape) for e in parts}
    try:
        weights = pt.grad(_on_floats(total, stand_ins), list(stand_ins.values()), disconnected_inputs="ignore")
        weights = graph_replace(weights, {new: e.astype("float64") for e, new in stand_ins.items()}, strict=False)
    except NO_DERIVATIVE:
        return None
    return sum(spread(w * e) for w, (e, spread) in zip(weights, parts.items(), strict=True))


def exact_offset(x: TensorVariable, terms: Sequence[TensorVariable], unit: Unit) -> TensorVariable | None:
    """Return what D adds to the field of each entry of ``x``, or None where D is not proved to be a sum over units.

    One evaluation of `log_density_by_entry` with *all* units in the state s gives every ``g_i(s)``. If the rows of S
    are the states minus their average, the field that gives g up to a constant is ``S⁺ g`` (Moore-Penrose inverse).
    """
    families = [(_independent(family), size) for family, size in unit.parts(None)]
    if any(states is None for states, _ in families):
        return None
    by_entry = log_density_by_entry(x, terms)
    if by_entry is None:
        return None

    def table(s: np.ndarray, where: slice) -> TensorVariable:
        """Return ``g_i(s)`` for all units i of one family."""
        some = x[..., where]
        alike = x[..., where].set(pt.as_tensor(s.astype(x.dtype))[pt.arange(some.shape[-1]) % len(s)])
        return by_unit(graph_replace(by_entry, {x: alike}, strict=False)[..., where], len(s))

    offsets, start = [], 0
    for states, size in families:
        assert states is not None
        where = slice(start, None if size is None else start + size)
        g = pt.stack([table(s, where) for s in states], axis=-1)
        g = pt.where(pt.isnan(g), -np.inf, g)  # parameters that are forbidden give NaN
        best = g.max(-1, keepdims=True)
        g = pt.maximum(g - pt.where(pt.isinf(best), 0.0, best), IMPOSSIBLE)
        field = pt.dot(g, np.linalg.pinv(states - states.mean(0)).T)
        offsets.append(field.reshape((*(x.shape[i] for i in range(x.ndim - 1)), -1)))
        start += size or 0
    return pt.concatenate(offsets, axis=-1)


def _independent(family: Unit) -> np.ndarray | None:
    """Return the states of a unit, one a row, if they are affinely independent; otherwise None."""
    if family.states is None:
        return None
    states = np.asarray(family.states, dtype="float64").reshape(-1, family.width)
    return states if np.linalg.matrix_rank(states - states.mean(0)) == len(states) - 1 else None


def slope_and_curvature(
    x: TensorVariable, terms: Sequence[TensorVariable], unit: Unit
) -> tuple[TensorVariable, TensorVariable]:
    """Return ∂D/∂x on a copy of ``x`` that is real, and ``max(0, -∂²D/∂x_i²)`` where D is a sum over real units.

    They are zero where there is no derivative: a proposal may use any numbers, and only its acceptance suffers.
    """
    zeros = pt.zeros_like(x, dtype="float64")
    real = pt.tensor(dtype="float64", shape=x.type.shape)
    total = sum(term.sum() for term in without_checks(terms))
    curvature = zeros
    try:
        slope = pt.grad(_on_floats(total, {x: real}), real, disconnected_inputs="ignore")
        if unit.quadratic and affine_in(x, total):  # then the Hessian is diagonal
            curvature = -pt.grad(slope.sum(), real, disconnected_inputs="ignore")
    except NO_DERIVATIVE:
        return zeros, zeros
    slope, curvature = graph_replace([slope, curvature], {real: x.astype("float64")}, strict=False)
    return _where_finite(slope), pt.maximum(_where_finite(curvature), 0.0)


def slope_and_hessian(
    x: TensorVariable, terms: Sequence[TensorVariable], shape: tuple[int, ...], apart: bool
) -> tuple[TensorVariable, TensorVariable] | None:
    """Return ∂D/∂x and minus the Hessian, one a row where rows are ``apart``, otherwise one for all entries.

    The columns are Hessian-vector products, side by side. The result is None where there are no derivatives, or more
    than `MOST_ENTRIES` of them.
    """
    n = shape[-1] if apart else int(np.prod(shape))
    if n * np.prod(shape) > MOST_ENTRIES:
        return None
    real, along = (pt.tensor(dtype="float64", shape=x.type.shape) for _ in range(2))
    try:
        total = _on_floats(sum(term.sum() for term in without_checks(terms)), {x: real})
        slope = pt.grad(total, real, disconnected_inputs="ignore")
        column = pt.grad((slope * along).sum(), real, disconnected_inputs="ignore")
        each = np.eye(n).reshape((n, *[1] * (len(shape) - 1), n) if apart else (n, *shape))
        columns = vectorize_graph(column, {along: pt.as_tensor(np.broadcast_to(each, (n, *shape)))})
    except NO_DERIVATIVE:
        return None
    if columns.ndim == x.ndim:  # the slope does not depend on x
        columns = pt.zeros((n, *shape))
    hessian = pt.moveaxis(columns, 0, -1) if apart else columns.reshape((n, n))
    slope, hessian = graph_replace([slope, -hessian], {real: x.astype("float64")}, strict=False)
    return _where_finite(slope), _where_finite(hessian)


def is_quadratic(x: TensorVariable, terms: Sequence[TensorVariable]) -> bool:
    """Whether the graph proves that D is a polynomial of degree two at most, whose slope is affine in x."""
    real = pt.tensor(dtype="float64", shape=x.type.shape)
    try:
        total = _on_floats(sum(term.sum() for term in without_checks(terms)), {x: real})
        slope = pt.grad(total, real, disconnected_inputs="ignore")
    except NO_DERIVATIVE:
        return False
    with one_compiles():
        simple = rewrite_graph(slope, include=("canonicalize",))
    return is_affine(real, simple)


def _where_finite(x: TensorVariable) -> TensorVariable:
    return pt.where(pt.isnan(x) | pt.isinf(x), 0.0, x)


def by_unit(x: TensorVariable, width: int) -> TensorVariable:
    """Sum over the entries of each unit."""
    return x.reshape((*(x.shape[i] for i in range(x.ndim - 1)), -1, width)).sum(-1)


def _on_floats(output: TensorVariable, replacements: dict[Variable, Variable]) -> TensorVariable:
    """Return ``output`` with real variables for discrete ones, without casts to whole numbers in between."""
    new = dict(replacements)
    for node in io_toposort(list(replacements), [output]):
        if node.outputs[0] in new or not any(v in new for v in node.inputs):
            continue
        inputs = [new.get(v, v) for v in node.inputs]
        op = node.op
        if isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast) and "float" not in node.outputs[0].dtype:
            new[node.outputs[0]] = inputs[0]
            continue
        if isinstance(op, Sum):
            op = Sum(axis=op.axis)
        new.update(zip(node.outputs, op.make_node(*inputs).outputs, strict=True))
    return new.get(output, output)
