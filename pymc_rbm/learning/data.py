"""Collect the data that a model's RBMs are learned from: rows, missing entries, and how much each row counts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import dependants, labels_in, machine_of_rv, named_machines, rbm_behind
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.distributions.pymc_internals import discrete_types
from pymc_rbm.distributions.readings import Reading, readings
from pymc_rbm.learning.patterns import Patterns
from pymc_rbm.machine.enumeration import cheapest_layer, widest_layer
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.normalisable import is_gaussian
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.support.arguments import shape_of
from pymc_rbm.support.labels import Labels, positions
from pymc_rbm.support.received import receive

__all__ = ["Observed", "evenly", "in_pieces", "learned_variables", "observed_machines", "shrunk_means"]

MOST_ROWS, MOST_JUDGED = 1000, 2**17
KEPT_BYTES = 2**22
PIECE = 2**22
"""How many entries become numbers of eight bytes at once."""


def in_pieces(indices: np.ndarray, columns: int) -> list[np.ndarray]:
    """Return indices of rows in pieces of about `PIECE` entries."""
    size = max(1, PIECE // columns)
    return np.split(indices, range(size, len(indices), size))


def evenly(n: int, most: int) -> np.ndarray:
    """Return indices of at most ``most`` of ``n`` rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(most, n)).astype(int))


