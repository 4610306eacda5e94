"""The result of learning is a DataTree that can be written, read and resumed, with averaged iterates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.learning.batches import Within
from pymc_rbm.learning.gradient_error import gradient_and_error
from pymc_rbm.learning.history import History
from pymc_rbm.learning.objective import direct_parameters
from pymc_rbm.learning.penalties import moved, recorded_objective
from pymc_rbm.learning.update import Learner
from pymc_rbm.machine.records import recorded, recorded_machine, recorded_names
from pymc_rbm.support.generators import as_text, generator_of

__all__ = ["averaged", "learned_tree", "restore"]


def learned_tree(
    model: pm.Model,
    learner: Learner,
    history: History,
    attrs: dict[str, Any],
    within: Within | None,
    marks: dict[str, str],
    *,
    gradient: bool = True,
) -> xr.DataTree:
    """Return the result of `fit` as a DataTree; without ``gradient`` it lacks the groups gradient and objective."""
    from arviz_base import dict_to_dataset

    coords: dict[str, Any] = {name: np.asarray(values) for name, values in model.coords.items() if values is not None}
    dims = {name: list(d) for name, d in model.named_vars_to_dims.items()}
    units = {x.name: _unit_dims(model, x, dims) for x in learner.observed}

    def dataset(data, dims, sample_dims=()):
        # ArviZ would warn of more chains than draws, which are normal early in learning.
        return dict_to_dataset(data, coords=coords, dims=dims, sample_dims=list(sample_dims), check_conventions=False)

    groups: dict[str, xr.Dataset | None] = {}
    for prefix, use_average in (("", False), ("averaged_", True)):
        parameters, machines = learner.parameters(use_average)
        groups[f"{prefix}parameters"] = dataset(parameters, dims)
        groups[f"{prefix}machines"] = recorded(machines, units, coords)
        if gradient and not use_average:
            groups["objective"] = recorded_objective(model, learner, machines)
            if learner.persistent:
                groups["gradient"] = gradient_and_error(machines, learner)
    rows = {f"{name}_rows": values for name, values in learner.some_rows().items()}
    means = {f"{x.name}_mean": x.mean for x in learner.observed}
    visible = {name: [d[0]] for name, d in units.items()}
    data_dims = {f"{name}_mean": d for name, d in visible.items()}
    data_dims |= {f"{name}_rows": [f"{name}_kept_row", *d] for name, d in visible.items()}
    about_rows, dims_about = _about_rows(learner, visible)
    groups |= {
        "learning": history.learning(),
        "data": dataset(means | rows | about_rows, data_dims | dims_about),
        "state": _state(learner, within, marks),
    }
    if learner.trajectories:
        groups["ladder"] = _ladders(learner)
    if learner.persistent:
        groups["particles"] = dataset(history.particles(), {}, ("chain", "draw"))
        groups["particle_states"] = dataset(learner.particle_states(), visible, ("chain",))
        groups["particle_history"] = history.snapshots()
    tree = xr.DataTree.from_dict({name: group for name, group in groups.items() if group is not None})
    tree.attrs = {"created_by": "pymc_rbm.fit", **attrs}
    return tree


def _unit_dims(model: pm.Model, x, dims: dict) -> tuple[str, str]:
    """Return the names of the visible and the hidden axis."""
    hidden_bias = (*direct_parameters(model, x), None)[2]
    own = dims.get(hidden_bias.name) if hidden_bias is not None else None
    return dims[x.name][-1] if x.name in dims else f"{x.name}_unit", own[-1] if own else f"{x.name}_hidden"


def _about_rows(learner: Learner, visible: dict[str, list[str]]) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Return weights of the kept rows, if they differ, which of their entries are missing, and the dims of both."""
    found, dims = {}, {}
    for x in learner.observed:
        if (x.weights != x.weights[0]).any():
            found[f"{x.name}_row_weights"] = x.weights[x.kept]
            dims[f"{x.name}_row_weights"] = [f"{x.name}_kept_row"]
        if x.missing is not None:
            found[f"{x.name}_missing"] = x.missing[x.kept].astype("int8")
            dims[f"{x.name}_missing"] = [f"{x.name}_kept_row", *visible[x.name]]
    return found, dims


def _state(learner: Learner, within: Within | None, marks: dict[str, str]) -> xr.Dataset:
    """Return the state with which `fit` goes on exactly, and the hashes by which it recognises data and model."""
    kept = learner.own_state()  # ladders have a group of their own
    arrays = {f"state_{i}": ([f"state_{i}_dim_{k}" for k in range(x.ndim)], x) for i, x in enumerate(kept.values())}
    attrs: dict[str, Any] = {
        "rng": as_text(learner.rng.bit_generator.state),
        "names": json.dumps(list(kept)),
        "marks": json.dumps(marks),
    }
    if within is not None:
        attrs |= {"epoch_rng": as_text(within.began), "epoch_iterations": within.iterations}
    return xr.Dataset(arrays, attrs=attrs)


