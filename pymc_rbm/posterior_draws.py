"""Log-likelihoods under every draw of a posterior over the parameters, in the form that ``az.loo`` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.conditional import has_rows
from pymc_rbm.enumeration import cheapest_layer
from pymc_rbm.given import machines_of_draws
from pymc_rbm.log_partition import QUICKLY_ENUMERATED_STATES, enumerated, finite, visible_rows
from pymc_rbm.machine import Machine
from pymc_rbm.marginals import free_energies
from pymc_rbm.pseudo import row_coords
from pymc_rbm.work import Work

__all__ = ["log_likelihood_of_draws"]


def log_likelihood_of_draws(
    target: Any, posterior: xr.Dataset, data: Any, log_z: Any, name: str, progressbar: bool
) -> xr.DataTree:
    """Return what `log_likelihood` says of a posterior.

    Raises
    ------
    ValueError
        If entries are missing, biases differ by row, or log Z is neither given, one a draw, nor quick to enumerate.
    """
    if np.ma.is_masked(data):
        raise ValueError("Under a posterior, data must have no missing entries: impute them as a part of the model.")
    size = posterior.sizes["chain"], posterior.sizes["draw"]
    given = None if log_z is None else np.asarray(log_z, dtype="float64")
    if given is not None and given.shape != size:
        raise ValueError(f"log_z must have one entry for each of {size} chains and draws, got shape {given.shape}.")
    rows, values, found = None, [], np.empty(size[0] * size[1])
    with Work(progressbar) as work:
        for i, machine in enumerate(machines_of_draws(target, posterior)):
            if work.interrupted:
                raise KeyboardInterrupt
            machine = _checked(machine, given is None)
            found[i] = enumerated(machine, work) if given is None else given.flat[i]
            rows = visible_rows(machine, data) if rows is None else rows
            values.append(-free_energies(machine, rows) - found[i])
    row_dim, coords = row_coords(data, name)
    by_draw = {"chain": posterior.chain, "draw": posterior.draw}
    per_row = xr.DataArray(
        np.reshape(values, (*size, -1)), dims=("chain", "draw", row_dim), coords={**by_draw, **coords}
    )
    tree = xr.DataTree.from_dict({
        "posterior": posterior,
        "log_likelihood": xr.Dataset({name: per_row}),
        "mean_log_likelihood": xr.Dataset({"mean": per_row.mean(row_dim)}),
        "log_z": xr.Dataset({"estimate": (("chain", "draw"), found.reshape(size))}, coords=by_draw),
    })  # fmt: skip
    tree.attrs = {"created_by": "pymc_rbm.log_likelihood"}
    return tree


def _checked(machine: Machine, exact: bool) -> Machine:
    if has_rows(machine):
        raise ValueError("Biases that differ by row under a posterior: use pm.compute_log_likelihood.")
    machine = finite(machine)
    if exact and cheapest_layer(machine)[1] > QUICKLY_ENUMERATED_STATES:
        raise ValueError(
            "Every draw has a log Z of its own, and no side is small enough (at most 20 binary units) to find them "
            "exactly. Give log_z, one number a draw, from pymc_rbm.log_partition."
        )
    return machine
