"""Mixtures are machines whose single one-hot hidden unit chooses the component.

With a hidden layer of a single unit of K entries, exactly one of them 1, the visible units given component k are
independent with field ``b + W_k``, and the machine is a mixture of K product distributions. For Gaussian visible units

    p(v) = Σ_k w_k Normal(v; b + W_k, σ),        w_k ∝ exp(c_k + Σ_i ((b + W_k)_i² - b_i²)/2σ_i²),

a Gaussian mixture with one diagonal covariance for all components (Goodfellow, Bengio & Courville 2016, section 20.5);
for binary ones the machine is a latent class analysis. Only b + W_k counts: what is added to b and taken from every
column of W changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.machine.enumeration import sizes_of
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine, restricted
from pymc_rbm.machine.ordering import OneOrder, named
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.machine.validation import check_pair, normalisable_machine
from pymc_rbm.support.labels import SIDES, Labels
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.discrete import Categorical
from pymc_rbm.units.real import Gaussian
from pymc_rbm.units.unit import Unit

__all__ = ["free_components", "is_mixture", "mixture_machine", "mixture_parameters"]


def is_mixture(machine: Machine) -> bool:
    """Whether the hidden layer is a single unit with finitely many values, which are the components."""
    if len(machine.layers) != 2 or not machine.layers[HIDDEN].unit.finite:
        return False
    size = sizes_of(machine)[HIDDEN]
    return size is not None and machine.layers[HIDDEN].unit.count(size) == 1


def free_components(unit: Unit) -> bool:
    """Whether W and the biases can give each state of one hidden unit any component: its states are one-hot, or two."""
    return unit.finite and unit.states is not None and len(unit.states) in (2, unit.width)


def mixture_parameters(target: Any, learned: Any = None) -> xr.Dataset:
    """Return the components of a mixture: a machine with one one-hot hidden unit.

    Parameters
    ----------
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables.

    Returns
    -------
    Dataset
        ``weights`` (component,), which sum to one, ``means`` (component, unit), and the visible units' own parameters,
        such as ``sigma`` (unit,), which all components share.

    Raises
    ------
    ValueError
        If the hidden layer is not a single unit that takes all of its entries.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> machine = pmr.mixture_machine([0.3, 0.7], [[-1.0], [2.0]], 0.5)
    >>> found = pmr.mixture_parameters(machine)
    >>> found["means"].values.round(3).ravel(), found["sigma"].values.round(3)
    (array([-1.,  2.]), array([0.5]))
    """
    machine = normalisable_machine(check_pair(machine_of(target, learned)))
    hidden, visible = machine.layers[HIDDEN], machine.layers[VISIBLE].unit
    if hidden.unit.width != len(hidden.bias):
        raise ValueError(
            f"A mixture has one one-hot hidden unit; this machine has {len(hidden.bias) // hidden.unit.width} units "
            f"{hidden.unit!r} on its hidden side. Make the machine with "
            f"hidden=pymc_rbm.Categorical({len(hidden.bias)})."
        )
    components = pt.eye(len(hidden.bias))
    log_weights = -machine.free_energy(components, HIDDEN)
    outputs = [pt.special.softmax(log_weights), machine.mean(VISIBLE, [None, components])]
    weights, means = value_of(outputs)
    own = {key: ("unit", x) for key, x in zip(visible.parameter_names, visible.parameters, strict=True)}
    labels = labels_of(target, learned)
    known = {"unit": labels.coords.get(labels.visible), "component": labels.coords.get(labels.hidden)}
    coords = {dim: np.asarray(x) for dim, x in known.items() if x is not None}
    return xr.Dataset({"weights": ("component", weights), "means": (("component", "unit"), means), **own}, coords)


def mixture_machine(weights: Any, means: Any, sigma: Any) -> Machine:
    """Return the machine that is the Gaussian mixture with these components: the inverse of `mixture_parameters`.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive; need not sum to one. DataArrays are put together by name, as in `restricted`.
    means : array_like, shape (K, visible)
    sigma : array_like, shape () or (visible,)
        Standard deviations, which all components share.

    Returns
    -------
    Machine
        With the components' mean as b, so that W is centred. Its arrays are start values, too:
        ``fit(start={"W": …, "b": …, "c": …})``.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> machine = pmr.mixture_machine([0.3, 0.7], [[-1.0], [2.0]], 0.5)
    >>> pmr.mixture_parameters(machine)["weights"].values.round(3)
    array([0.3, 0.7])
    """
    given = {"weights": named(weights, "weights"), "means": named(means, "means"), "sigma": named(sigma, "sigma")}
    dims = {name: x.dim(-1) for name, x in given.items()}
    if dims["means"] and (dims["means"] == dims["weights"] or given["means"].dim(-2) == dims["sigma"] != ""):
        given["means"] = given["means"].transposed
    order = OneOrder(given)
    components = order.of([("means", -2), ("weights", -1)], SIDES[HIDDEN], "components")
    units = order.of([("means", -1), ("sigma", -1)], SIDES[VISIBLE])
    weights, means, sigma = (np.asarray(order.values[name], dtype="float64") for name in given)
    if means.ndim != 2 or weights.shape != means.shape[:1] or not (weights > 0).all():
        raise ValueError(
            f"weights must be positive numbers of shape (K,) and means of shape (K, visible), got shapes "
            f"{weights.shape} and {means.shape}. Give one positive weight and one row of means for each component."
        )
    if sigma.shape not in ((), means.shape[1:]):
        raise ValueError(
            f"sigma must be one number, or one for each of {means.shape[1]} units, shape "
            f"({means.shape[1]},), got shape {sigma.shape}."
        )
    b = means.mean(0)
    W = (means - b).T
    c = np.log(weights) - ((means**2 - b**2) / (2 * sigma**2)).sum(1)
    machine = restricted(W, b, c - c.mean(), Gaussian(np.broadcast_to(sigma, b.shape)), Categorical(len(weights)))
    return replace(
        machine, labels=Labels(visible=units, hidden=components, coords=order.coords) if order.coords else None
    )


def with_components(fields: np.ndarray, log_weights: np.ndarray, unit: Unit, hidden: Unit) -> Machine:
    """Return the machine whose visible units have these fields given each state of its only hidden unit."""
    states = np.reshape(np.array(hidden.states), (len(fields), -1))
    if hidden.width == len(states):
        b, c = fields.mean(0), np.zeros(len(states))
        W = (fields - b).T
    else:  # the unit has two states, which are numbers
        first, second = states[:, 0]
        W = ((fields[1] - fields[0]) / (second - first))[:, None]
        b, c = fields[0] - first * W[:, 0], np.zeros(1)
    machine = restricted(W, b, c, unit, hidden)
    c = log_weights + value_of(machine.free_energy(pt.as_tensor(states), HIDDEN))
    c = c - c.mean() if hidden.width == len(states) else (c[1:] - c[:1]) / (second - first)
    return restricted(W, b, c, unit, hidden)
