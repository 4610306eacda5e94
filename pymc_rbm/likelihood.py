"""Log-likelihoods with the error of log Z, and pseudo log-likelihoods that need no log Z."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.conditional import has_rows, log_likelihood_by_row
from pymc_rbm.estimates import LogPartitionEstimate
from pymc_rbm.log_partition import finite, log_partition, visible_rows
from pymc_rbm.machine import VISIBLE, Machine, machine_of

__all__ = ["log_likelihood", "pseudo_log_likelihood"]

CHUNK_ENTRIES = 2**22


def log_likelihood(
    target: Any,
    learned: Any,
    data: Any,
    log_z: LogPartitionEstimate | float | None = None,
    *,
    name: str | None = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Return ``log p(v) = -F(v) - log Z`` for each row, and the mean with its errors.

    Parameters
    ----------
    target : Machine, RBM variable or PyMC model with one RBM
    learned : DataTree or None
        What `fit` returned, if the parameters of ``target`` are random variables.
    data : array_like or DataArray, shape (rows, visible)
    log_z : LogPartitionEstimate or float, optional
        What `log_partition` returned. Default: that of its "auto" method. Where biases differ by row, ``data`` are
        those rows, and each has its own log Z: found exactly where one side has at most 16 units, else to be given as
        an array, one a row.
    name : str, optional
        Of the variable in the group. Default: the name of ``target`` or of ``data``, else "v".
    random_seed, progressbar
        For `log_partition`, if ``log_z`` is not given.

    Returns
    -------
    DataTree
        Group ``log_likelihood``: variable ``name`` of shape (chain 1, draw 1, rows), in nats, totals over units, with
        the dims and coords of ``data``'s rows. Group ``log_z``: what is known of log Z. Group ``mean_log_likelihood``:
        ``mean`` over rows, ``error_of_rows`` (from the spread over rows), ``error_of_log_z`` (shared by all rows), and
        ``standard_error``, both together.

    Raises
    ------
    ValueError
        If the data do not fit the machine, or hold what its units cannot take.

    Warns
    -----
    UserWarning
        If log Z is not reliable, or its error, which moves all rows together, exceeds the spread of the rows, so that a
        statement about a row (how likely it is, whether it is an outlier on an absolute scale) would drown in it.
        Differences between rows of one machine do not contain log Z and stand. Differences between two machines
        contain both errors.

    Notes
    -----
    A point estimate has one "draw", for which ``az.loo`` means nothing: it needs a posterior over the weights. Where
    log Z is exact in the graph (one side of at most 16 binary units) NUTS gives one and ``pm.compute_log_likelihood``
    makes a group of the same form for ``az.loo`` and ``az.compare``. Larger machines compare by this function's mean
    on held-out rows.

    ``ais`` underestimates log Z in expectation, so that the mean is then too high in expectation; "reverse_ais" bounds
    it from the other side (see `log_partition`).
    """
    machine = machine_of(target, learned)
    name = name or getattr(target, "name", None) or getattr(data, "name", None) or "v"
    if has_rows(machine):
        values, log_z_by_row = log_likelihood_by_row(machine, data, log_z)
        return _tree(values, 0.0, name, data, xr.Dataset({"estimate": ("row", log_z_by_row)}))
    machine = finite(machine)
    if log_z is None:
        log_z = log_partition(target, learned, random_seed=random_seed, progressbar=progressbar)
    if not isinstance(log_z, LogPartitionEstimate):
        log_z = LogPartitionEstimate(_finite_number(log_z), 0.0, "given")
    rows = visible_rows(machine, data)
    values = -free_energies(machine, rows) - log_z.estimate
    _warn(log_z, _spread(values))
    return _tree(values, log_z.standard_error, name, data, log_z.to_datatree()["estimate"].to_dataset())


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _tree(values: np.ndarray, by_log_z: float, name: str, data: Any, log_z: xr.Dataset) -> xr.DataTree:
    """What `log_likelihood` returns."""
    by_rows = _spread(values) / np.sqrt(len(values))
    summary = {
        "mean": float(values.mean()),
        "error_of_rows": by_rows,
        "error_of_log_z": by_log_z,
        "standard_error": float(np.hypot(by_rows, by_log_z)),
    }
    row_dim, coords = _row_coords(data, name)
    per_row = xr.DataArray(
        values[None, None], dims=("chain", "draw", row_dim), coords={"chain": [0], "draw": [0], **coords}
    )
    tree = xr.DataTree.from_dict({
        "log_likelihood": xr.Dataset({name: per_row}),
        "mean_log_likelihood": xr.Dataset(summary),
        "log_z": log_z,
    })  # fmt: skip
    tree.attrs = {"created_by": "pymc_rbm.log_likelihood"}
    return tree


