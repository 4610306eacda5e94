"""Energies and conditionals are plain functions, which return arrays for arrays and symbolic results for variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_rbm.machine.door import Data, data_of, named_units_last, rows_in_order, whole
from pymc_rbm.machine.given import by_draw, draw_by_draw, is_given, posterior_of
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Layer, Machine, restricted
from pymc_rbm.machine.parameters import restricted_sizes
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.machine.validation import check_pair, one_machine, with_numbers
from pymc_rbm.support.arguments import shape_of, text
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.labels import ROWS, SIDES, Labels
from pymc_rbm.support.modes import by_kernels
from pymc_rbm.support.received import Received, receive
from pymc_rbm.units.states import check_last_axis
from pymc_rbm.units.unit import Unit

__all__ = [
    "by_chunks",
    "conditional_hidden",
    "conditional_visible",
    "energy",
    "free_energy",
    "hidden_mean",
    "means_given",
]

CHUNK_ROWS = 2**14


def energy(
    v: Any,
    h: Any,
    W: Any,
    b: Any = None,
    c: Any = None,
    *,
    learned: Any = None,
    visible: Unit | None = None,
    hidden: Unit | None = None,
) -> Any:
    """Return ``E(v, h) = -vᵀWh - bᵀv - cᵀh``, so that ``p(v, h) ∝ exp(-E)``.

    For other units than 0/1 ones, ``-log base(v)`` and ``-log base(h)`` are added, and real units enter as x/σ²
    (see `Gaussian`).

    Parameters
    ----------
    v : array_like, DataArray or data frame, shape (…, visible)
        Units with names (see `restricted`, and the dims and coords of a model) are put in the machine's order. For
        units of several entries (`Categorical`) one number a unit will do.
    h : array_like, shape (…, hidden)
        None for a machine that has one layer, coupled to itself.
    W : array_like, shape (visible, hidden)
        Or a machine in the place of W, b and c, as whatever stands for one: a Machine, an RBM variable, a PyMC model
        with one RBM, or what `fit` returned; ``pmr.energy(v, h, model, learned)``.
    b : array_like, shape (visible,)
    c : array_like, shape (hidden,)
    learned : DataTree or dict, optional
        What `fit` returned, where the parameters of a variable or model are random; also by position, after it. Or a
        dict of values by name, as ``pm.find_MAP`` returns it; or a posterior over them, as ``pm.sample`` returns it:
        the result is then a DataArray with the dims chain and draw before all others.
    visible, hidden : Unit, default Bernoulli()
        The families of the units, as in `RBM`. (``pmr.energy(v, h, W, b, c, visible=pmr.Gaussian(0.5))``.) Machines
        know theirs.

    Returns
    -------
    ndarray, shape (…)
        In nats; a DataArray with the dims and coords of the rows if ``v`` (or ``h``) is a DataArray or data frame; a
        symbolic tensor if any argument is symbolic.

    Raises
    ------
    ValueError
        If sizes or names do not fit, an array holds NaN, infinity or masked entries, or units are given for a machine.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> float(pmr.energy([1, 0], [1], [[2.0], [3.0]], [0.5, 0.5], [1.0]))
    -3.5
    """
    posterior = posterior_of(b if learned is None else learned)
    if posterior is not None:
        return by_draw(lambda machine: energy(v, h, machine), W, posterior)
    machine, labels = _machine(W, {"b": b, "c": c}, learned, visible, hidden)
    if len(machine.layers) > 2:
        check_pair(machine)
    if len(machine.layers) > 1:
        return _evaluate(_energy, machine, labels, v=v, h=h)
    if h is not None:
        raise ValueError("This machine has one layer, whose hidden units are entries of v: pass None for h.")
    return _evaluate(Machine.free_energy, machine, labels, v=v)


def free_energy(
    v: Any,
    W: Any,
    b: Any = None,
    c: Any = None,
    *,
    learned: Any = None,
    visible: Unit | None = None,
    hidden: Unit | None = None,
) -> Any:
    """Return ``F(v) = -bᵀv - Σ_j log(1 + exp(c_j + (vᵀW)_j))``, so that ``p(v) ∝ exp(-F)``.

    For other units the logarithm is the hidden unit's log-normaliser, and ``-log base(v)`` is added. Parameters,
    returns and errors as in `energy`; ``pmr.free_energy(v, model, learned)``.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> rows = [[0, 0], [1, 1]]
    >>> pmr.free_energy(rows, [[2.0], [3.0]], [0.5, 0.5], [-1.0]).round(3)
    array([-0.313, -5.018])
    """
    posterior = posterior_of(b if learned is None else learned)
    if posterior is not None:
        return by_draw(lambda machine: free_energy(v, machine), W, posterior)
    return _evaluate(Machine.free_energy, *_machine(W, {"b": b, "c": c}, learned, visible, hidden), v=v)


def conditional_hidden(
    v: Any,
    W: Any,
    c: Any = None,
    *,
    learned: Any = None,
    visible: Unit | None = None,
    hidden: Unit | None = None,
) -> Any:
    """Return ``p(h_j = 1 | v) = σ(c_j + (vᵀW)_j)``, shape (…, hidden); of other units the mean ``E[h_j | v]``.

    ``v`` may hold probabilities instead of states (a mean-field pass). Otherwise as in `energy`;
    ``pmr.conditional_hidden(v, model, learned)``, or with the dims and coords of ``v`` `hidden_mean`.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.conditional_hidden([1, 1], [[1.0], [1.0]], [-2.0])
    array([0.5])
    """
    posterior = posterior_of(c if learned is None else learned)
    if posterior is not None:
        return by_draw(lambda machine: conditional_hidden(v, machine), W, posterior)
    machine, labels = _machine(W, {"c": c}, learned, visible, hidden)
    return _evaluate(_hidden, _with_hidden(machine, HIDDEN), labels, HIDDEN, v=v)


def conditional_visible(
    h: Any,
    W: Any,
    b: Any = None,
    *,
    learned: Any = None,
    visible: Unit | None = None,
    hidden: Unit | None = None,
) -> Any:
    """Return ``p(v_i = 1 | h) = σ(b_i + (Wh)_i)``, shape (…, visible); of other units the mean ``E[v_i | h]``.

    ``h`` may hold probabilities instead of states (a mean-field pass). Otherwise as in `energy`;
    ``pmr.conditional_visible(h, model, learned)``.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.conditional_visible([1], [[1.0], [2.0]], [-1.0, -2.0])
    array([0.5, 0.5])
    """
    posterior = posterior_of(b if learned is None else learned)
    if posterior is not None:
        return by_draw(lambda machine: conditional_visible(h, machine), W, posterior)
    machine, labels = _machine(W, {"b": b}, learned, visible, hidden)
    return _evaluate(_visible, _with_hidden(machine, VISIBLE), labels, VISIBLE, h=h)


@draw_by_draw
def hidden_mean(v: Any, target: Any = None, learned: Any = None, *, dim: str = "hidden") -> xr.DataArray:
    """Return the mean of the hidden units given visible ones: the features of an RBM.

    Parameters
    ----------
    v : array_like, DataArray or data frame, shape (…, visible)
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned, optional
        Default: the model on the context stack.
    learned : DataTree or dict, optional
        What `fit` returned, if the parameters of ``target`` are random variables; or values by name, as
        ``pm.find_MAP`` returns them; or a posterior over them, which puts the dims chain and draw before all others.
    dim : str, default "hidden"
        Name of the new dimension.

    Returns
    -------
    DataArray, shape (…, hidden)
        With the dims and coords of ``v``, if it has any.

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> machine = pmr.restricted([[1.0], [1.0]], [0.0, 0.0], [-2.0])
    >>> pmr.hidden_mean([[0, 0], [1, 1]], machine).round(2).values
    array([[0.12],
           [0.5 ]])
    """
    text("dim", dim, "the new dimension")
    machine = one_machine(_with_hidden(machine_of(target, learned), HIDDEN))
    data = data_of(v, machine.layers[VISIBLE], labels_of(target, learned), "v", ndim=None, states=False)
    if data.named and dim in data.rows:
        data.keep_free(dim)
    values = means_given(machine, HIDDEN, whole(data, "v"))
    if data.named:
        return data.by_row(values, {dim: _coords_of_side(labels_of(target, learned), HIDDEN)})
    return xr.DataArray(values, dims=[*(f"row_{i}" for i in range(values.ndim - 1)), dim])


def means_given(machine: Machine, layer: int, x: np.ndarray) -> np.ndarray:
    """Return the means of the units of ``layer`` given states or means of the other one, shape (…, size)."""
    function = _means_function(machine.template, layer)
    return by_chunks(lambda part: function(part, *machine.parameters), x)


def by_chunks(function: Callable, rows: np.ndarray) -> np.ndarray:
    """Return what ``function`` makes of rows, computed for some of them at a time."""
    rows = np.asarray(rows, dtype="float64")
    flat = rows.reshape(-1, rows.shape[-1])
    parts = [function(flat[i : i + CHUNK_ROWS]) for i in range(0, max(len(flat), 1), CHUNK_ROWS)]
    return np.concatenate(parts).reshape(*rows.shape[:-1], -1)


@remembered(128)
def _means_function(template: Machine, layer: int):
    """Compile (states of the other layer, parameters…) -> means of ``layer``."""
    machine, inputs = template.symbolic()
    x = pt.dmatrix("x")
    mean = machine.mean(layer, machine.at(x, 1 - layer))
    return by_kernels([x, *inputs], mean, on_unused_input="ignore")


def _energy(machine: Machine, v: Any, h: Any) -> Any:
    return machine.energy([v, h])


def _hidden(machine: Machine, v: Any) -> Any:
    return machine.mean(HIDDEN, [v, None])


def _visible(machine: Machine, h: Any) -> Any:
    return machine.mean(VISIBLE, [None, h])


def _machine(
    W: Any, biases: dict[str, Any], learned: Any, visible: Unit | None, hidden: Unit | None
) -> tuple[Machine, Labels]:
    """Return the machine of W and biases, or the one that is given in the place of them, and the names of its units."""
    first, *rest = biases.values()
    if first is None or is_given(first):
        is_array = isinstance(W, list | tuple) or (not isinstance(W, Variable) and bool(getattr(W, "ndim", 0)))
        if is_array and machine_of.dispatch(type(W)) is machine_of.dispatch(object):
            raise TypeError(
                f"Give {' and '.join(['W', *biases])}, or in their place a machine, an RBM variable, a PyMC model with "
                f"one RBM or what pymc_rbm.fit returned; got a {type(W).__name__} alone."
            )
        if any(x is not None for x in (*rest, visible, hidden)):
            raise ValueError("A machine has biases and units of its own: leave out b, c, visible and hidden beside it.")
        learned = first if learned is None else learned
        machine = machine_of(W, learned)
        return with_numbers(machine, machine.dtype), labels_of(W, learned)
    missing = [name for name, x in {"W": W, **biases}.items() if x is None]
    if missing:
        raise TypeError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing. Give "
            f"{' and '.join(['W', *biases])}, or a machine in their place."
        )
    machine = restricted(W, biases.get("b"), biases.get("c"), visible, hidden)
    restricted_sizes(machine.couplings[0].weights, *(layer.bias for layer in machine.layers))
    return machine, machine.labels or Labels()


def _with_hidden(machine: Machine, layer: int) -> Machine:
    """Return the machine; ValueError unless it has two layers and, inside ``layer``, no couplings."""
    if len(machine.layers) < 2:
        raise ValueError(
            "This machine has no hidden layer: its hidden units are the masked entries of its own "
            "layer. Read them from its draws."
        )
    return machine if len(machine.layers) == 2 and machine.own_coupling(layer) is None else check_pair(machine)


def _coords_of_side(labels: Labels, side: int) -> Any:
    return labels.coords.get((labels.visible, labels.hidden)[side])


def _side_of(labels: Labels, name: str) -> Labels:
    """Return the labels with the units of the states ``name``, v or h, in the place of the visible ones."""
    if name == "v":
        return labels
    return replace(labels, name=f"{labels.name}_h", visible=labels.hidden, hidden=labels.visible)


def _taken(machine: Machine, labels: Labels, name: str, x: Any) -> Data | None:
    """Return the given states in the machine's order; None for symbolic states, of which the shape is checked."""
    side = VISIBLE if name == "v" else HIDDEN
    size = shape_of(machine.couplings[0].weights)[side - 2]
    if isinstance(x, Variable):
        check_last_axis(shape_of(x), machine.layers[side].unit, size, name, SIDES[side])
        return None
    layer = Layer(machine.layers[side].unit, np.empty(x.values.shape[-1] if size is None else size))
    data = data_of(x, layer, _side_of(labels, name), name, ndim=None, states=False, side=SIDES[side])
    whole(data, name)
    return data


