"""The generative model has its parameters fixed at the estimate, and its data are no longer observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.traversal import ancestors

from pymc_rbm.distributions.base import add_named_parts
from pymc_rbm.distributions.hidden import Hidden
from pymc_rbm.distributions.lookup import machine_of_rv, named_machines, rbm_behind, rbm_of
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.distributions.resolution import values_in
from pymc_rbm.machine.given import values_of
from pymc_rbm.machine.records import recorded_names
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.support.arguments import listed, whole_number
from pymc_rbm.support.reentrant import value_of

__all__ = ["generative", "without_initial_values"]


def generative(model: pm.Model, learned: Any, *, size: int | tuple[int, ...] | None = None) -> pm.Model:
    """Return the model with its parameters fixed at the estimate and its RBMs no longer observed.

    Parameters
    ----------
    model : Model
        The model that was fitted.
    learned : DataTree or dict
        What `fit` returned, or values by name, as ``pm.find_MAP`` returns them. From a posterior over the weights take
        one draw: ``idata["posterior"].dataset.isel(chain=0, draw=0)``.
    size : int or tuple, optional
        Batch shape of the RBM variables. Default: none, one draw is one row of the data; where biases differ by
        row, all rows, each under its own covariates.

    Returns
    -------
    Model
        For ``with pmr.generative(model, learned): pm.sample()``. It contains the parameters as ``pm.Data``, each RBM
        as a free variable, its `Hidden` variables, and a Deterministic ``{name}_free_energy``. Variables that the
        RBMs do not need are left out.

    Notes
    -----
    PyMC's convergence checks look at single units. Where some are never on, they emit NumPy's "invalid value"
    warnings; pass ``compute_convergence_checks=False`` and look at the free energy.

    Raises
    ------
    TypeError
        If ``model`` is not a PyMC model.
    ValueError
        If ``learned`` lacks a parameter of the model, or is a posterior.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> with pm.Model() as model:
    ...     W = pm.Normal("W", 0, 1, shape=(4, 2))
    ...     v = pmr.RBM("v", W, np.zeros(4), np.zeros(2), observed=[[1, 1, 0, 0], [0, 0, 1, 1]])
    >>> with pmr.generative(model, {"W": np.zeros((4, 2))}) as machine:
    ...     draws = pm.draw(machine["v"], draws=3, random_seed=1)
    >>> draws.shape
    (3, 4)
    """
    if not isinstance(model, pm.Model):
        raise TypeError(
            f"generative takes the model first, then what fit returned; got a {type(model).__name__} as model: "
            "pymc_rbm.generative(model, learned)."
        )
    if size is not None:
        lengths = listed("size", size, "a whole number, or several") if hasattr(size, "__iter__") else [size]
        size = tuple(whole_number("size", n) for n in lengths)
    machines, values = named_machines(model), values_of(learned)
    theirs = recorded_names(learned) if isinstance(learned, xr.DataTree) else list(machines)
    if not machines or not set(theirs) <= set(machines):
        raise ValueError(
            f"`learned` is of another model: its RBMs are {theirs}, those of this model are {sorted(machines)}. Pass "
            "the model that was fitted."
        )
    units = [rv for rv in model.basic_RVs if rbm_behind(rv) is not None or isinstance(rv.owner.op, HiddenRV)]
    free = [rv for rv in model.free_RVs if rv not in units]
    missing = [rv.name for rv in free if rv.name not in values]
    if missing:
        raise ValueError(
            f"`learned` has no value for {missing}; its parameters are {sorted(values)}, those of another model. Pass "
            "what fit returned for this model."
        )
    ordered = values_in(model, free, learned, values)
    estimates = {rv.name: _data(rv.name, ordered[rv.name].astype(rv.dtype)) for rv in free}
    # A machine's parameters may depend on observed variables, which are fixed at their data.
    parameters = [p for rv in machines.values() for p in rv.owner.inputs[2:]]
    given = [rv for rv in model.observed_RVs if rv not in units and rv in ancestors(parameters)]
    data = value_of([model.rvs_to_values[rv] for rv in given])
    fixed = pm.do(without_initial_values(model), estimates | {rv.name: x for rv, x in zip(given, data, strict=True)})

    coords = {
        name: np.arange(int(value_of(fixed.dim_lengths[name]))) if labels is None else labels
        for name, labels in fixed.coords.items()
    }
    with pm.Model(coords=coords, model=None) as new:
        machines = named_machines(fixed)
        needed = set(ancestors([p for rv in machines.values() for p in rv.owner.inputs[2:]]))
        for x in fixed.data_vars + fixed.deterministics:
            if x in needed:
                register = new.register_data_var if x in fixed.data_vars else new.add_named_variable
                register(x, dims=fixed.named_vars_to_dims.get(x.name))
        for name, rv in machines.items():
            _add_machine(fixed, name, rv, size)
    return new


def _data(name: str, value: np.ndarray) -> Any:
    """Return a value as data of this shape, whatever is set later: shapes that are known need no compiled checks."""
    return pytensor.shared(value, name=name, shape=value.shape)


def without_initial_values(model: pm.Model) -> pm.Model:
    """Return the model without initial values: PyMC refuses to copy a model in which a prior has one."""
    other = object.__new__(type(model))
    other.__dict__.update(model.__dict__, rvs_to_initial_values=dict.fromkeys(model.rvs_to_initial_values))
    return other


def _add_machine(fixed: pm.Model, name: str, rv: Any, size: int | tuple[int, ...] | None) -> None:
    op, parameters = rv.owner.op, rv.owner.inputs[2:]
    machine = machine_of_rv(rv)
    dims = fixed.named_vars_to_dims.get(name)
    rows = has_rows(machine)  # biases that differ by row keep their rows
    if dims is not None and not (rows and size is None):
        dims = dims[-1:] if size is None else None
    known = [op.log_z(*parameters)] if op.knows_log_z else []
    rng = pt.random.shared_rng(seed=None)
    v = op(*op.arguments(machine), *known, size=size, rng=rng, return_next_rng=True)[1]
    v = pm.modelcontext(None).register_rv(v, name, dims=dims)
    add_named_parts(name, v)
    pm.Deterministic(f"{name}_free_energy", machine.free_energy(v))
    for h in fixed.basic_RVs:
        if isinstance(h.owner.op, HiddenRV) and rbm_of(h.owner.inputs[2]) is rv:
            own = fixed.named_vars_to_dims.get(h.name)
            if own is not None and not (rows and size is None):
                own = own[-1:] if size is None else None
            Hidden(h.name, v, dims=own)