def pseudo_log_likelihood(
    target: Any,
    learned: Any,
    data: Any,
    *,
    method: str = "exact",
    random_seed: int | np.random.Generator | None = None,
) -> xr.DataArray:
    """Return ``Σ_i log p(v_i | the other visible units)`` for each row: no log Z is needed, and none is implied.

    Parameters
    ----------
    target : Machine, RBM variable or PyMC model with one RBM
        Its visible units must have finitely many states.
    learned : DataTree or None
        As in `log_likelihood`.
    data : array_like or DataArray, shape (rows, visible)
    method : {"exact", "stochastic"}
        "exact" sums over all visible units (Besag 1975). "stochastic" takes one unit a row, at random, times the
        number of units: unbiased, ``visible`` times cheaper, and far noisier.
    random_seed : int or Generator, optional
        "stochastic" only.

    Returns
    -------
    DataArray, shape (rows,)
        In nats, a total over units.

    Raises
    ------
    ValueError
        If the data do not fit the machine, or the visible units are not finite.
    """
    if method not in ("exact", "stochastic"):
        raise ValueError(f"method must be 'exact' or 'stochastic', got {method!r}.")
    machine = finite(machine_of(target, learned))
    rows = visible_rows(machine, data)
    n = machine.layers[VISIBLE].unit.count(rows.shape[1])
    conditional = _conditional_function(machine.template)
    if method == "stochastic":
        units = np.random.default_rng(random_seed).integers(n, size=len(rows))
        values = n * conditional(rows, units, *machine.parameters)
    else:
        values = sum(conditional(rows, np.full(len(rows), i), *machine.parameters) for i in range(n))
    row_dim, coords = _row_coords(data, "v")
    return xr.DataArray(values, dims=row_dim, coords=coords, name="pseudo_log_likelihood")


def _warn(log_z: LogPartitionEstimate, spread: float) -> None:
    if not log_z.reliable:
        warnings.warn(
            f"log Z is not reliable, and so no log-likelihood made with it: {log_z.reasons[0]}.", stacklevel=3
        )
    elif log_z.standard_error > max(spread, 1e-12):
        warnings.warn(
            f"The error of log Z, {log_z.standard_error:.2f} nats, exceeds the spread of the rows, {spread:.2f}: "
            "statements about single rows drown in it. Differences between rows stand. Lower target_error or raise "
            "budget in log_partition.",
            stacklevel=3,
        )


def _finite_number(log_z: Any) -> float:
    if not isinstance(log_z, int | float | np.number) or not np.isfinite(log_z):
        raise ValueError(f"log_z must be a finite number or what pymc_rbm.log_partition returned, got {log_z!r}.")
    return float(log_z)


def _row_coords(data: Any, name: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(data, xr.DataArray) or data.ndim != 2:
        return f"{name}_row", {}
    dim = str(data.dims[0])
    return dim, {str(k): x for k, x in data.coords.items() if x.dims == (dim,)}


def free_energies(machine: Machine, rows: np.ndarray) -> np.ndarray:
    function = _free_energy_function(machine.template)
    widest = max(np.size(layer.bias) for layer in machine.layers)
    pieces = np.array_split(rows, -(-len(rows) * widest // CHUNK_ENTRIES))
    return np.concatenate([function(piece, *machine.parameters) for piece in pieces])


def _symbols(template: Machine) -> tuple[Machine, TensorVariable, list[TensorVariable]]:
    machine, inputs = template.symbolic()
    return machine, pt.tensor(dtype=template.layers[VISIBLE].unit.dtype, shape=(None, None)), inputs


@lru_cache(maxsize=16)
def _free_energy_function(template: Machine):
    machine, v, inputs = _symbols(template)
    return pytensor.function([v, *inputs], machine.free_energy(v))


@lru_cache(maxsize=16)
def _conditional_function(template: Machine):
    machine, v, inputs = _symbols(template)
    unit = pt.lvector("unit")
    return pytensor.function([v, unit, *inputs], machine.log_conditional(v, unit))
