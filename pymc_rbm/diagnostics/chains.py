"""Collect the chains of one machine that `diagnose` examines, from draws or from a learning run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.machine.given import check_values
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.records import recorded_labels, recorded_machine, recorded_names
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.machine.targets import check_alone, machine_of
from pymc_rbm.machine.validation import check_pair, normalisable_machine, normalisable_rows
from pymc_rbm.sampling.observables import FUNCTIONALS, functionals
from pymc_rbm.support.labels import alike
from pymc_rbm.units.states import unit_data

__all__ = [
    "Watched",
    "joined_or_part",
    "machine_behind",
    "name_of_run",
    "states_among",
    "sweeps_of",
    "watch_draws",
    "watch_states",
]


@dataclass(frozen=True)
class Watched:
    """Chains of one machine, as they are examined.

    Attributes
    ----------
    name : str
        Name of the visible variable.
    machine : Machine or None
    functionals : dict
        The available functionals, of shape (chain, draw) or (chain, draw, direction), by name.
    states : ndarray or None, shape (chain, draw, visible)
    last : ndarray or None, shape (chain, visible)
    sweeps : int or None
        Sweeps per draw; lifts, where the chains swap along a ladder.
    laddered : bool
        Whether the chains swap along a ladder.
    """

    name: str
    machine: Machine | None
    functionals: dict[str, np.ndarray]
    states: np.ndarray | None
    last: np.ndarray | None
    sweeps: int | None
    laddered: bool = False


def machine_behind(idata: xr.DataTree, target: Any, learned: Any, name: str | None) -> Machine | None:
    """Return the machine of ``target``, else the one recorded in ``idata``, else that of the model on the stack.

    As `normalisable_machine` returns it, but where biases differ by row: then it is one machine a row.
    """
    machine = _machine_behind(idata, target, learned, name)
    if machine is None:
        return None
    _check_of_machine(idata)
    checked = (normalisable_rows if has_rows(machine) else normalisable_machine)(check_pair(machine))
    return replace(checked, labels=machine.labels)


def _machine_behind(idata: xr.DataTree, target: Any, learned: Any, name: str | None) -> Machine | None:
    if learned is not None:
        check_values(learned)
    if learned is None and "parameters" in idata:
        learned = idata
    if isinstance(target, xr.DataTree):
        return recorded_machine(target, name=name)
    if target is not None:
        check_alone(target, "diagnose")
        return _in_order_of_run(machine_of(target, learned), idata, learned, name)
    if "machines" in idata:
        return recorded_machine(idata, name=name)
    if learned is not None and "machines" in learned:
        return recorded_machine(learned, name=name)
    model = pm.Model.get_context(error_if_none=False)
    if model is None:
        return None
    check_alone(model, "diagnose")
    try:
        return machine_of(model if name is None else model[name], learned)
    except (ValueError, KeyError):  # the model on the stack may be unrelated
        return None


def _in_order_of_run(machine: Machine, idata: xr.DataTree, learned: Any, name: str | None) -> Machine:
    """Return the machine with its units in the order that a learning run recorded, if its own order differs."""
    names = recorded_names(idata) if "learning" in idata else []
    if machine.labels is None or not names:
        return machine
    if alike(recorded_labels(idata, name or names[0]), machine.labels, "units of the learning run", "the model"):
        return machine
    if learned is not idata:
        raise ValueError(
            "The learning run has its units in another order than the model: pass the model that was fitted, or leave "
            "`learned` out."
        )
    return recorded_machine(idata, name=name)


def _check_of_machine(idata: xr.DataTree) -> None:
    """Refuse draws of a model in which other terms depended on the units, however the machine was given."""
    statistics = idata["sample_stats"].dataset if "sample_stats" in idata else {}
    if "dependants" in statistics and (statistics["dependants"] > 0).any():
        raise ValueError(
            f"diagnose compares draws with a machine, but in the model of these draws "
            f"{int(statistics['dependants'].max())} terms depended on the units: these are draws of a posterior. Look "
            "at ArviZ's R-hat and ESS of runs from different starts, or at `diagnose(draws)` without a machine."
        )


def _only(names: list[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise ValueError(f"name must be the name of a machine, one of {names}, got {name!r}.")
    return name


def name_of_run(learned: xr.DataTree, name: str | None) -> str:
    """Return the name of the RBM in what `fit` returned."""
    return _only([str(x).removesuffix("_mean") for x in learned["data"].data_vars if str(x).endswith("_mean")], name)


def states_among(idata: xr.DataTree, machine: Machine | None, name: str | None) -> tuple[str, xr.DataArray | None]:
    """Return the name of the visible variable, and its draws, dims (chain, draw, …, unit), or None without draws.

    Raises
    ------
    ValueError
        If there are neither draws nor records of one variable, or entries are not states of the machine.
    """
    if "posterior" not in idata.children:
        raise ValueError(f"There is no group 'posterior' among {sorted(idata.children)}: pass the draws of a machine.")
    posterior = idata["posterior"].dataset
    size = None if machine is None else np.shape(machine.layers[VISIBLE].bias)[-1]
    kinds = "iu" if machine is None else np.dtype(machine.layers[VISIBLE].unit.dtype).kind
    names = [str(key) for key, x in posterior.items() if _are_states(x, size, kinds)]
    others = {x for key in names for x in (f"{key}_projection", joined_or_part(posterior, key))}
    names = [x for x in names if x not in others]  # draws of two real units look like their projections
    if name is None and len(names) > 1:
        raise ValueError(f"Several variables may hold the visible states: pass name=, one of {names}.")
    if name is None:
        name = names[0] if names else _name_of_records(posterior, size)
    if name not in names:
        if not _recorded_functionals(idata, name):
            raise ValueError(f"name must be a variable of states, one of {names}, got {name!r}.")
        return name, None
    states = posterior[name].transpose("chain", "draw", ...)
    if machine is not None:
        unit_data(states.values, machine.layers[VISIBLE].unit, name=name)
    return name, states


def joined_or_part(posterior: xr.Dataset, name: str) -> str:
    """Return which of the two variables that PyMC makes of a masked one does not have rows of a machine's units.

    Where whole rows are masked, ``{name}_unobserved`` has these rows. Where single entries are masked, it is a list of
    them, and the rows are those of ``name``, which joins observed and unobserved entries.
    """
    part = f"{name}_unobserved"
    if part not in posterior:
        return ""
    whole = posterior[part].ndim == posterior[name].ndim and posterior[part].shape[-1] == posterior[name].shape[-1]
    return name if whole else part


def watch_draws(idata: xr.DataTree, machine: Machine | None, name: str | None) -> Watched:
    """Return the draws of a machine's visible units, or recorded functionals of them, as chains to examine."""
    name, found = states_among(idata, machine, name)
    sweeps = sweeps_of(idata)
    if found is not None:
        x = found.values
        states = np.moveaxis(x, 1, -2).reshape(-1, x.shape[1], x.shape[-1])  # each row of a batch is a chain, too
        return watch_states(name, machine, states, sweeps, _recorded_functionals(idata, name))
    recorded = _recorded_functionals(idata, name)
    last = np.asarray(idata["last_states"][name]) if "last_states" in idata else None
    return Watched(name, machine, recorded, None, last, sweeps)


