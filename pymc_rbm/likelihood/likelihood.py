"""Find log-likelihoods of rows, with the error that log Z adds, and log-probabilities of some units given others."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.likelihood.marginals import Marginals, marginals
from pymc_rbm.likelihood.posterior import log_likelihood_of_draws
from pymc_rbm.machine.door import Data, aligned, data_of, whole
from pymc_rbm.machine.enumeration import is_enumerable, symbolic_log_partition
from pymc_rbm.machine.given import draw_by_draw, posterior_of
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.rows import has_rows, row_count
from pymc_rbm.machine.spellings import data_first
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.machine.validation import normalisable_machine, normalisable_rows
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.log_partition import log_partition
from pymc_rbm.support.arguments import finite_number, generator, whole_number
from pymc_rbm.support.interrupts import DeferredInterrupt
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.received import name_of, receive
from pymc_rbm.support.reentrant import compiled
from pymc_rbm.support.work import Work
from pymc_rbm.units.states import unit_data

__all__ = ["log_conditional", "log_likelihood", "log_likelihood_by_row"]


@data_first("log_z")
def log_likelihood(
    data: Any,
    target: Any = None,
    learned: Any = None,
    *,
    log_z: LogPartitionEstimate | float | None = None,
    name: str | None = None,
    particles: int = 100,
    budget: int = 10_000_000,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Return ``log p(v) = -F(v) - log Z`` of each row, missing entries summed out, and the mean with its errors.

    Parameters
    ----------
    data : array_like, masked array, DataArray or data frame, shape (rows, visible)
        Masked entries are missing, as is NaN in DataArrays and frames, which have no mask. A row then counts with the
        probability of what is known in it. Where data and machine name their units, names rule.
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned, optional
        Default: the model on the context stack.
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables; or a posterior over them, what
        ``pm.sample`` returned.
    log_z : LogPartitionEstimate or float, optional
        What `log_partition` returned. Default: that of its "auto" method. Where biases differ by row, ``data`` are
        those rows, and each has its own log Z: found exactly where one side has at most 16 units, else to be given as
        an array, one a row.
    name : str, optional
        Name of the variable in the group. Default: that of ``target``'s RBM or of ``data``, else "v".
    particles : int, default 100
        Annealing runs for each row in which so much is missing that it cannot be summed out exactly.
    budget : int, default 10,000,000
        At most about this many sweeps of a particle for all such rows together.
    random_seed, progressbar
        For `log_partition`, if ``log_z`` is not given, and for annealing over what is missing.

    Returns
    -------
    DataTree
        Group ``log_likelihood``: variable ``name`` of shape (chain 1, draw 1, rows), in nats, totals over units, with
        the dims and coords of ``data``'s rows. Group ``log_z``: what is known of log Z. Group ``mean_log_likelihood``:
        ``mean`` over rows, ``error_of_rows`` (from the spread over rows, the errors of annealing in it included),
        ``error_of_log_z`` (shared by all rows), and ``standard_error``, both together. Where entries are missing,
        group ``missing``: ``standard_error`` of each row (0 where the sum is exact) and whether it was ``annealed``.

    Raises
    ------
    ValueError
        If the data do not fit the machine, or have values that its units cannot have.
    KeyboardInterrupt
        Ctrl-C before all rows are done.

    Warns
    -----
    UserWarning
        If log Z is not reliable, or its error, which moves all rows together, exceeds the spread of the rows, so that a
        statement about a row (how likely it is, whether it is an outlier on an absolute scale) would drown in it; if
        annealing over missing entries has too few effective particles in some rows.
        Differences between rows of one machine do not contain log Z and stand. Differences between two machines
        contain both errors.

    Notes
    -----
    *Missing entries.* With the known entries clamped, the rest is a machine of its own, whose log Z is the wanted sum.
    Rows sum out exactly where at most 2¹⁶ states of the missing units, or of the hidden ones, have to be gone through,
    and in closed form where all are known. Other rows are annealed, each with particles of its own, from the means of
    its own clamped chains: that sum is too small in expectation, by about half the square of its standard error, in
    nats, and nothing sees a mode that no particle met.

    *A posterior over the weights*, as NUTS gives where log Z is exact in the graph (one side of at most 16 binary
    units, or 20): pass it as ``learned``, and the result holds the log-likelihood of every row under every draw, with
    that draw's own exact log Z (up to 2²⁰ states; else give ``log_z``, one number a draw), beside the posterior:
    ``az.loo(result)`` and ``az.compare({"a": result, "b": …})`` take it as it is. A point estimate has one "draw", for
    which ``az.loo`` means nothing: such machines compare by this function's mean on held-out rows.

    ``ais`` underestimates log Z in expectation, so that the mean is then too high in expectation; "reverse_ais" bounds
    it from the other side (see `log_partition`).

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted([[4.0], [4.0]], [-2.0, -2.0], [-4.0])
    >>> states = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> found = pmr.log_likelihood(states, machine, progressbar=False)["log_likelihood"]["v"]
    >>> np.exp(found.values[0, 0]).round(3), float(np.exp(found).sum().round(6))
    (array([0.395, 0.105, 0.105, 0.395]), 1.0)
    """
    of_target = "" if isinstance(target, Machine) else labels_of(target, learned).name
    name = name or of_target or name_of(data) or "v"
    labels, posterior = _labels(target, learned, name), posterior_of(learned)
    if posterior is not None:
        return log_likelihood_of_draws(target, posterior, data, log_z, labels, progressbar)
    machine = machine_of(target, learned)
    if has_rows(machine):
        normalisable_rows(machine)
        rows = data_of(data, machine.layers[VISIBLE], labels)
        values, log_z_by_row = log_likelihood_by_row(machine, rows, log_z)
        return _tree(values, 0.0, name, rows, xr.Dataset({"estimate": ("row", log_z_by_row)}))
    machine = normalisable_machine(machine)
    rows = data_of(data, machine.layers[VISIBLE], labels)  # data that do not fit are refused before the long work
    rows.keep_free("chain", "draw")
    particles, budget = whole_number("particles", particles, 2), whole_number("budget", budget, 1000)
    generator(random_seed)
    if log_z is not None and not isinstance(log_z, LogPartitionEstimate):
        log_z = LogPartitionEstimate(
            finite_number("log_z", log_z, remedy=" or what pymc_rbm.log_partition returned"), 0.0, "given"
        )
    with DeferredInterrupt() as interrupt:
        if log_z is None:
            log_z = log_partition(target, learned, random_seed=random_seed, progressbar=progressbar)
        if interrupt.pending:
            raise KeyboardInterrupt
    sums = _summed_out(machine, rows, particles, budget, random_seed, progressbar)
    values = sums.values - log_z.estimate
    _warn(log_z, _spread(values))
    tree = _tree(values, log_z.standard_error, name, rows, log_z.to_datatree()["estimate"].to_dataset())
    if rows.mask.any():
        own = {"standard_error": rows.by_row(sums.errors), "annealed": rows.by_row(sums.annealed.astype("int8"))}
        tree["missing"] = xr.DataTree(xr.Dataset(own))
    return tree


