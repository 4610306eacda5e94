"""What learning returns: a DataTree, its way into a file and back, and the averaged iterates."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.history import History
from pymc_rbm.learner import Learner
from pymc_rbm.moments import gradient_and_error
from pymc_rbm.objective import direct_parameters
from pymc_rbm.records import recorded_parameters, recorded_units

__all__ = ["averaged", "learned_tree", "restore", "save", "serialisable"]


def learned_tree(model: pm.Model, learner: Learner, history: History, attrs: dict[str, Any]) -> xr.DataTree:
    """Gather what `fit` returns."""
    from arviz_base import dict_to_dataset

    coords: dict[str, Any] = {name: np.asarray(values) for name, values in model.coords.items() if values is not None}
    dims = {name: list(d) for name, d in model.named_vars_to_dims.items()}
    units = {x.name: _unit_dims(model, x, dims) for x in learner.observed}

    def dataset(data, dims, sample_dims=()):
        # ArviZ would warn about more chains than draws, which is normal early in learning.
        return dict_to_dataset(data, coords=coords, dims=dims, sample_dims=list(sample_dims), check_conventions=False)

    groups: dict[str, xr.Dataset | None] = {}
    for prefix, use_average in (("", False), ("averaged_", True)):
        parameters, machines = learner.parameters(use_average)
        named = {name: recorded_parameters(name, machine, units[name]) for name, machine in machines.items()}
        families = {key: x for name, machine in machines.items() for key, x in recorded_units(name, machine).items()}
        groups[f"{prefix}parameters"] = dataset(parameters, dims)
        groups[f"{prefix}machines"] = dataset(
            {key: value for part in named.values() for key, (_, value) in part.items()},
            {key: list(d) for part in named.values() for key, (d, _) in part.items()},
        ).assign_attrs(families)
        if not use_average and learner.persistent:
            groups["gradient"] = gradient_and_error(machines, learner)
    rows = {f"{name}_rows": values for name, values in learner.some_rows().items()}
    means = {f"{x.name}_mean": x.mean for x in learner.observed}
    visible = {name: [d[0]] for name, d in units.items()}
    data_dims = {f"{name}_mean": d for name, d in visible.items()}
    data_dims |= {f"{name}_rows": [f"{name}_kept_row", *d] for name, d in visible.items()}
    groups |= {"learning": history.learning(), "data": dataset(means | rows, data_dims), "state": _state(learner)}
    if learner.persistent:
        groups["particles"] = dataset(history.particles(), {}, ("chain", "draw"))
        groups["particle_states"] = dataset(learner.particle_states(), visible, ("chain",))
        groups["particle_history"] = history.snapshots()
    tree = xr.DataTree.from_dict({name: group for name, group in groups.items() if group is not None})
    tree.attrs = {"created_by": "pymc_rbm.fit", **attrs}
    return tree


def _unit_dims(model: pm.Model, x, dims: dict) -> tuple[str, str]:
    """Names of the visible and the hidden axis."""
    hidden_bias = (*direct_parameters(model, x), None)[2]
    own = dims.get(hidden_bias.name) if hidden_bias is not None else None
    return dims[x.name][-1] if x.name in dims else f"{x.name}_unit", own[-1] if own else f"{x.name}_hidden"


def _state(learner: Learner) -> xr.Dataset:
    """What `fit` needs to go on exactly."""
    arrays = {f"state_{i}": ([f"state_{i}_dim_{k}" for k in range(x.ndim)], x) for i, x in enumerate(learner.state())}
    generator = learner.rng.bit_generator.state
    return xr.Dataset(arrays, attrs={"rng": json.dumps(generator), "names": json.dumps(learner.state_names())})


def restore(learner: Learner, learned: xr.DataTree) -> History:
    """Set ``learner`` to the state in ``learned`` and return the history so far."""
    if "state" not in learned:
        raise ValueError(f"`resume` must come from pymc_rbm.fit; this has the groups {sorted(learned.children)}.")
    state = learned["state"].to_dataset()
    rng_state = json.loads(state.attrs["rng"])
    bit_generator = getattr(np.random, rng_state["bit_generator"])()
    bit_generator.state = rng_state
    arrays = [np.asarray(state[f"state_{i}"]) for i in range(len(state.data_vars))]
    learner.restore(json.loads(state.attrs["names"]), arrays, np.random.Generator(bit_generator))
    return History.of(learned, [x.name for x in learner.observed])


def averaged(learned: xr.DataTree) -> xr.DataTree:
    """Return ``learned`` with the averaged iterates (Polyak & Juditsky 1992) in the place of the last one.

    Whatever takes ``learned`` then uses the averages: ``pmr.generative(model, pmr.averaged(learned))``. The average
    runs over the second half of learning; it has less noise where the rate did not fall to zero.
    """
    if not isinstance(learned, xr.DataTree) or "averaged_parameters" not in learned:
        raise ValueError(f"There are no averaged iterates in this {type(learned).__name__}: pass what fit returned.")
    other = learned.copy()
    for group in ("parameters", "machines"):
        other[group] = xr.DataTree(learned[f"averaged_{group}"].to_dataset())
    if "gradient" in other.children:  # that of the last iterate
        del other["gradient"]
    return other


def save(tree: xr.DataTree, path: str | Path) -> None:
    """Write ``tree`` to a netCDF file at once: a crash leaves the old file or the new one, never a part."""
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        tree.to_netcdf(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def serialisable(random_seed: Any) -> np.random.Generator:
    """A generator whose state goes into files as text; others' are arrays."""
    rng = np.random.default_rng(random_seed)
    if isinstance(rng.bit_generator, np.random.PCG64):
        return rng
    return np.random.Generator(np.random.PCG64(rng.integers(2**63)))