def watch_states(
    name: str, machine: Machine | None, states: np.ndarray, sweeps: int | None, recorded: dict[str, np.ndarray]
) -> Watched:
    """Return states of shape (chain, draw, visible) as chains to examine; without a machine, recorded functionals."""
    found = recorded if machine is None else functionals(machine, states)
    return Watched(name, machine, found or {"visible_mean": states.mean(-1)}, states, states[:, -1], sweeps)


def _are_states(x: xr.DataArray, size: int | None, kinds: str) -> bool:
    return {"chain", "draw"} <= set(x.dims) and x.dtype.kind in kinds and x.ndim > 2 and size in (None, x.shape[-1])


def _name_of_records(posterior: xr.Dataset, size: int | None) -> str:
    names = [str(key).removesuffix("_free_energy") for key in posterior if str(key).endswith("_free_energy")]
    if len(names) == 1:
        return names[0]
    shapes = {str(key): x.shape for key, x in posterior.items()}
    units = "" if size is None else f" of {size} units"
    raise ValueError(
        f"There are no visible states{units} among the draws: expected an integer variable with dims (chain, draw, "
        f"unit), got {shapes}. Of a masked variable keep the one that joins observed and unobserved entries: "
        "its rows are diagnosed one by one. A posterior over the weights has no states: relabel its hidden units "
        "(pymc_rbm.relabel) and look at ArviZ's R-hat of the weights."
    )


def _recorded_functionals(idata: xr.DataTree, name: str) -> dict[str, np.ndarray]:
    """Return the functionals that `sample_gibbs`, `generative` or BlockGibbs recorded."""
    posterior = idata["posterior"].dataset
    found = {key: posterior[f"{name}_{key}"].values for key in FUNCTIONALS if f"{name}_{key}" in posterior}
    statistics = idata["sample_stats"].dataset if "sample_stats" in idata else {}
    for key in FUNCTIONALS:
        if key not in found and key in statistics and np.isfinite(statistics[key]).all():
            found[key] = statistics[key].values
    return {key: x for key, x in found.items() if x.ndim == (3 if key == "projection" else 2)}


def sweeps_of(idata: xr.DataTree) -> int | None:
    """Return the number of sweeps for each draw; None where it was not recorded."""
    if "sample_stats" in idata and "sweeps" in idata["sample_stats"].data_vars:
        return int(np.ravel(idata["sample_stats"]["sweeps"])[0])
    return int(idata.attrs["sweeps"]) if "sweeps" in idata.attrs else None
