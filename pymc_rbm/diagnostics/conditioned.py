"""Collect draws in which each row has a machine of its own, because units are observed or biases differ by row.

Rows of a masked variable condition on the units that are observed, and where biases differ by row each has its own.
Given its clamped units, the rest of a row is drawn from a machine again (`clamping`), which is the same for rows with
the same clamped values: their chains can be compared, chains of other rows cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched, joined_or_part, states_among, sweeps_of, watch_states
from pymc_rbm.distributions.lookup import held_entries
from pymc_rbm.likelihood.clamping import clamped
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.rows import has_rows, machine_of_rows
from pymc_rbm.machine.validation import check_pair, normalisable_machine
from pymc_rbm.sampling.observables import functionals
from pymc_rbm.support.convergence import RHAT, convergence

__all__ = ["rows_apart", "watch_rows"]

ENOUGH_CHAINS = 4
"""With this many chains for each row, chance hardly puts all of one row into one mode, and all of another into
another."""


def watch_rows(idata: xr.DataTree, machine: Machine | None, name: str | None, target: Any) -> list[Watched] | None:
    """Return chains to examine, by rows that are machines of their own; None where all rows are of one free machine.

    Raises
    ------
    ValueError
        If it cannot be seen which units are clamped, or none is free, or the biases are those of other rows.
    """
    name, x = states_among(idata, machine, name)
    if x is None:
        return None
    states = x.values.reshape(*x.shape[:2], -1, x.shape[-1])
    biases = [] if machine is None else [np.shape(layer.bias) for layer in machine.layers]
    own = max((shape[0] for shape in biases if len(shape) > 1), default=0)
    held = _held(idata, name, x, target)
    if held is None and not own:
        return None
    held = np.zeros(states.shape[2:], bool) if held is None else held.reshape(states.shape[2:])
    if own not in (0, 1, len(held)):
        raise ValueError(
            f"The biases of {name} differ by row, for {own} rows, but the draws have {len(held)} rows. Pass the "
            "model that was sampled."
        )
    found = list(_watched(name, machine, states, held, own, sweeps_of(idata)))
    if not found:
        raise ValueError(f"All units of {name} are observed, so that nothing was drawn: diagnose other variables.")
    return found


def rows_apart(idata: xr.DataTree, machine: Machine | None, name: str | None) -> bool:
    """Return whether the chains of each row agree with each other, where those of all rows together do not."""
    name, x = states_among(idata, machine, name)
    if machine is None or x is None or x.ndim < 4 or x.sizes["chain"] < ENOUGH_CHAINS:
        return False
    states = x.values.reshape(*x.shape[:2], -1, x.shape[-1])
    rows = states.shape[2]
    tables = [convergence(functionals(machine, states[:, :, i]), among=rows) for i in range(rows)]
    return all(bool((t["rhat"].fillna(1) <= np.fmax(RHAT, t["rhat_by_chance"])).all()) for t in tables)


def _watched(
    name: str, machine: Machine | None, states: np.ndarray, held: np.ndarray, own: int, sweeps: int | None
) -> Iterator[Watched]:
    """Yield the draws of rows with the same clamped values, as chains of the machine of their free units."""
    groups: dict[Any, list[int]] = {}
    for i in np.flatnonzero(~held.all(1)):
        values = states[0, 0, i][held[i]]
        groups.setdefault((held[i].tobytes(), values.tobytes(), int(i) if own > 1 else 0), []).append(int(i))
    for rows in groups.values():
        free = ~held[rows[0]]
        left = None if machine is None else _left(machine, states[0, 0, rows[0]], free, rows[0] if own > 1 else 0)
        chains = np.moveaxis(states[:, :, rows][..., free], 2, 1).reshape(-1, states.shape[1], free.sum())
        shown = f"row {rows[0]}" if len(rows) == 1 else f"rows {', '.join(map(str, rows[:3]))}{', …' * (len(rows) > 3)}"
        yield watch_states(f"{name}, {shown}", left, chains, sweeps, {})


def _left(machine: Machine, row: np.ndarray, free: np.ndarray, index: int) -> Machine:
    """Return the machine of the free units of a row."""
    machine = normalisable_machine(machine_of_rows(machine, index) if has_rows(machine) else machine)
    left = machine if free.all() else machine_of_rows(clamped(machine, row[None], free).machine, 0)
    return normalisable_machine(check_pair(left))


def _held(idata: xr.DataTree, name: str, x: xr.DataArray, target: Any) -> np.ndarray | None:
    """Return which entries of each row are observed, or None where all are drawn.

    PyMC's draws of a masked variable have its free entries in a variable of their own, and `inpaint` records what was
    missing. The model says which entries are observed; without it they are those that never change.
    """
    posterior, part = idata["posterior"].dataset, f"{name}_unobserved"
    if "mean" in idata and f"{name}_missing" in idata["mean"].dataset:
        return ~idata["mean"].dataset[f"{name}_missing"].values
    if joined_or_part(posterior, name) != part:
        return None
    free = posterior[part].shape[-1]
    held = held_entries(target, name, free)
    if held is not None and held.shape == x.shape[2:] and (~held).sum() == free:
        return held
    constant = np.ptp(x.values, axis=(0, 1)) == 0
    if constant.sum() != constant.size - free:
        raise ValueError(
            f"Of {constant.size} entries of {name} {constant.sum()} never change, but {constant.size - free} are "
            "observed: the draws alone do not say which. Pass the model that was sampled as `target`."
        )
    return constant
