"""Turn a deep belief network into a PyMC model: an RBM on top, plain PyMC distributions below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from pymc_rbm.distributions.rbm import RBM
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.discrete import Binomial
from pymc_rbm.units.real import Gaussian
from pymc_rbm.units.unit import Unit

__all__ = ["DIRECTED", "network_model"]

DIRECTED: dict[type[Unit], Callable[[Any, Any], tuple[Any, dict[str, Any]]]] = {
    Bernoulli: lambda unit, field: (pm.Bernoulli, {"logit_p": field}),
    Binomial: lambda unit, field: (pm.Binomial, {"n": unit.n, "logit_p": field}),
    Gaussian: lambda unit, field: (pm.Normal, {"mu": unit.mean(field), "sigma": unit.sigma}),
}
"""For each family of units, PyMC's distribution of a unit in a field, and the parameters of the distribution."""


def network_model(
    machines: Sequence[Machine],
    names: Sequence[str],
    dims: Sequence[str],
    coords: dict[str, Any],
    *,
    observed: Any,
    rows: tuple[str, Any] | None,
    sweeps: int,
) -> pm.Model:
    """Return a deep belief network as a PyMC model.

    Parameters
    ----------
    names, dims : sequence of str
        Names and dims of the layers, the visible one first; ``dims`` has one more, of the top machine's hidden units.
    observed : array or masked array, or None
        States of the visible layer, with the axis of ``rows`` if there is one.
    rows : tuple or None
        Name and labels of an axis of independent networks.
    """
    last = len(machines) - 1
    with pm.Model(coords=coords | dict([rows] if rows else []), model=None) as model:
        batch = [rows[0]] if rows else []
        named = [_named_parameters(i + 1, machine, dims[i : i + 2], i == last) for i, machine in enumerate(machines)]
        (visible, hidden), [coupling] = named[last].layers, named[last].couplings
        x = RBM(
            names[last],
            coupling.weights,
            visible.bias,
            hidden.bias,
            visible=visible.unit,
            hidden=hidden.unit,
            sweeps=sweeps,
            dims=(*batch, dims[last]),
            observed=observed if last == 0 else None,
        )
        for i in reversed(range(last)):
            unit, field = named[i].layers[VISIBLE].unit, named[i].field(VISIBLE, [None, x])
            x = _directed_layer(names[i], (*batch, dims[i]), unit, field, observed if i == 0 else None)
    return model


def _named_parameters(i: int, machine: Machine, dims: Sequence[str], top: bool) -> Machine:
    """Return the machine with data variables W1, b1, … of the model as parameters; c is needed in the top one only."""
    given = machine.numeric().by_kind
    [W], (b, c) = given.weights, given.biases
    b, W = pm.Data(f"b{i}", b, dims=dims[:1]), pm.Data(f"W{i}", W, dims=dims)
    c = pm.Data(f"c{i}", c, dims=dims[1:]) if top else c
    return machine.with_parameters(replace(given, biases=(b, c), weights=(W,)))


def _directed_layer(name: str, dims: tuple[str, ...], unit: Unit, field: Any, observed: Any) -> Any:
    """Add a layer given the one above; missing entries of ``observed`` are left out, which sums them out."""
    pm.Deterministic(f"{name}_mean", unit.mean(field), dims=dims)
    distribution, parameters = DIRECTED[type(unit)](unit, field)
    if not np.ma.is_masked(observed):
        return distribution(name, **parameters, dims=dims, observed=observed)
    known = ~observed.mask
    entries = {key: pt.broadcast_to(p, known.shape)[known] for key, p in parameters.items()}
    return distribution(f"{name}_known", **entries, observed=observed.data[known])
