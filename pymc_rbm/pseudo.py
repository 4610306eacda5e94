"""Pseudo log-likelihoods: conditionals of single units, which need no log Z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.log_partition import finite, visible_rows
from pymc_rbm.machine import VISIBLE, Machine
from pymc_rbm.remembered import remembered
from pymc_rbm.targets import machine_of

__all__ = ["pseudo_log_likelihood", "row_coords"]


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
    row_dim, coords = row_coords(data, "v")
    return xr.DataArray(values, dims=row_dim, coords=coords, name="pseudo_log_likelihood")


def row_coords(data: Any, name: str) -> tuple[str, dict[str, Any]]:
    """The dim of the rows of ``data``, and its coords."""
    if not isinstance(data, xr.DataArray) or data.ndim != 2:
        return f"{name}_row", {}
    dim = str(data.dims[0])
    return dim, {str(k): x for k, x in data.coords.items() if x.dims == (dim,)}


@remembered(16)
def _conditional_function(template: Machine):
    machine, inputs = template.symbolic()
    v, unit = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype), pt.lvector("unit")
    return pytensor.function([v, unit, *inputs], machine.log_conditional(v, unit))
