"""Find log-likelihoods under every draw of a posterior over the parameters, in the form that ``az.loo`` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.likelihood.marginals import free_energies, marginals
from pymc_rbm.machine.door import Data, data_of
from pymc_rbm.machine.enumeration import cheapest_layer
from pymc_rbm.machine.given import machines_of_draws
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.machine.validation import normalisable_machine
from pymc_rbm.partition import exact
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.work import Work

__all__ = ["log_likelihood_of_draws"]


def log_likelihood_of_draws(
    target: Any, posterior: xr.Dataset, data: Any, log_z: Any, labels: Labels, progressbar: bool
) -> xr.DataTree:
    """Return log-likelihoods of rows under every draw of a posterior, with missing entries summed out exactly.

    Raises
    ------
    ValueError
        If too many entries are missing to be summed out exactly, biases differ by row, or log Z is neither given, one a
        draw, nor quick to enumerate.
    """
    size = posterior.sizes["chain"], posterior.sizes["draw"]
    given = None if log_z is None else np.asarray(log_z, dtype="float64")
    if given is not None and given.shape != size:
        raise ValueError(f"log_z must have one entry for each chain and draw, shape {size}, got shape {given.shape}.")
    check_memory(
        2 * 8 * size[0] * size[1] * len(data),
        f"Keeping log-likelihoods of {len(data):,} rows under {size[0] * size[1]:,} draws",
        "Take every tenth draw, posterior.isel(draw=slice(None, None, 10)), or fewer rows.",
    )
    rows, values, found = None, [], np.empty(size[0] * size[1])
    with Work(progressbar) as work:
        for i, machine in enumerate(machines_of_draws(target, posterior)):
            if work.interrupted:
                raise KeyboardInterrupt
            machine = _checked(machine, given is None)
            found[i] = exact.log_z(machine, work, is_part=False) if given is None else given.flat[i]
            rows = data_of(data, machine.layers[VISIBLE], labels) if rows is None else rows
            values.append(_summed_out(machine, rows, work) - found[i])
    assert rows is not None
    by_draw = {"chain": posterior.chain, "draw": posterior.draw}
    per_row = xr.DataArray(
        np.reshape(values, (*size, -1)), dims=("chain", "draw", *rows.rows), coords={**by_draw, **rows.row_coords}
    )
    tree = xr.DataTree.from_dict({
        "posterior": posterior,
        "log_likelihood": xr.Dataset({labels.name: per_row}),
        "mean_log_likelihood": xr.Dataset({"mean": per_row.mean(rows.rows)}),
        "log_z": xr.Dataset({"estimate": (("chain", "draw"), found.reshape(size))}, coords=by_draw),
    })  # fmt: skip
    tree.attrs = {"created_by": "pymc_rbm.log_likelihood"}
    return tree


def _summed_out(machine: Machine, rows: Data, work: Work) -> np.ndarray:
    """Return ``-F`` of the known entries of each row, everything else summed out exactly."""
    if not rows.mask.any():
        return -free_energies(machine, np.ma.getdata(rows.values))
    return marginals(machine, np.ma.getdata(rows.values), rows.mask, None, 0, np.random.default_rng(0), work).values


def _checked(machine: Machine, sums: bool) -> Machine:
    if has_rows(machine):
        raise ValueError(
            "The biases of this machine differ by row, and log_likelihood does not take a posterior for such machines. "
            "Use pm.compute_log_likelihood."
        )
    machine = normalisable_machine(machine)
    if sums and cheapest_layer(machine)[1] > exact.QUICKLY_ENUMERATED_STATES:
        raise ValueError(
            "Every draw has a log Z of its own, and no side is small enough (at most 20 binary units) to find them "
            "exactly. Give log_z, one number for each draw, from pymc_rbm.log_partition."
        )
    return machine
