"""What learning returns: its history, the DataTree made of it, and the generative model."""

from __future__ import annotations

import time
from typing import Any

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr
from arviz_base import dict_to_dataset
from pytensor.graph.traversal import ancestors

from pymc_rbm.distributions import RBM, Hidden, machine_of_rv, rbm_of
from pymc_rbm.objective import Observed
from pymc_rbm.random_variables import RBMRV, HiddenRV

__all__ = ["History", "generative", "learned_tree"]

RHAT_DRAWS = 500
SECONDS_BETWEEN_RHATS = 1.0


class History:
    """Monitors by iteration and by epoch, as they come."""

    functionals = ("free_energy", "visible_mean", "hidden_mean")

    def __init__(self, names: list[str]):
        self.names = names
        self._iterations: list[list[np.ndarray]] = []
        self._epochs: list[list[float]] = []
        self._rhat, self._rhat_at = np.nan, time.perf_counter()

    def add(self, monitors: list[np.ndarray]) -> None:
        """Add an iteration: the learning rate, then data free energy and three particle functionals a machine."""
        self._iterations.append(monitors)

    def add_epoch(self, pseudo_log_likelihood: list[float]) -> None:
        """Add an epoch's pseudo log-likelihood, one a machine."""
        self._epochs.append(pseudo_log_likelihood)

    def _series(self, position: int, last: int = 0) -> np.ndarray:
        return np.array([row[position] for row in self._iterations[-last:]])

    @property
    def last_gap(self) -> float:
        """Free-energy gap of the last iteration, particles minus data, summed over machines."""
        row = self._iterations[-1]
        return float(sum(row[2 + 4 * i].mean() - row[1 + 4 * i] for i in range(len(self.names))))

    def monitors(self, with_rhat: bool) -> dict[str, float]:
        """What the progress bar shows. R-hat costs time, so it is renewed at most once a second."""
        if with_rhat and time.perf_counter() - self._rhat_at > SECONDS_BETWEEN_RHATS and len(self._iterations) > 20:
            chains = self._series(2, RHAT_DRAWS).T
            if len(chains) > 1:
                self._rhat = float(az.rhat(chains, chain_axis=0, draw_axis=1))
            self._rhat_at = time.perf_counter()
        return {
            "pseudo_log_likelihood": sum(self._epochs[-1]),
            "free_energy_gap": self.last_gap,
            "rhat": self._rhat,
        }

    def particles(self) -> dict[str, np.ndarray]:
        """Functionals of the persistent chains, shape (chain, draw)."""
        return {
            f"{name}_{functional}": self._series(2 + 4 * i + j).T
            for i, name in enumerate(self.names)
            for j, functional in enumerate(self.functionals)
        }

    def learning(self) -> dict[str, tuple[str, np.ndarray]]:
        """Monitors with their dimension."""
        out = {"learning_rate": ("iteration", self._series(0))}
        for i, name in enumerate(self.names):
            data, particles = self._series(1 + 4 * i), self._series(2 + 4 * i).mean(1)
            out[f"{name}_free_energy_data"] = ("iteration", data)
            out[f"{name}_free_energy_particles"] = ("iteration", particles)
            pseudo = np.array([row[i] for row in self._epochs])
            out[f"{name}_pseudo_log_likelihood"] = ("epoch", pseudo)
        return out


def learned_tree(
    model: pm.Model,
    parameters: dict[str, np.ndarray],
    history: History,
    states: dict[str, np.ndarray],
    observed: list[Observed],
    attrs: dict[str, Any],
) -> xr.DataTree:
    """Gather what `fit` returns."""
    coords: dict[str, Any] = {name: np.asarray(values) for name, values in model.coords.items() if values is not None}
    dims = {name: list(d) for name, d in model.named_vars_to_dims.items()}
    visible_dims = {x.name: [dims[x.name][-1] if x.name in dims else f"{x.name}_unit"] for x in observed}
    learning = history.learning()
    lengths = {"iteration": len(learning["learning_rate"][1]), "epoch": len(history._epochs)}

    def dataset(data, dims, sample_dims=()):
        # ArviZ would warn about more chains than draws, which is normal early in learning.
        return dict_to_dataset(data, coords=coords, dims=dims, sample_dims=list(sample_dims), check_conventions=False)

    tree = xr.DataTree.from_dict(
        {
            "parameters": dataset(parameters, dims),
            "learning": xr.Dataset(learning, coords={name: np.arange(n) for name, n in lengths.items()}),
            "particles": dataset(history.particles(), {}, ("chain", "draw")),
            "particle_states": dataset(states, visible_dims, ("chain",)),
            "data": dataset(
                {f"{x.name}_mean": x.mean for x in observed}, {f"{k}_mean": d for k, d in visible_dims.items()}
            ),
        }
    )
    tree.attrs = {"created_by": "pymc_rbm.fit", **attrs}
    return tree


def generative(model: pm.Model, learned: xr.DataTree, *, size: int | tuple[int, ...] | None = None) -> pm.Model:
    """Return the model with its parameters fixed at the estimate and its RBMs no longer observed.

    Parameters
    ----------
    model : Model
        The one that was fitted.
    learned : DataTree
        What `fit` returned.
    size : int or tuple, optional
        Batch shape of the RBM variables. Default: none, one draw is one row of the data.

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
    ValueError
        If ``learned`` lacks a parameter of the model.
    """
    values = learned["parameters"].dataset
    units = [rv for rv in model.basic_RVs if isinstance(rv.owner.op, RBMRV | HiddenRV)]
    free = [rv.name for rv in model.free_RVs if rv not in units]
    missing = [name for name in free if name not in values]
    if missing:
        raise ValueError(
            f"`learned` has no value for {missing}; its parameters are {sorted(values)}. Is it of another model?"
        )
    fixed = pm.do(model, {name: values[name].values.astype(model[name].dtype) for name in free})

    with pm.Model(coords=fixed.coords) as new:
        machines = [rv for rv in fixed.basic_RVs if isinstance(rv.owner.op, RBMRV)]
        needed = set(ancestors([p for rv in machines for p in rv.owner.inputs[2:]]))
        for x in fixed.data_vars + fixed.deterministics:
            if x in needed:
                register = new.register_data_var if x in fixed.data_vars else new.add_named_variable
                register(x, dims=fixed.named_vars_to_dims.get(x.name))
        for rv in machines:
            _add_machine(fixed, rv, size)
    return new


def _add_machine(fixed: pm.Model, rv: Any, size: int | tuple[int, ...] | None) -> None:
    op, parameters = rv.owner.op, rv.owner.inputs[2:]
    machine = machine_of_rv(rv)
    dims = fixed.named_vars_to_dims.get(rv.name)
    if dims is not None:
        dims = dims[-1:] if size is None else None
    log_z = parameters[3] if len(parameters) == 4 else None
    W, b, c = (machine.couplings[0].weights, machine.layers[0].bias, machine.layers[1].bias)
    v = RBM(rv.name, W, b, c, log_z=log_z, sweeps=op.sweeps, size=size, dims=dims)
    pm.Deterministic(f"{rv.name}_free_energy", machine.free_energy(v))
    for h in fixed.basic_RVs:
        if isinstance(h.owner.op, HiddenRV) and rbm_of(h.owner.inputs[2]) is rv:
            own = fixed.named_vars_to_dims.get(h.name)
            Hidden(h.name, v, dims=own[-1:] if own and size is None else None)