def _labels(target: Any, learned: Any, name: str) -> Labels:
    """Return what the target calls its units, with ``name`` for their variable."""
    return replace(labels_of(target, learned), name=name)


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _tree(values: np.ndarray, by_log_z: float, name: str, rows: Data, log_z: xr.Dataset) -> xr.DataTree:
    """Return the result of `log_likelihood` as a DataTree."""
    by_rows = _spread(values) / np.sqrt(len(values))
    summary = {
        "mean": float(values.mean()),
        "error_of_rows": by_rows,
        "error_of_log_z": by_log_z,
        "standard_error": float(np.hypot(by_rows, by_log_z)),
    }
    per_row = rows.by_row(values).expand_dims(chain=[0], draw=[0])
    tree = xr.DataTree.from_dict({
        "log_likelihood": xr.Dataset({name: per_row}),
        "mean_log_likelihood": xr.Dataset(summary),
        "log_z": log_z,
    })  # fmt: skip
    tree.attrs = {"created_by": "pymc_rbm.log_likelihood"}
    return tree


@data_first("units")
@draw_by_draw
def log_conditional(
    data: Any,
    target: Any = None,
    learned: Any = None,
    *,
    units: Any,
    particles: int = 100,
    budget: int = 10_000_000,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> xr.Dataset:
    """Return ``log p(v_units | the other known visible units)`` of each row, which needs no log Z.

    Parameters
    ----------
    data, target, learned, particles, budget, progressbar
        As in `log_likelihood`. Masked entries are summed out.
    units : array_like or DataArray of bool, shape (visible,), or list of names
        True for the entries, of whole units, whose probability is wanted; or their names, where the machine has any.
    random_seed : int or Generator, optional
        For annealing, where the sums are not exact.

    Returns
    -------
    Dataset
        ``log_conditional`` and ``standard_error`` (0 where exact) by row, in nats; with a posterior as ``learned``, by
        chain and draw, too.

    Raises
    ------
    ValueError
        If data or ``units`` do not fit the machine.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted([[4.0], [4.0]], [-2.0, -2.0], [-4.0])
    >>> found = pmr.log_conditional([[1, 1]], machine, units=[False, True])  # p(second | first)
    >>> float(np.exp(found["log_conditional"][0]).round(3))
    0.79
    """
    machine = normalisable_machine(machine_of(target, learned))
    labels = labels_of(target, learned)
    rows = data_of(data, machine.layers[VISIBLE], labels)
    values = np.ma.MaskedArray(rows.values, rows.mask)
    asked = _asked(units, labels, values.shape[1])
    particles, budget = whole_number("particles", particles, 2), whole_number("budget", budget, 1000)
    rng = generator(random_seed)
    hidden = np.ma.MaskedArray(values.data, values.mask | asked)
    rest = replace(rows, values=unit_data(hidden, machine.layers[VISIBLE].unit, name="units"))
    both, without = (_summed_out(machine, x, particles, budget, rng, progressbar) for x in (rows, rest))
    found = {
        "log_conditional": rows.by_row(both.values - without.values),
        "standard_error": rows.by_row(np.hypot(both.errors, without.errors)),
    }
    return xr.Dataset(found)


def _asked(units: Any, labels: Labels, size: int) -> np.ndarray:
    """Return which visible entries ``units`` names or marks; ValueError where it does neither."""
    names = np.asarray(labels.coords.get(labels.visible, ()))
    if isinstance(units, list | tuple) and units and all(isinstance(x, str) for x in units):
        unknown = [x for x in units if x not in names]
        if unknown:
            known = "the machine has no names for its units. Give"
            if len(names):
                known = f"the machine's units have the names {names.tolist()}. Use these, or give"
            raise ValueError(f"units has the names {unknown}, but {known} {size} booleans, one for each visible entry.")
        return np.isin(names, units)
    asked = aligned(receive(units, "units"), labels, "units", size).values
    if asked.dtype != bool or asked.shape != (size,) or not asked.any():
        raise ValueError(
            f"units must be {size} booleans, one for each visible entry and one at least True, or a list of names; "
            f"got {units!r}."
        )
    return asked


def _summed_out(
    machine: Machine, rows: Data, particles: int, budget: int, random_seed: Any, progressbar: bool
) -> Marginals:
    """Sum out everything but the known entries of each row; warn where the errors cannot be trusted."""
    rng = np.random.default_rng(random_seed)
    with Work(progressbar) as work:
        found = marginals(machine, np.ma.getdata(rows.values), rows.mask, particles, budget, rng, work)
    if found.uncertain:
        warnings.warn(
            f"Annealing over missing entries has too few effective particles in {found.uncertain} of {len(rows.mask)} "
            "rows, so that their values are not reliable. Raise budget or particles.",
            stacklevel=4,
        )
    return found


def _warn(log_z: LogPartitionEstimate, spread: float) -> None:
    if not log_z.reliable:
        warnings.warn(
            f"log Z is not reliable, and so the log-likelihoods are not: {log_z.reasons[0]}. Pass log_z=, from "
            "pymc_rbm.log_partition with a larger budget.",
            stacklevel=4,
        )
    elif log_z.standard_error > max(spread, 1e-12):
        warnings.warn(
            f"The error of log Z, {log_z.standard_error:.2f} nats, exceeds the spread of the rows, {spread:.2f}: "
            "the values of single rows mean little, but differences between rows can be trusted. Pass log_z=, from "
            "pymc_rbm.log_partition with a lower target_error or a larger budget.",
            stacklevel=4,
        )


def log_likelihood_by_row(machine: Machine, data: Data, log_z: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return ``log p(v_i; x_i)`` and the log Z, exact or given, of each row of a machine with numbers for parameters.

    Raises
    ------
    ValueError
        If ``data`` do not fit, or log Z is not given and no side has at most 16 units.
    """
    rows = row_count(machine)
    remedy = f"data must be {rows} whole rows, one for each row of covariates. Complete them by pymc_rbm.inpaint."
    v = whole(data, remedy=remedy)
    if len(v) != rows:
        raise ValueError(
            f"data must be {rows} whole rows, one for each row of covariates, got shape {v.shape}. For other "
            "covariates call pm.set_data in the model first."
        )
    inputs = [pt.tensor(dtype="float64", shape=np.shape(p)) for p in machine.parameters]
    inner, x = machine.with_parameters(inputs), pt.constant(np.asarray(v))
    if log_z is None and not is_enumerable(inner):
        raise ValueError(
            "Each row of this machine has its own log Z, and no side is small enough (at most 16 units) to find all "
            "exactly. Find one at a time, by pymc_rbm.log_partition(pymc_rbm.machine_of_row(target, learned, row=0)), "
            "or give them all as log_z."
        )
    outputs = [inner.free_energy(x), symbolic_log_partition(inner) if log_z is None else pt.as_tensor(log_z)]
    values = (np.asarray(p, dtype="float64") for p in machine.parameters)
    free_energy, found = compiled(inputs, outputs, on_unused_input="ignore")(*values)
    if np.shape(found) != (rows,):
        raise ValueError(
            f"log_z must have one entry for each of {rows} rows, shape ({rows},), got shape {np.shape(found)}."
        )
    return -free_energy - found, found
