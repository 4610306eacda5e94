"""The mathematics alone: energies and conditionals on plain arrays (array out) or symbolic ones (symbolic out)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_rbm.checks import restricted_sizes, shape_of
from pymc_rbm.machine import HIDDEN, VISIBLE, Machine, machine_of, restricted
from pymc_rbm.remembered import remembered
from pymc_rbm.units import Unit

__all__ = ["conditional_hidden", "conditional_visible", "energy", "free_energy", "hidden_mean"]


def energy(v: Any, h: Any, W: Any, b: Any, c: Any, *, visible: Unit | None = None, hidden: Unit | None = None) -> Any:
    """Return ``E(v, h) = -vᵀWh - bᵀv - cᵀh``, so that ``p(v, h) ∝ exp(-E)``.

    For other units than 0/1 ones, ``-log base(v)`` and ``-log base(h)`` are added, and real units enter as x/σ²
    (see `Gaussian`).

    Parameters
    ----------
    v : array_like, shape (…, visible)
    h : array_like, shape (…, hidden)
    W : array_like, shape (visible, hidden)
    b : array_like, shape (visible,)
    c : array_like, shape (hidden,)
    visible, hidden : Unit, default Bernoulli()
        The families of the units, as in `RBM`. (``pmr.energy(v, h, W, b, c, visible=pmr.Gaussian(0.5))``.)

    Returns
    -------
    ndarray, shape (…)
        In nats; a symbolic tensor if any argument is symbolic.

    Raises
    ------
    ValueError
        If sizes do not fit or an array holds NaN.
    """
    _check(W, b, c, v=v, h=h)
    return _evaluate(_energy, (v, h), (W, b, c), visible, hidden)


def free_energy(v: Any, W: Any, b: Any, c: Any, *, visible: Unit | None = None, hidden: Unit | None = None) -> Any:
    """Return ``F(v) = -bᵀv - Σ_j log(1 + exp(c_j + (vᵀW)_j))``, so that ``p(v) ∝ exp(-F)``.

    For other units the logarithm is the hidden unit's log-normaliser, and ``-log base(v)`` is added. Parameters,
    returns and errors as in `energy`.
    """
    _check(W, b, c, v=v)
    return _evaluate(_free_energy, (v,), (W, b, c), visible, hidden)


def conditional_hidden(v: Any, W: Any, c: Any, *, visible: Unit | None = None, hidden: Unit | None = None) -> Any:
    """Return ``p(h_j = 1 | v) = σ(c_j + (vᵀW)_j)``, shape (…, hidden); of other units the mean ``E[h_j | v]``.

    ``v`` may hold probabilities instead of states (a mean-field pass). Otherwise as in `energy`.
    """
    _check(W, None, c, v=v)
    return _evaluate(_hidden, (v,), (W, None, c), visible, hidden)


def conditional_visible(h: Any, W: Any, b: Any, *, visible: Unit | None = None, hidden: Unit | None = None) -> Any:
    """Return ``p(v_i = 1 | h) = σ(b_i + (Wh)_i)``, shape (…, visible); of other units the mean ``E[v_i | h]``.

    ``h`` may hold probabilities instead of states (a mean-field pass). Otherwise as in `energy`.
    """
    _check(W, b, None, h=h)
    return _evaluate(_visible, (h,), (W, b, None), visible, hidden)


def hidden_mean(v: Any, target: Any, learned: Any = None, *, dim: str = "hidden") -> xr.DataArray:
    """Return the mean of the hidden units given visible ones: the features of an RBM.

    Parameters
    ----------
    v : array_like or DataArray, shape (…, visible)
    target : Machine, RBM variable or PyMC model with one RBM
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables.
    dim : str, default "hidden"
        Name of the new dimension.

    Returns
    -------
    DataArray, shape (…, hidden)
        With the dims and coords of ``v``, if it has any.
    """
    machine = machine_of(target, learned)
    [weights] = machine.couplings
    if len(machine.layers) < 2:
        raise ValueError("This machine has no hidden layer: its hidden units are the masked entries of its own layer.")
    _check(weights.weights, None, machine.layers[HIDDEN].bias, v=np.asarray(v))
    values = _hidden_mean(machine.numeric(), np.asarray(v))
    if not isinstance(v, xr.DataArray):
        return xr.DataArray(values, dims=[*(f"row_{i}" for i in range(values.ndim - 1)), dim])
    coords = {name: x for name, x in v.coords.items() if v.dims[-1] not in x.dims}
    return xr.DataArray(values, dims=(*v.dims[:-1], dim), coords=coords)


def _hidden_mean(machine: Machine, v: np.ndarray) -> np.ndarray:
    mean = _hidden_mean_function(machine.template)
    return mean(v.astype("float64").reshape(-1, v.shape[-1]), *machine.parameters).reshape(*v.shape[:-1], -1)


@remembered(16)
def _hidden_mean_function(template: Machine):
    machine, inputs = template.symbolic()
    v = pt.dmatrix("v")
    return pytensor.function([v, *inputs], machine.mean(HIDDEN, [v, None]), on_unused_input="ignore")


def _energy(machine: Machine, v: Any, h: Any) -> Any:
    return machine.energy([v, h])


def _free_energy(machine: Machine, v: Any) -> Any:
    return machine.free_energy(v)


def _hidden(machine: Machine, v: Any) -> Any:
    return machine.mean(HIDDEN, [v, None])


def _visible(machine: Machine, h: Any) -> Any:
    return machine.mean(VISIBLE, [None, h])


def _check(W: Any, b: Any, c: Any, **states: Any) -> None:
    """Refuse sizes that do not fit and states with NaN. A bias that the caller does not have is None."""
    W_shape = shape_of(W)
    rows, columns = W_shape[-2:] if len(W_shape) > 1 else (None, None)
    n_visible, n_hidden = restricted_sizes(
        W, np.zeros(rows or 0) if b is None else b, np.zeros(columns or 0) if c is None else c
    )
    for name, x in states.items():
        wanted, side = (n_visible, "visible") if name == "v" else (n_hidden, "hidden")
        shape = shape_of(x)
        if not shape or (None not in (shape[-1], wanted) and shape[-1] != wanted):
            raise ValueError(
                f"{name} has shape {shape}, but W {W_shape} has {wanted} {side} units: the last axis of {name} must "
                f"have length {wanted}. W is (visible, hidden)."
            )
        if not isinstance(x, Variable) and _has_nan(np.asarray(x)):
            raise ValueError(f"{name} contains NaN.")


def _has_nan(x: np.ndarray) -> bool:
    whole = np.issubdtype(x.dtype, np.integer) or x.dtype == bool
    return not whole and bool(np.isnan(x.astype("float64")).any())


def _evaluate(formula: Callable, states: Any, parameters: Any, visible: Unit | None, hidden: Unit | None) -> Any:
    """The formula of the machine and the states: a graph if anything is symbolic, else numbers."""
    W, b, c = parameters
    machine = restricted(W, b, c, visible, hidden)
    given = [*states, *(p for p in machine.parameters if p is not None)]
    if any(isinstance(x, Variable) for x in given):
        return formula(machine, *states)
    dtype = "float32" if np.asarray(W).dtype == np.float32 else "float64"
    # States keep a narrow type, parameters are floating.
    arrays = [np.asarray(x) for x in given]
    arrays = [x if i < len(states) and x.dtype == np.int8 else x.astype(dtype) for i, x in enumerate(arrays)]
    # PyTensor broadcasts only along axes that are known to have length one.
    types = tuple((x.dtype.name, tuple(1 if n == 1 else None for n in x.shape)) for x in arrays)
    absent = tuple(p is None for p in machine.parameters)
    return _compiled(formula, machine.template, len(states), absent, types)(*arrays)


@remembered(32)
def _compiled(formula: Callable, template: Machine, states: int, absent: tuple[bool, ...], types: Any):
    inputs = [pt.tensor(dtype=dtype, shape=shape) for dtype, shape in types]
    given = iter(inputs[states:])
    machine = template.with_parameters([None if missing else next(given) for missing in absent])
    return pytensor.function(inputs, formula(machine, *inputs[:states]), on_unused_input="ignore")
