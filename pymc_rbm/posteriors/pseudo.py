"""A model with the pseudo-likelihood in the place of the likelihood: for comparison, and for a first look."""

from __future__ import annotations

from typing import Any

import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import machine_of_rv
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.posteriors.copies import checked_model, chosen_machines, with_log_z
from pymc_rbm.sampling.conditionals import log_conditional

__all__ = ["pseudo_likelihood"]


def pseudo_likelihood(model: pm.Model, *, names: Any = None) -> pm.Model:
    r"""Return the model with pseudo-likelihoods of its observed machines in the place of likelihoods.

    The density of a row is ``Σ_i log p(v_i | the other visible units)`` (Besag 1975 [1]_), which needs no log Z. Its
    mode is consistent. Its *posterior is not one*: each row counts as often as it has units, as if the conditionals
    were independent, so that standard deviations come out too small and evidence too large. Of six items, 355 people
    and 15 couplings they are .65 to .84 of the true ones. `anchored` has the likelihood itself.

    Parameters
    ----------
    model : Model
    names : str or sequence of str, optional
        The machines. Default: all of the model.

    Returns
    -------
    Model
        The same model, with the same names, dims and coords.

    Raises
    ------
    ValueError
        If a machine is not observed, has missing entries, was given log_z, has biases that differ by row, or visible
        units with infinitely many states.
    TypeError
        If ``model`` is not a PyMC model.

    References
    ----------
    .. [1] Besag, J. (1975). Statistical analysis of non-lattice data. The Statistician 24, 179-195.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> rows = np.random.default_rng(1).integers(0, 2, (50, 4))
    >>> with pm.Model() as model:
    ...     v = pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 1)), np.zeros(4), np.zeros(1), observed=rows)
    >>> at = {"W": np.full((4, 1), 0.5)}
    >>> found = pmr.pseudo_likelihood(model).compile_logp(sum=False)(at)[1].sum()
    >>> bool(np.isclose(found, pmr.pseudo_log_likelihood(rows, model, at).sum()))
    True
    """
    checked_model(model, "pseudo_likelihood")
    chosen = chosen_machines(model, names, "pseudo_likelihood")
    for name, rv in chosen.items():
        if rv not in model.observed_RVs:  # nor is a masked one: its parts are
            raise ValueError(
                f"{name} must be observed, without missing entries: pseudo_likelihood conditions on all other units."
            )
        unit = machine_of_rv(rv).layers[VISIBLE].unit
        if not unit.finite:
            raise ValueError(
                f"Conditionals of single units need visible units with finitely many states; {name} has "
                f"{type(unit).__name__} units."
            )
    return with_log_z(model, dict.fromkeys(chosen, _less_all_conditionals))


def _less_all_conditionals(machine: Machine, v: TensorVariable) -> TensorVariable:
    """Return what is to be subtracted from ``-F(v)`` of each row to leave the sum of its conditionals."""
    rows = pt.atleast_2d(v)
    n = machine.layers[VISIBLE].unit.count(int(v.type.shape[-1]))
    own = sum(log_conditional(machine, rows, pt.full((rows.shape[0],), i, dtype="int64")) for i in range(n))
    found = -machine.free_energy(rows) - own
    return found if v.ndim > 1 else found[0]
