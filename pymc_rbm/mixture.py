"""Mixtures as machines: one one-hot hidden unit chooses the component.

With a hidden layer of a single unit of K entries, exactly one of them 1, the visible units given component k are
independent with field ``b + W_k``, and the machine is a mixture of K product distributions. For Gaussian visible units

    p(v) = Σ_k w_k Normal(v; b + W_k, σ),        w_k ∝ exp(c_k + Σ_i ((b + W_k)_i² - b_i²)/2σ_i²),

a Gaussian mixture with one diagonal covariance for all components (Goodfellow, Bengio & Courville 2016, section 20.5);
for binary ones, latent class analysis. Only b + W_k counts: what is added to b and taken from every
column of W changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.finite_units import Categorical
from pymc_rbm.functionals import numeric
from pymc_rbm.machine import HIDDEN, VISIBLE, Machine, machine_of, restricted
from pymc_rbm.real_units import Gaussian

__all__ = ["mixture_machine", "mixture_parameters"]


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
    """
    machine = numeric(machine_of(target, learned))
    hidden, visible = machine.layers[HIDDEN], machine.layers[VISIBLE].unit
    if hidden.unit.width != len(hidden.bias):
        raise ValueError(
            f"A mixture has one one-hot hidden unit; this machine has {len(hidden.bias) // hidden.unit.width} units "
            f"{hidden.unit!r} on its hidden side. Use hidden=pymc_rbm.Categorical({len(hidden.bias)})."
        )
    components = pt.eye(len(hidden.bias))
    log_weights = -machine.free_energy(components, HIDDEN)
    outputs = [pt.special.softmax(log_weights), machine.mean(VISIBLE, [None, components])]
    weights, means = pytensor.function([], outputs, mode="FAST_COMPILE")()
    own = {key: ("unit", x) for key, x in zip(visible.parameter_names, visible.parameters, strict=True)}
    return xr.Dataset({"weights": ("component", weights), "means": (("component", "unit"), means), **own})


def mixture_machine(weights: Any, means: Any, sigma: Any) -> Machine:
    """Return the machine that is the Gaussian mixture with these components: the inverse of `mixture_parameters`.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive; need not sum to one.
    means : array_like, shape (K, visible)
    sigma : array_like, shape () or (visible,)
        Standard deviations, those of all components.

    Returns
    -------
    Machine
        With the components' mean as b, so that W is centred. Its arrays are start values, too:
        ``fit(start={"W": …, "b": …, "c": …})``.
    """
    weights, means, sigma = (np.asarray(x, dtype="float64") for x in (weights, means, sigma))
    if means.ndim != 2 or weights.shape != means.shape[:1] or not (weights > 0).all():
        raise ValueError(
            f"weights must be positive, shape (K,), and means (K, visible); got {weights.shape} and {means.shape}."
        )
    b = means.mean(0)
    W = (means - b).T
    c = np.log(weights) - ((means**2 - b**2) / (2 * sigma**2)).sum(1)
    return restricted(W, b, c - c.mean(), Gaussian(np.broadcast_to(sigma, b.shape)), Categorical(len(weights)))