@dataclass(frozen=True)
class Observed:
    """An observed RBM of a model: its variable, its machine (symbolic) and its data."""

    name: str
    rv: TensorVariable
    machine: Machine
    rows: np.ndarray
    """The data, shape (rows, visible), with zeros where entries are missing."""
    missing: np.ndarray | None
    """A mask of the same shape, True where an entry is missing; None if nothing is missing."""
    weights: np.ndarray
    """How much each row counts, shape (rows,)."""

    @property
    def by_row(self) -> bool:
        """Whether biases differ by row."""
        return has_rows(self.machine)

    @property
    def units(self) -> int:
        """The number of visible units."""
        return self.machine.layers[VISIBLE].unit.count(self.rows.shape[1])

    @property
    def spread(self) -> np.ndarray:
        """Indices of at most `MOST_ROWS` rows, evenly spread."""
        return evenly(len(self.rows), MOST_ROWS)

    @property
    def judged(self) -> np.ndarray:
        """Indices of at most `MOST_JUDGED` rows, evenly spread: what is measured when learning ends goes through these.

        The mean of a number over so many rows has an error of a 360th of its deviation.
        """
        return evenly(len(self.rows), MOST_JUDGED)

    @property
    def kept(self) -> np.ndarray:
        """Indices of the rows that the result of `fit` keeps, evenly spread; all rows of up to 4 MB."""
        return evenly(len(self.rows), max(MOST_ROWS, KEPT_BYTES // max(1, self.rows[0].nbytes)))

    def at_means(self, indices: np.ndarray) -> np.ndarray:
        """Return some rows as numbers of eight bytes; what is missing stands at its mean."""
        rows = self.rows[indices].astype("float64")
        return rows if self.missing is None else np.where(self.missing[indices], self.mean, rows)

    @cached_property
    def deviation(self) -> np.ndarray:
        """Standard deviations of the known entries by column, one where these are constant."""
        known = np.ones(self.rows.shape, bool) if self.missing is None else ~self.missing
        counts = np.maximum(known.sum(0), 1)
        mean, squares = self.rows.sum(0, dtype="float64") / counts, 0.0  # missing entries hold zeros
        for part in in_pieces(np.arange(len(self.rows)), self.rows.shape[1]):
            squares += (known[part] * (self.rows[part] - mean) ** 2).sum(0)
        deviation = np.sqrt(squares / counts)
        return np.where(deviation > 0, deviation, 1.0)

    @cached_property
    def patterns(self) -> Patterns | None:
        """The different rows, for exact sums; None where rows with missing entries have too many completions."""
        unit = self.machine.layers[VISIBLE].unit
        if self.by_row:
            return Patterns(self.rows, self.weights) if self.missing is None else None
        return Patterns.of(unit, self.rows, self.weights, self.missing)

    @property
    def entries_of_states(self) -> float:
        """The number of entries of all states that an exact log Z sums over; none where it has a formula."""
        if is_gaussian(self.machine):
            return 0
        return cheapest_layer(self.machine)[1] * widest_layer(self.machine) * (len(self.rows) if self.by_row else 1)

    @cached_property
    def mean(self) -> np.ndarray:
        """Means of the known entries, shrunk to `Unit.middle` by one pseudo-row so that no unit is certain."""
        return shrunk_means(self, self.machine.layers[VISIBLE].unit.middle, 1.0)

    @property
    def bias(self) -> np.ndarray:
        """Biases of independent units with the data's means, log-odds for binary ones."""
        return self.machine.layers[VISIBLE].unit.bias_of_mean(self.mean)


def shrunk_means(x: Observed, middle: Any, by: float) -> np.ndarray:
    """Return means of the known entries, with ``by`` rows more at ``middle``."""
    # einsum casts piece by piece, because a float copy of all rows may not fit into memory.
    counts = x.weights.sum() if x.missing is None else np.einsum("i,ij->j", x.weights, ~x.missing)
    return (np.einsum("i,ij->j", x.weights, x.rows) + by * middle) / (counts + by)  # missing entries hold zeros


def observed_machines(model: pm.Model, row_weights: Any = None) -> list[Observed]:
    """Return the observed RBMs of ``model``; ValueError where something stands in the way of learning them."""
    for rv in model.free_RVs:
        _check_free(model, rv)
    variables = named_machines(model)
    observed = {
        name: value_rv
        for name, rv in variables.items()
        for value_rv in model.observed_RVs
        if value_rv.name in (name, f"{name}_observed") and rbm_behind(value_rv) is not None
    }
    if not observed:
        raise ValueError("fit found no observed RBM in the model: pass observed= to pymc_rbm.RBM.")
    if not learned_variables(model):
        raise ValueError(
            "There is nothing to learn: the model has no free continuous variable. Give W, b and c priors; pm.Flat is "
            "plain maximum likelihood."
        )
    by_name = row_weights if isinstance(row_weights, dict) else dict.fromkeys(observed, row_weights)
    unknown = set(by_name) - set(observed)
    if unknown:
        raise ValueError(f"row_weights has the names {sorted(unknown)}, but the observed RBMs are {sorted(observed)}.")
    given = readings(model)
    for rv in set(given) - set(observed.values()):  # hidden units
        given[rv].read()
    return [_observed(model, name, rv, given[rv], by_name.get(name)) for name, rv in observed.items()]


def learned_variables(model: pm.Model) -> list[TensorVariable]:
    """Return the value variables that learning moves: all continuous ones, except units, which may be Gaussian."""
    units = [rv for rv in model.free_RVs if rbm_behind(rv) is not None or isinstance(rv.owner.op, HiddenRV)]
    return [x for x in model.continuous_value_vars if model.values_to_rvs[x] not in units]


def _check_free(model: pm.Model, rv: TensorVariable) -> None:
    """Refuse free discrete variables, except RBMs and hidden units on which nothing else depends: these sum out."""
    is_hidden = isinstance(rv.owner.op, HiddenRV)
    if not is_hidden and rbm_behind(rv) is None:
        if rv.dtype not in discrete_types:
            return
        raise ValueError(
            f"fit needs continuous parameters, but {rv.name} is free and discrete. Observe it, fix it by pm.do, or "
            "leave it out."
        )
    units = [] if is_hidden else [x for x in model.free_RVs if isinstance(x.owner.op, HiddenRV)]
    ignored = [x.name for x in dependants(model, rv) if x not in units]
    if ignored:
        kind = "hidden units" if is_hidden else "free units"
        raise ValueError(
            f"fit sums the {kind} {rv.name} out, but {ignored} depend on them. Learn without these, and then sample "
            "with them: build the model with the learned numbers for W, b and c, and call pm.sample. (With at most 16 "
            "units on one side, or 20 binary ones, log Z is exact, and pm.sample can draw W, b and c together with "
            "them instead.)"
        )


def _observed(model: pm.Model, name: str, rv: TensorVariable, given: Reading, weights: Any) -> Observed:
    behind: Any = rbm_behind(rv)
    if behind.owner.op.knows_log_z:
        raise ValueError(f"{name} was given log_z, but log Z changes while its weights are learned: leave log_z out.")
    machine = machine_of_rv(behind)
    states, missing = given.read(), None
    if np.ma.isMaskedArray(states):
        missing = np.atleast_2d(np.ma.getmaskarray(states))
        _warn_of_unseen(name, np.flatnonzero(missing.all(0)), labels_in(model, name))
    rows = np.atleast_2d(np.ma.getdata(states)).astype(behind.dtype, copy=False)
    if rows.ndim > 2 or not rows.size:
        raise ValueError(f"fit needs the data of {name} as (rows, visible) with at least one row, got {rows.shape}.")
    _check_batch_axes(name, machine, len(rows))
    return Observed(name, behind, machine, rows, missing, _weights(model, name, weights, len(rows)))


def _warn_of_unseen(name: str, unseen: np.ndarray, labels: Labels) -> None:
    """Warn of items that no row knows. Units without names may be meant as hidden ones, in general machines."""
    names = labels.coords.get(labels.visible)
    if len(unseen) and names is not None:
        warnings.warn(
            f"{np.asarray(names)[unseen].tolist()} of {name!r} are missing in all rows, so that nothing is learned "
            "about them. Leave them out.",
            stacklevel=5,
        )


def _check_batch_axes(name: str, machine: Machine, rows: int) -> None:
    """Refuse batch axes, except biases that differ by row, one for each row of the data."""
    given = machine.by_kind
    has_rows = given.map(lambda p, n: pt.as_tensor(p).ndim != n, given.core_ndims)
    if any((*has_rows.weights, *has_rows.own)):
        shapes = [shape_of(p) for p in (*given.weights, *given.own)]
        raise ValueError(
            f"The weights and the units' own parameters of {name} have shapes {shapes}. fit learns machines whose rows "
            "share them; only the biases may differ by row, as in b = b0 + X @ A."
        )
    shapes = [shape_of(p) for p in given.biases]
    if any(len(s) > 2 or (len(s) == 2 and s[0] not in (None, rows)) for s in shapes):
        raise ValueError(
            f"The biases of {name} have shapes {shapes}, but its data have {rows} rows. Give one bias for each unit, "
            "or one for each row and unit."
        )


def _weights(model: pm.Model, name: str, weights: Any, rows: int) -> np.ndarray:
    """Return the weights of rows, in the order of the model's names of these where both have names."""
    if weights is None:
        return np.ones(rows)
    argument = f"row_weights of {name}"
    try:
        got = receive(weights, argument)
    except (TypeError, ValueError):
        raise ValueError(f"{argument} must be {rows} finite numbers, one a row, got {weights!r}.") from None
    values = np.ma.filled(got.values.astype("float64"), np.nan)
    if values.shape != (rows,) or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"{argument} must be {rows} finite numbers of at least 0, not all 0, one a row; got shape "
            f"{values.shape}, from {values.min(initial=np.inf):g} to {values.max(initial=-np.inf):g}."
        )
    dim = next(iter((model.named_vars_to_dims.get(name) or ())[:-1][-1:]), None)
    wanted = None if dim is None else model.coords.get(dim)
    if wanted is None or not got.labels or got.labels[0] is None:
        return values
    order = positions(got.labels[0], wanted, argument, f"{name} along {dim!r}")
    return values if order is None else values[order]
