"""The hidden units of all draws of a posterior are brought into one order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable

from pymc_rbm.diagnostics.symmetries import Exchangeable, alignments
from pymc_rbm.distributions.lookup import dependants, model_of, named_machines, plain, rbm_behind, rbm_of
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.distributions.pymc_internals import SymbolicRandomVariable
from pymc_rbm.machine.machine import HIDDEN, VISIBLE
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.unit import Unit

__all__ = ["model_and_machine", "relabel"]

RANDOM = RandomVariable, SymbolicRandomVariable


def relabel(
    idata: xr.DataTree, target: Any = None, *, name: str | None = None, flips: bool | None = None
) -> xr.DataTree:
    """Bring the hidden units of all draws of a posterior over weights into one order, and to one sign.

    Hidden units can change places, and some can change their sign, without any change of p(v). Chains that agree about
    p(v) then disagree about W: R-hat of a 12x2 machine under NUTS can be 2.4 though nothing is wrong. After this,
    R-hat, ESS and means of W and c mean something, as far as draws lie around one order of units.

    Parameters
    ----------
    idata : DataTree
        What ``pm.sample`` returned, with W among the draws.
    target : PyMC model or RBM variable, optional
        Default: the model on the context stack.
    name : str, optional
        Name of the RBM, where the model has several.
    flips : bool, optional
        Whether units may be turned: those whose sign changes nothing else (`Spin`, `Gaussian`, `DReLU` with two equal
        sides), and binary and binomial ones, ``h -> low + high - h``, with the visible biases moved by
        ``(low + high) W_j``. By default the latter are turned only where b is among the draws; True raises where it is
        not. With False none is turned.

    Returns
    -------
    DataTree
        ``idata`` with another group ``posterior``, dims and coords kept. W and c (and b, where units were turned) are
        transformed, and so are hidden units that were sampled; other variables that have the dim of the hidden units
        go with them to their places. The group ``relabelling`` has T of each draw: ``W_new = W Tᵀ``, ``c_new = T c``.

    Raises
    ------
    ValueError, TypeError
        Before any work, if the model has no restricted machine (or several), W is not a variable among the draws,
        hidden units have random parameters that are not among the draws, or ``flips`` would move biases that are not.

    Notes
    -----
    The symmetries of p(v) are permutations of units of one family with equal constant parameters, permutations of the
    values of one-hot units, signs, and rotations of Gaussian units that share σ. They are
    symmetries of the *posterior* if the prior has them, too: independent priors that are alike for all hidden units
    have permutations, and signs where they are symmetric about 0. Turning binary units keeps p(v), but not the prior
    of b; chains end up in either form, with whatever weight the prior gives it, and here both are one. Draws are
    aligned by least squares to their own mean [1]_; where two units are alike in the posterior, their order is not
    defined. Terms of the model that depend on hidden units other than by variables with their dim are ignored.

    References
    ----------
    .. [1] Stephens, M. (2000). Dealing with label switching in mixture models. Journal of the Royal Statistical Society
       B 62, 795-809.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> rows = np.random.default_rng(1).integers(0, 2, (40, 4))
    >>> with pm.Model() as model:
    ...     W, c = pm.Normal("W", 0, 1, shape=(4, 2)), pm.Normal("c", 0, 1, shape=2)
    ...     v = pmr.RBM("v", W, np.zeros(4), c, observed=rows)
    ...     idata = pm.sample(100, tune=100, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True)
    >>> aligned = pmr.relabel(idata, model)
    >>> aligned["posterior"]["W"].shape, "relabelling" in aligned.children
    ((2, 100, 4, 2), True)
    """
    if not isinstance(idata, xr.DataTree) or "posterior" not in idata:
        raise TypeError(
            f"Expected a DataTree with draws (a group 'posterior'), got {type(idata).__name__}. Pass what pm.sample "
            "returned."
        )
    model, rv = model_and_machine(target, name, "relabel")
    machine, posterior = rv.owner.op.template, idata["posterior"].dataset
    if len(machine.layers) != 2 or len(machine.couplings) != 1:
        raise ValueError(
            f"relabel needs a machine of a visible and a hidden layer with one coupling, got {len(machine.layers)} "
            f"layers and {len(machine.couplings)} couplings. Compare what does not depend on the order of units, "
            "such as the free energy."
        )
    found = _found(rv, posterior)
    parts, ends = _parts(machine.layers[HIDDEN].unit, found, flips)
    T, unit = _transformations(found, parts), found.W.dims[-1]
    changed = _changed(found, T, ends)
    for key in _hidden_units(model, rv, posterior):
        x = posterior[key].transpose("chain", "draw", ...)
        turned = _times(T, x.values) + _spread(np.where(T < 0, ends, 0).sum(-1), x.ndim)
        changed[key] = x.copy(data=turned.astype(x.dtype))
    if not any(part.rotates for part in parts):
        carried = [x.name for x in found.own if x.ndim > 2]
        places = {key for key, x in posterior.items() if unit in x.dims or key in carried}
        changed |= {x: _carried(posterior[x], unit, np.abs(T)) for x in places - set(changed)}
    tree = idata.copy()
    tree["posterior"] = xr.DataTree(
        posterior.assign({key: x.transpose(*posterior[key].dims) for key, x in changed.items()})
    )
    tree["relabelling"] = xr.DataTree(xr.Dataset({"transformation": (("chain", "draw", unit, f"{unit}_before"), T)}))
    return tree


@dataclass(frozen=True)
class _Found:
    """Parameters of the machine, with dims (chain, draw, …) if they are among the draws, else numbers or None."""

    W: xr.DataArray
    b: xr.DataArray | None
    c: xr.DataArray | np.ndarray
    own: list[Any]


def model_and_machine(target: Any, name: str | None, what: str) -> tuple[pm.Model | None, Any]:
    """Return the model and the random variable of its RBM, for the public function ``what``."""
    model = target if isinstance(target, pm.Model) else model_of(target)
    if isinstance(target, Variable):
        return model, rbm_of(target)
    if model is None:
        raise TypeError(
            f"{what} needs the model, or the RBM variable, to know which parameters are W and c, got {target!r}: pass "
            f"it as `target`, or call {what} within `with model`."
        )
    machines = named_machines(model)
    if name is None and len(machines) == 1:
        [name] = machines
    if name not in machines:
        raise ValueError(f"name must be the name of an RBM, one of {list(machines)}, got {name!r}.")
    return model, machines[name]


def _found(rv: Any, posterior: xr.Dataset) -> _Found:
    given, visible = rv.owner.op.given(rv), rv.owner.op.template.layers[VISIBLE].unit
    of_hidden = given.own[len(visible.parameter_names) :]
    W, b, c, *own = (_among(x, posterior) for x in (*given.weights, *given.biases, *of_hidden))
    if not isinstance(W, xr.DataArray):
        raise ValueError(
            f"W is not a variable among the draws, {list(posterior.data_vars)}. Where it is made of random variables, "
            "name it in the model: W = pymc.Deterministic('W', …)."
        )
    if c is None or any(x is None for x in own):
        raise ValueError(
            "The hidden biases, or parameters of the hidden units, are made of random variables: name them in the "
            "model, as in c = pymc.Deterministic('c', …), so that they are among the draws."
        )
    return _Found(W, b if isinstance(b, xr.DataArray) else None, c, own)


def _among(x: Any, posterior: xr.Dataset) -> Any:
    """Return the draws of a parameter, its value if it is constant, 1 if all units share it; otherwise None."""
    x = plain(x)
    if x.name in posterior.data_vars:
        return posterior[x.name].transpose("chain", "draw", ...)
    values = []
    for i in (0, -1):
        point = posterior.isel(chain=i, draw=i)
        known = {
            y: pt.constant(point[y.name].values, dtype=y.dtype) for y in ancestors([x]) if y.name in posterior.data_vars
        }
        [graph] = graph_replace([x], known, strict=False)
        if any(y.owner is not None and isinstance(y.owner.op, RANDOM) for y in ancestors([graph])):
            return None
        values.append(np.asarray(value_of(graph)))
    first, last = values
    if np.ptp(first) == np.ptp(last) == 0:
        return np.ones(()) if (first != last).any() else first
    return first if np.array_equal(first, last) else None


def _parts(unit: Unit, found: _Found, flips: bool | None) -> tuple[list[Exchangeable], np.ndarray]:
    """Return which hidden units can change places, and the sum of the two extremes of those that can be flipped."""
    hidden, parts, start = found.W.sizes[found.W.dims[-1]], [], 0
    ends = np.zeros(hidden)
    centred = np.full(hidden, True) if isinstance(found.c, xr.DataArray) else np.broadcast_to(found.c == 0, hidden)
    for family, n in unit.parts(hidden):
        own, signs = slice(start, start + n), False
        if family.width == 1 and flips is not False:
            signs, ends[own] = _signs(family, found, flips)
        rotates = family.integrable and flips is not False and bool(centred.all()) and all(map(_one, found.own))
        parts.append(Exchangeable(own, family.width, signs & centred[own], rotates))
        start += n
    return parts, ends


def _signs(family: Unit, found: _Found, flips: bool | None) -> tuple[Any, float]:
    """Return whether units of a family can be flipped, and the sum of their two extremes."""
    if family.finite:
        ends = float(np.sum(family.ends))
        if flips and ends and found.b is None:
            raise ValueError(
                f"Flipping {family!r} units moves the visible biases, which are not among the draws: "
                "name them in the model, b = pymc.Deterministic('b', …), or leave flips out."
            )
        return ends == 0 or found.b is not None, ends
    if family.integrable:
        return True, 0.0
    if family.one_sided:
        return False, 0.0
    sides = found.own[:2] if len(found.own) == 3 else []  # beside other families they are not turned
    constant = [x for x in sides if isinstance(x, np.ndarray)]
    return len(constant) == 2 and bool((constant[0] == constant[1]).all()), 0.0


def _one(x: Any) -> bool:
    """Whether all units share a parameter."""
    return x.ndim == 2 if isinstance(x, xr.DataArray) else bool(np.ptp(x) == 0)


def _transformations(found: _Found, parts: list[Exchangeable]) -> np.ndarray:
    W = found.W.values
    chains, draws, hidden = *W.shape[:2], W.shape[-1]
    features = [np.moveaxis(W.reshape(-1, *W.shape[-2:]), -1, -2)]
    constant = [x for x in found.own if isinstance(x, np.ndarray)]
    if isinstance(found.c, xr.DataArray):
        features.append(found.c.values.reshape(chains * draws, -1, hidden).mean(1)[..., None])
    else:
        constant.append(found.c)
    fixed = np.reshape([np.broadcast_to(x, hidden) for x in constant], (-1, hidden))
    same = (fixed[:, :, None] == fixed[:, None]).all(0)
    return alignments(np.concatenate(features, axis=-1), same, parts).reshape(chains, draws, hidden, hidden)


def _changed(found: _Found, T: np.ndarray, ends: np.ndarray) -> dict[Any, xr.DataArray]:
    """Return W and c after the transformation, and b if units were flipped."""
    changed = {found.W.name: found.W.copy(data=found.W.values @ T.mT)}
    if isinstance(found.c, xr.DataArray):
        changed[found.c.name] = found.c.copy(data=_times(T, found.c.values))
    turned = (T.min(-2) < 0) * ends
    if found.b is not None and turned.any():
        moved = (found.W.values @ turned[..., None])[..., 0]
        changed[found.b.name] = found.b + _spread(moved, found.b.ndim)
    return changed


def _times(T: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``T x`` by draw, along the last axis of ``x``."""
    return np.einsum("cdij,cd...j->cd...i", T, x)


def _spread(x: np.ndarray, ndim: int) -> np.ndarray:
    """Return ``x`` by draw, with axes of length one before its last."""
    return x.reshape(*x.shape[:2], *[1] * (ndim - x.ndim), x.shape[-1])


def _carried(x: xr.DataArray, unit: Any, places: np.ndarray) -> xr.DataArray:
    """Return a variable along the hidden units with each entry moved to the new place of its unit."""
    unit = unit if unit in x.dims else x.dims[-1]
    last = x.transpose("chain", "draw", ..., unit)
    return last.copy(data=_times(places, last.values).astype(x.dtype))


def _hidden_units(model: pm.Model | None, rv: Any, posterior: xr.Dataset) -> list[str]:
    """Return the names of sampled hidden units of this machine."""
    if model is None:
        return []
    below = [x for v in model.basic_RVs if rbm_behind(v) is rv for x in dependants(model, v)]
    hidden = [x for x in below if x.owner is not None and isinstance(x.owner.op, HiddenRV)]
    return [str(x.name) for x in hidden if x.name in posterior]
