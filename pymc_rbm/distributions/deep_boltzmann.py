"""A deep Boltzmann machine is a restricted one: even layers are on the visible side, odd ones on the hidden side."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.arguments import named_in_model
from pymc_rbm.distributions.base import as_float
from pymc_rbm.distributions.pymc_internals import ImputationWarning
from pymc_rbm.distributions.rbm import RBM
from pymc_rbm.machine.door import aligned, one_hot
from pymc_rbm.machine.ordering import OneOrder
from pymc_rbm.machine.parameters import check_unit
from pymc_rbm.machine.positions import Parameters
from pymc_rbm.support.arguments import check_not_empty, known_values, listed, shape_of
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.received import receive
from pymc_rbm.units.beside import Beside
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.states import unit_data
from pymc_rbm.units.unit import Unit

__all__ = ["DeepBoltzmannMachine"]


def DeepBoltzmannMachine(  # noqa: N802  it is used as a distribution is
    name: str,
    weights: Any,
    biases: Any,
    *,
    units: Any = None,
    observed: Any = None,
    dims: Any = None,
    **kwargs: Any,
) -> TensorVariable:
    r"""Return a deep Boltzmann machine of layers that are coupled each to the next; all units are 0 or 1 by default.

    .. math::

        E(x_0, x_1, \dots) = -\sum_l x_l^\top W_l x_{l+1} - \sum_l b_l^\top x_l, \qquad p = e^{-E} / Z.

    Given the layers of odd index those of even index are independent, and the other way round. So this *is* the
    restricted machine with the even layers side by side (`Beside`) on the visible side, the odd ones on the hidden
    side, and weights with zeros between layers that are not neighbours; this function registers it. Data are of layer
    0; the other even layers are masked entries of ``observed``, and `fit` draws them given each row (the positive phase
    is sampled: persistent chains, one a row, clamped at the data), together with all units of the free particles.
    (Salakhutdinov & Hinton 2009 use mean fields in the positive phase, which bounds the likelihood.)

    Parameters
    ----------
    name : str
        Name of the `RBM` variable of all even layers. Free ones (draws) also have ``{name}_layer_0``,
        ``{name}_layer_2``, …
    weights : sequence of tensor_like
        ``weights[l]`` has the shape (units of layer l, units of layer l + 1). At least two.
    biases : sequence of tensor_like
        One a layer.
    units : sequence of Unit, optional
        One a layer, or one for all. Default: Bernoulli().
    observed : array_like, DataArray or masked array, shape (rows, units of layer 0), optional
        States of layer 0.
    dims : sequence of str, optional
        Dims of the variable, whose last axis is that of the units of *all* even layers.
    **kwargs
        As in `RBM`.

    Returns
    -------
    TensorVariable
        The `RBM` variable, shape (…, units of all even layers), layer 0 first.

    Raises
    ------
    ValueError
        If there are fewer than two weights, sizes do not fit, or data are not states of layer 0.

    Notes
    -----
    log Z is exact where the even or the odd layers together have at most 16 binary units (25 in `log_partition`); the
    free energy of a row of *data* is that of the machine with the other even layers summed out, which is exact by
    enumeration only (`log_conditional` sums over parts). `fit` centres gradients only where W is a variable itself,
    which it is not here.

    References
    ----------
    .. [1] Salakhutdinov, R., Hinton, G. E. (2009). Deep Boltzmann machines. AISTATS.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> weights = [np.ones((4, 3)), np.ones((3, 2))]
    >>> with pm.Model():
    ...     x = pmr.DeepBoltzmannMachine("x", weights, [np.zeros(4), np.zeros(3), np.zeros(2)])
    >>> pm.draw(x, draws=5, random_seed=1).shape  # layers 0 and 2
    (5, 6)
    """
    weights = listed("weights", weights, "a list with one matrix for each pair of neighbouring layers")
    biases = listed("biases", biases, "a list with one vector a layer")
    sizes = _sizes(weights, biases)
    families = list(units) if isinstance(units, list | tuple) else [units] * len(sizes)
    if len(families) != len(sizes):
        raise ValueError(
            f"units must be one unit for all layers, or a list of one for each of the {len(sizes)} "
            f"layers, got a list of {len(families)}."
        )
    for i, unit in enumerate(families):
        check_unit(unit, f"units[{i}]")
    families = [unit or Bernoulli() for unit in families]
    even, odd = range(0, len(sizes), 2), range(1, len(sizes), 2)
    weights, biases, families, labels = _in_one_order(weights, biases, families)
    if observed is not None:
        observed = _padded(observed, families, sizes, even, labels)
    rows = [
        pt.concatenate([_block(weights, sizes, i, j) for j in odd], axis=-1) for i in even
    ]  # fmt: skip
    W = pt.concatenate(rows, axis=-2)
    b, c = (pt.concatenate([as_float(biases[i]) for i in side], axis=-1) for side in (even, odd))
    visible, hidden = (
        Beside(**{f"layer_{i}": (families[i], sizes[i]) for i in side}) if len(side) > 1 else families[side[0]]
        for side in (even, odd)
    )
    with warnings.catch_warnings():  # the missing entries are intended here
        warnings.simplefilter("ignore", ImputationWarning)
        return RBM(name, W, b, c, visible=visible, hidden=hidden, observed=observed, dims=dims, **kwargs)


def _in_one_order(weights: Any, biases: Any, families: list[Unit]) -> tuple[list[Any], list[Any], list[Unit], Labels]:
    """Return parameters and units of all layers in one order, by name, and what the units of the first are called."""
    names = Parameters(
        tuple(f"biases[{i}]" for i in range(len(biases))), tuple(f"weights[{i}]" for i in range(len(weights)))
    )
    given = zip(names.flat(), [*biases, *weights], strict=True)
    order, dims, units = OneOrder({name: named_in_model(x, name) for name, x in given}), [], []
    for i, (name, unit) in enumerate(zip(names.biases, families, strict=True)):
        axes = [*((w, -1) for w in names.weights[max(0, i - 1) : i]), *((w, -2) for w in names.weights[i : i + 1])]
        dim, of_layer = order.with_unit([*axes, (name, -1)], unit, f"layer_{i}", named_in_model)
        dims.append(dim)
        units.append(of_layer or unit)
    labels = Labels(visible=dims[0], hidden=dims[1], coords=order.coords)
    return [order.values[x] for x in names.weights], [order.values[x] for x in names.biases], units, labels


def _sizes(weights: Any, biases: Any) -> list[int]:
    """Return the sizes of the layers; ValueError where the shapes do not fit."""
    shapes, lengths = [shape_of(w) for w in weights], [shape_of(b) for b in biases]
    if len(shapes) < 2 or len(lengths) != len(shapes) + 1:
        raise ValueError(
            f"A deep machine needs at least two weights and one more bias than weights, got {len(shapes)} weights and "
            f"{len(lengths)} biases. (With one weight use pymc_rbm.RBM.)"
        )
    sizes = [x[-1] if x else None for x in lengths]
    for i, shape in enumerate(shapes):
        if len(shape) != 2 or any(None not in (m, n) and m != n for m, n in zip(shape, sizes[i : i + 2], strict=True)):
            raise ValueError(
                f"weights[{i}] has shape {shape}, but layers {i} and {i + 1} have {sizes[i]} and {sizes[i + 1]} units "
                "by their biases. Weights are (units of a layer, units of the next)."
            )
        check_not_empty(f"weights[{i}]", shape)
    if () in lengths:
        raise ValueError(f"biases must be vectors, one a layer, got shapes {lengths}. Give one number a unit.")
    known = [
        n if n is not None else shapes[min(i, len(shapes) - 1)][int(i == len(shapes))] for i, n in enumerate(sizes)
    ]
    if None in known:
        raise ValueError(f"The sizes of all layers must be known, got {known}. Give the biases fixed lengths.")
    return [int(n) for n in known if n is not None]


def _block(weights: Any, sizes: list[int], i: int, j: int) -> TensorVariable:
    """Return the weights between layers i and j, which are zero unless these are neighbours."""
    if abs(i - j) > 1:
        return pt.zeros((sizes[i], sizes[j]))
    return as_float(weights[i]) if i < j else as_float(weights[j]).mT


def _padded(observed: Any, families: list[Unit], sizes: list[int], even: Any, labels: Labels) -> np.ma.MaskedArray:
    """Return the data of layer 0 beside masked entries for the other even layers."""
    if isinstance(observed, Variable) and known_values(observed) is None:
        raise ValueError(
            "observed must be numbers, got a symbolic variable: masked entries for the other even layers are put "
            "beside them. Pass an array."
        )
    got = receive(observed if not isinstance(observed, Variable) else known_values(observed), "observed")
    got = aligned(got, labels, "observed", families[0].count(sizes[0]))
    values = unit_data(one_hot(got, families[0], sizes[0], "observed").values, families[0], sizes[0])
    mask = np.ma.getmaskarray(values)
    rest = sum(sizes[i] for i in even) - sizes[0]
    dtype = np.result_type(*(families[i].dtype for i in even))
    padded = np.concatenate([np.ma.getdata(values), np.zeros((*values.shape[:-1], rest))], axis=-1).astype(dtype)
    hidden = np.ones((*values.shape[:-1], rest), dtype=bool)
    return np.ma.MaskedArray(padded, np.concatenate([mask, hidden], axis=-1))