def _ladders(learner: Learner) -> xr.Dataset:
    """Return the ladders that particles swapped along, and log Z of their tops where it was found."""
    found = xr.Dataset()
    for trajectory in learner.trajectories:
        name = trajectory.name
        for key, x in trajectory.state().items():
            by_rung = [f"{name}_rung"] * (not key.endswith(("trips", "counts", "rejected")))
            found[key] = [*by_rung, *(f"{key}_dim_{k}" for k in range(len(by_rung), x.ndim))], x
        if trajectory.log_z is not None:
            log_z = trajectory.log_z.to_datatree()["estimate"].to_dataset()
            own = {str(x): f"{name}_log_z_{x}" for x in (*log_z.data_vars, *log_z.dims)}
            found = found.merge(log_z.rename(own).drop_attrs())
            found.attrs |= {f"{name}_log_z_{key}": value for key, value in log_z.attrs.items()}
    return found


def restore(learner: Learner, learned: xr.DataTree) -> tuple[History, Within | None, dict[str, str] | None]:
    """Set ``learner`` to the state in ``learned``.

    Returns
    -------
    history : History
        The history so far.
    within : Within or None
        The place within an epoch where learning was left; None if at the end of one.
    marks : dict or None
        Hashes of the run's data and model; None if the file's version of pymc_rbm recorded none.
    """
    state = learned["state"].to_dataset()
    try:
        arrays = [np.asarray(state[f"state_{i}"]) for i in range(len(state.data_vars))]
        names, marks = (json.loads(state.attrs.get(key, "null")) for key in ("names", "marks"))
        rng, within = generator_of(state.attrs["rng"]), None
        if "epoch_rng" in state.attrs:
            began = generator_of(state.attrs["epoch_rng"]).bit_generator.state
            within = Within(began, int(state.attrs["epoch_iterations"]))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"The group `state` of `resume` is damaged: {error!r}. Begin anew without resume, from its "
            "parameters by start=."
        ) from error
    ladders = learned["ladder"].to_dataset() if learner.trajectories and "ladder" in learned else {}
    own = tuple(f"{trajectory.name}_ladder_" for trajectory in learner.trajectories)
    values = dict(zip(names, arrays, strict=True)) | {k: x.values for k, x in ladders.items() if str(k).startswith(own)}
    learner.restore(values, rng)
    return History.of(learned, [x.name for x in learner.observed]), within, marks


def averaged(learned: xr.DataTree) -> xr.DataTree:
    """Return ``learned`` with the averaged iterates (Polyak & Juditsky 1992) in the place of what `fit` returned.

    Whatever takes ``learned`` then uses the averages: ``pmr.generative(model, pmr.averaged(learned))``. The average
    runs over the second half of learning, of which the k-th iterate counts as k³ (polynomial-decay averaging: Shamir &
    Zhang 2013, ICML): it has less noise than the last iterate, which follows that of the particles in directions such
    as the weights of modes, and is a fifteenth of the last half's way behind where the rate falls to zero.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 2)), pm.Flat("b", shape=9), pm.Flat("c", shape=2)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="pcd", random_seed=1, progressbar=False)
    >>> mean = pmr.averaged(learned)
    >>> bool((mean["parameters"]["W"] == learned["averaged_parameters"]["W"]).all())
    True
    """
    if not isinstance(learned, xr.DataTree):
        raise TypeError(
            f"averaged takes the DataTree that pymc_rbm.fit returned, got {type(learned).__name__}: {learned!r:.100}. "
            "Read a file with xarray.open_datatree(path).load()."
        )
    if "averaged_parameters" not in learned:
        raise ValueError(
            "averaged takes what pymc_rbm.fit returned, with the group 'averaged_parameters', got a DataTree with "
            f"the groups {sorted(learned.children)}. Pass the whole result of fit."
        )
    other = learned.copy()
    for group in ("parameters", "machines"):
        other[group] = xr.DataTree(learned[f"averaged_{group}"].to_dataset())
    if "objective" in other.children:
        pairs = {x: (recorded_machine(learned, name=x), recorded_machine(other, name=x)) for x in recorded_names(other)}
        other["objective"] = xr.DataTree(moved(learned, pairs))
    if "gradient" in other.children:  # it is that of the last iterate
        del other["gradient"]
    return other