def _in_rows_of(machine: Machine, labels: Labels, states: dict[str, Any]) -> tuple[Machine, Labels]:
    """Return the machine with biases in the order of the first states' rows, by name, and what these are called."""
    got = next((x for x in states.values() if isinstance(x, Received) and x.labels), None)
    if got is None or len(got.labels) < 2 or got.labels[-2] is None:
        return machine, labels
    back = rows_in_order(got, labels, next(iter(states)))
    if back is not None and np.ndim(machine.couplings[0].weights) < 3:
        order = np.argsort(back)
        biases = tuple(x if x is None or x.ndim < 2 or x.shape[0] == 1 else x[order] for x in machine.by_kind.biases)
        machine = machine.with_parameters(replace(machine.by_kind, biases=biases))
    elif back is not None:
        return machine, labels
    dim = labels.rows or (got.dims[-2] if got.dims else "") or ROWS
    return machine, replace(labels, rows=dim, coords={**labels.coords, dim: got.labels[-2]})


def _evaluate(formula: Callable, machine: Machine, labels: Labels, side: int | None = None, **states: Any) -> Any:
    """Evaluate the formula: symbolically if anything is symbolic, else as numbers with the dims of the states.

    ``side`` is the side whose units the formula has values for, if any.
    """
    states = {
        name: x if isinstance(x, Variable) else named_units_last(receive(x, name), _side_of(labels, name), name)
        for name, x in states.items()
    }
    machine, labels = _in_rows_of(machine, labels, states)
    taken = {name: _taken(machine, labels, name, x) for name, x in states.items()}
    given = [
        *(states[name] if x is None else np.ma.getdata(x.values) for name, x in taken.items()),
        *(p for p in machine.parameters if p is not None),
    ]
    if any(isinstance(x, Variable) for x in given):
        return formula(machine, *given[: len(states)])
    rows = [np.shape(x)[:-1] for x in [*given[: len(states)], *(b for b in machine.by_kind.biases if b is not None)]]
    rows.append(np.shape(machine.couplings[0].weights)[:-2])
    try:
        np.broadcast_shapes(*rows)
    except ValueError:
        raise ValueError(
            f"The rows of {' and '.join(states)} and of the parameters do not fit: axes before the last are {rows}. "
            "They must be as long, or one."
        ) from None
    dtype = "float32" if np.asarray(machine.couplings[0].weights).dtype == np.float32 else "float64"
    # States of int8 stay as they are, everything else becomes floating.
    arrays = [np.asarray(x) for x in given]
    arrays = [x if i < len(states) and x.dtype == np.int8 else x.astype(dtype) for i, x in enumerate(arrays)]
    # PyTensor broadcasts only along axes that are known to have length one.
    types = tuple((x.dtype.name, tuple(1 if n == 1 else None for n in x.shape)) for x in arrays)
    absent = tuple(p is None for p in machine.parameters)
    values = _compiled(formula, machine.template, len(states), absent, types)(*arrays)
    named = next((x for x in taken.values() if x is not None and x.named), None)
    extra = {} if side is None else {labels.dims[side]: _coords_of_side(labels, side)}
    if named is None or np.shape(values)[: len(named.rows)] != np.shape(named.values)[:-1]:
        return values
    return named.by_row(values, extra) if np.ndim(values) == len(named.rows) + len(extra) else values


@remembered(128)
def _compiled(formula: Callable, template: Machine, states: int, absent: tuple[bool, ...], types: Any):
    inputs = [pt.tensor(dtype=dtype, shape=shape) for dtype, shape in types]
    given = iter(inputs[states:])
    machine = template.with_parameters([None if missing else next(given) for missing in absent])
    return by_kernels(inputs, formula(machine, *inputs[:states]), on_unused_input="ignore")
