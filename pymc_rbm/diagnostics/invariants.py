"""Statistics of a posterior over weights that stay as they are when hidden units change places or signs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.diagnostics.relabelling import model_and_machine
from pymc_rbm.distributions.lookup import labels_in, named_machines
from pymc_rbm.distributions.readings import Reading, readings
from pymc_rbm.learning.data import evenly
from pymc_rbm.likelihood.marginals import free_energies
from pymc_rbm.machine.enumeration import is_enumerable
from pymc_rbm.machine.given import machines_of_draws, posterior_of
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.partition import exact
from pymc_rbm.support.labels import SIDES, Labels
from pymc_rbm.support.work import Work

__all__ = ["invariants"]

MOST_ROWS = 1000
"""The most rows of data, evenly spread, whose free energies are averaged."""
MOST_DIRECTIONS = 10


def invariants(idata: Any, target: Any = None, *, name: str | None = None) -> xr.Dataset:
    r"""Return statistics of each draw of a posterior over weights that do not depend on the order of hidden units.

    Hidden units can change places, and some can be turned, without any change of p(v) (`relabel`). R-hat and ESS of W
    then say nothing. Those of these statistics do, and need no alignment. With W of a visible and a hidden layer, and
    the middle m_j between the values of hidden unit j (1/2 for 0/1 units, 0 for spins),

    .. math::

        \text{centred\_bias}_i = b_i + \sum_j m_j W_{ij}, \qquad
        \text{weight\_norm}_i = \Bigl(\sum_j W_{ij}^2\Bigr)^{1/2}:

    a permutation only changes the order of the sums, and a unit that is turned, ``W_j -> -W_j`` with
    ``b -> b + 2 m_j W_j``, leaves both as they are. (It adds a constant to free energies and to log Z, which are
    therefore not among these statistics.)

    Parameters
    ----------
    idata : DataTree or Dataset
        What ``pm.sample`` returned, with the machine's random parameters among the draws.
    target : PyMC model or RBM variable, optional
        Default: the model on the context stack.
    name : str, optional
        Name of the RBM, where the model has several.

    Returns
    -------
    Dataset
        By ``chain`` and ``draw``: ``free_energy_spread``, the standard deviation of the free energies of the observed
        rows (of at most 1,000, evenly spread, that are complete), and ``mean_log_likelihood`` of these where one side
        has at most 2¹⁶ states, in nats; and, for a visible and a hidden layer, ``singular_value`` of W (the ten
        largest, by ``direction``), ``centred_bias`` and ``weight_norm`` by visible unit, with the names that the model
        has for them.

    Raises
    ------
    TypeError, ValueError
        If there is no posterior, or no RBM, or a random parameter of it is not among the draws, or biases differ by
        row.

    Notes
    -----
    These are statistics of p(v). The posterior need not have the symmetry: where binary units are turned, a prior of b
    that is not flat weighs the two forms differently, and chains that stay in one of them each can then disagree in
    ``centred_bias``, rightly.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model() as model:
    ...     W = pm.Normal("W", 0, 1, shape=(4, 2))
    ...     v = pmr.RBM("v", W, pm.Flat("b", shape=4), pm.Flat("c", shape=2), observed=[[0, 0, 1, 1], [1, 1, 0, 0]])
    ...     draws = pm.sample(20, tune=20, chains=2, progressbar=False, random_seed=1, compute_convergence_checks=False)
    >>> found = pmr.invariants(draws, model)
    >>> found["mean_log_likelihood"].sizes["draw"]
    20
    """
    posterior = posterior_of(idata)
    if posterior is None:
        raise TypeError(
            f"invariants needs draws of a posterior over weights, got {type(idata).__name__}. Pass what pm.sample "
            "returned."
        )
    model, rv = model_and_machine(target, name, "invariants")
    rows, labels = (None, None) if model is None else _data_and_labels(model, rv)
    found: dict[str, list[Any]] = {}
    with Work(False) as work:
        for machine in machines_of_draws(rv, posterior):
            if has_rows(machine):
                raise ValueError(
                    "The biases of this machine differ by row, so that each row has a machine of its own. Look at the "
                    "parameters behind them."
                )
            for key, x in _of_machine(machine, rows, work).items():
                found.setdefault(key, []).append(x)
    dim = (labels.visible if labels else "") or SIDES[VISIBLE]
    size = posterior.sizes["chain"], posterior.sizes["draw"]
    dims = {"singular_value": ["direction"], "centred_bias": [dim], "weight_norm": [dim]}
    values = {
        key: (["chain", "draw", *dims.get(key, [])], np.reshape(x, (*size, *np.shape(x[0]))))
        for key, x in found.items()
    }
    coords: dict[str, Any] = {key: posterior[key].values for key in ("chain", "draw")}
    if labels and "centred_bias" in found and len(labels.coords.get(dim, ())) == len(found["centred_bias"][0]):
        coords[dim] = labels.coords[dim]
    return xr.Dataset(values, coords)


def _data_and_labels(model: pm.Model, rv: Any) -> tuple[np.ndarray | None, Labels]:
    """Return complete rows of the data of the RBM, None where it is not observed, and the names of its units."""
    name = next(name for name, known in named_machines(model).items() if known is rv)
    return _rows({x.name: reading for x, reading in readings(model).items()}, name), labels_in(model, name)


def _rows(given: dict[str, Reading], name: str) -> np.ndarray | None:
    reading = next((given[x] for x in (name, f"{name}_observed") if x in given), None)
    if reading is None:
        return None
    states = np.atleast_2d(reading.read())
    whole = np.flatnonzero(~np.ma.getmaskarray(states).any(1))
    if not len(whole):
        return None
    return np.ma.getdata(states)[whole[evenly(len(whole), MOST_ROWS)]]


def _of_machine(machine: Machine, rows: np.ndarray | None, work: Work) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rows is not None and machine.others_sum_out(VISIBLE):
        energies = free_energies(machine, rows)
        found["free_energy_spread"] = energies.std()
        if is_enumerable(machine):
            found["mean_log_likelihood"] = -energies.mean() - exact.log_z(machine, work, is_part=False)
    if len(machine.layers) == 2 and len(machine.couplings) == 1:
        W, hidden = np.asarray(machine.couplings[0].weights), machine.layers[HIDDEN]
        middle = np.broadcast_to(hidden.unit.middle, np.shape(hidden.bias))
        found["singular_value"] = np.linalg.svd(W, compute_uv=False)[:MOST_DIRECTIONS]
        found["centred_bias"] = machine.layers[VISIBLE].bias + W @ middle
        found["weight_norm"] = np.sqrt((W**2).sum(1))
    return found
