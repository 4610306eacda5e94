"""What `diagnose` looks at: chains of one machine, from draws or from a learning run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.functionals import FUNCTIONALS, functionals, numeric
from pymc_rbm.machine import VISIBLE, Machine
from pymc_rbm.records import recorded_machine
from pymc_rbm.reentrant import value_of
from pymc_rbm.targets import check_alone, machine_of

__all__ = ["Watched", "machine_behind", "name_of_run", "watch_draws"]


@dataclass(frozen=True)
class Watched:
    """Chains of one machine.

    Attributes
    ----------
    name : str
        Of the visible variable.
    machine : Machine or None
    functionals : dict
        (chain, draw) or (chain, draw, direction), as many as could be had.
    states : ndarray or None, shape (chain, draw, visible)
    last : ndarray or None, shape (chain, visible)
    sweeps : int or None
        Per draw.
    """

    name: str
    machine: Machine | None
    functionals: dict[str, np.ndarray]
    states: np.ndarray | None
    last: np.ndarray | None
    sweeps: int | None


def machine_behind(idata: xr.DataTree, target: Any, learned: Any, name: str | None) -> Machine | None:
    """The machine of ``target``, else the one recorded in ``idata``, else that of the model on the context stack."""
    if learned is None and "parameters" in idata:
        learned = idata
    if isinstance(target, xr.DataTree):
        return numeric(recorded_machine(target, name=name))
    if target is not None:
        check_alone(target, "diagnose")
        return numeric(machine_of(target, learned))
    if "machines" in idata:
        return numeric(recorded_machine(idata, name=name))
    if learned is not None and "machines" in learned:
        return numeric(recorded_machine(learned, name=name))
    model = pm.Model.get_context(error_if_none=False)
    if model is None:
        return None
    check_alone(model, "diagnose")
    try:
        return numeric(machine_of(model if name is None else model[name], learned))
    except (ValueError, KeyError):  # an unrelated model may be on the stack: then there is none
        return None


def _only(names: list[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise ValueError(f"Which machine? name must be one of {names}, got {name!r}.")
    return name


def name_of_run(learned: xr.DataTree, name: str | None) -> str:
    """The name of the RBM in what `fit` returned."""
    return _only([str(x).removesuffix("_mean") for x in learned["data"].data_vars if str(x).endswith("_mean")], name)


def watch_draws(idata: xr.DataTree, machine: Machine | None, name: str | None) -> Watched:
    """Find the draws of a machine's visible units, or what was recorded of them.

    Raises
    ------
    ValueError
        If there are none, or several.
    """
    posterior = idata["posterior"].dataset
    size = None if machine is None else len(machine.layers[VISIBLE].bias)
    kinds = "iu" if machine is None else np.dtype(machine.layers[VISIBLE].unit.dtype).kind
    names = [str(key) for key, x in posterior.items() if _are_states(x, size, kinds)]
    names = [
        x for x in names if x.removesuffix("_projection") not in set(names) - {x}
    ]  # two real units look like theirs
    if name is None and len(names) > 1:
        raise ValueError(f"Which variable holds the visible states? name must be one of {names}.")
    if name is None:
        name = names[0] if names else _name_of_records(posterior, size)
    sweeps = _sweeps(idata)
    if name in names:
        x = posterior[name].transpose("chain", "draw", ...).values
        states = np.moveaxis(x, 1, -2).reshape(-1, x.shape[1], x.shape[-1])  # rows of a batch are chains, too
        if machine is not None:
            _check_states(machine, name, states)
        found = _recorded_functionals(idata, name) if machine is None else functionals(machine, states)
        return Watched(name, machine, found or {"visible_mean": states.mean(-1)}, states, states[:, -1], sweeps)
    found = _recorded_functionals(idata, name)
    if not found:
        raise ValueError(f"name must be a variable of integer states, one of {names}, got {name!r}.")
    last = np.asarray(idata["last_states"][name]) if "last_states" in idata else None
    return Watched(name, machine, found, None, last, sweeps)


def _are_states(x: xr.DataArray, size: int | None, kinds: str) -> bool:
    return {"chain", "draw"} <= set(x.dims) and x.dtype.kind in kinds and x.ndim > 2 and size in (None, x.shape[-1])


def _check_states(machine: Machine, name: str, states: np.ndarray) -> None:
    unit = machine.layers[VISIBLE].unit
    inside = value_of(unit.contains(pt.as_tensor(states)))
    if not inside.all():
        shown = np.unique(states[~inside])[:3]
        raise ValueError(f"{name} must contain only {unit.support}, got other entries, such as {shown}.")


def _name_of_records(posterior: xr.Dataset, size: int | None) -> str:
    names = [str(key).removesuffix("_free_energy") for key in posterior if str(key).endswith("_free_energy")]
    if len(names) == 1:
        return names[0]
    shapes = {str(key): x.shape for key, x in posterior.items()}
    units = "" if size is None else f" of {size} units"
    raise ValueError(
        f"There are no visible states{units} among the draws: expected an integer variable with dims (chain, draw, "
        f"unit), got {shapes}. A variable that is partly observed is not drawn from the machine, but from a "
        "conditional of it: `diagnose` needs draws of all visible units."
    )


def _recorded_functionals(idata: xr.DataTree, name: str) -> dict[str, np.ndarray]:
    """Functionals that `sample_gibbs`, `generative` or BlockGibbs recorded."""
    posterior = idata["posterior"].dataset
    found = {key: posterior[f"{name}_{key}"].values for key in FUNCTIONALS if f"{name}_{key}" in posterior}
    statistics = idata["sample_stats"].dataset if "sample_stats" in idata else {}
    for key in FUNCTIONALS:
        if key not in found and key in statistics and np.isfinite(statistics[key]).all():
            found[key] = statistics[key].values
    return {key: x for key, x in found.items() if x.ndim == (3 if key == "projection" else 2)}


def _sweeps(idata: xr.DataTree) -> int | None:
    if "sample_stats" in idata and "sweeps" in idata["sample_stats"].data_vars:
        return int(np.ravel(idata["sample_stats"]["sweeps"])[0])
    return int(idata.attrs["sweeps"]) if "sweeps" in idata.attrs else None
