"""The hidden units of a restricted Boltzmann machine are a random variable of PyMC, given its visible ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.arguments import lengths_of, same_rows, with_dims
from pymc_rbm.distributions.data_of_graphs import check_data_of
from pymc_rbm.distributions.imputed import of_rows
from pymc_rbm.distributions.lookup import labels_in, named_machines, rbm_of
from pymc_rbm.distributions.operations import HiddenRV, core_of
from pymc_rbm.distributions.pymc_internals import _logprob, maybe_resize
from pymc_rbm.distributions.readings import uncast
from pymc_rbm.machine.machine import HIDDEN
from pymc_rbm.support.arguments import shape_of
from pymc_rbm.support.labels import Labels
from pymc_rbm.units.states import unit_data

__all__ = ["Hidden"]


class Hidden(pm.Distribution):
    r"""Hidden units of an RBM given its visible units.

    .. math::

        p(h \mid v) = \prod_j \sigma(f_j)^{h_j} (1 - \sigma(f_j))^{1 - h_j}, \qquad f = c + v^\top W.

    `RBM` sums the hidden units out; this variable brings them back, so that ``RBM`` and ``Hidden`` together have the
    joint density p(v, h). `BlockGibbs` samples both.

    Parameters
    ----------
    name : str
    v : variable
        A model's `RBM` variable (observed, free or masked).
    observed : array_like, optional
        States of the hidden units, shape (…, hidden): then v is sampled given these hidden units.
    **kwargs
        ``dims`` and the rest as in every PyMC distribution.

    Raises
    ------
    ValueError
        If ``v`` is not an RBM variable, or the observed data are not states of its hidden units.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     v = pmr.RBM("v", np.array([[5.0], [5.0]]), np.zeros(2), np.array([-5.0]), observed=[[1, 1], [0, 0]])
    ...     h = pmr.Hidden("h", v)
    >>> pm.draw(h, draws=100, random_seed=1).mean(0).round(1)
    array([[1.],
           [1.]])
    """

    rv_type = HiddenRV
    rv_op = HiddenRV.rv_op

    def __new__(cls, name, v, *, observed=None, dims=None, **kwargs):
        """Check the data and add the variable to the model on the context stack."""
        if observed is not None:
            op = _with_hidden(v).owner.op
            unit, size = op.template.layers[HIDDEN].unit, op.sizes[HIDDEN]
            observed, dims = with_dims(name, observed, dims, _hidden_labels(v), unit, size)
            observed = unit_data(observed, unit, size, side="hidden")
            same_rows(v, shape_of(observed))
        return super().__new__(cls, name, v, observed=observed, dims=dims, **kwargs)

    @classmethod
    def dist(cls, v, **kwargs):
        """Create the variable outside a model."""
        rv = _with_hidden(v)
        given, layers = rv.owner.op.given(rv), rv.owner.op.template.layers
        [W], (_, c) = given.weights, given.biases
        if kwargs.get("shape") is not None:
            same_rows(v, lengths_of(kwargs["shape"]))
        parameters = [core_of(W, None, None), *(core_of(p, None) for p in (c, *given.own))]
        return super().dist([v, *parameters], units=tuple(layer.unit for layer in layers), **kwargs)

    def support_point(rv, rng, size, v, *parameters):  # noqa: N805  PyMC calls it with the variable
        """Return a random state given v."""
        machine = rv.owner.op.machine(*parameters)
        field = pt.broadcast_to(machine.field(HIDDEN, [v, None]), rv.shape)
        return machine.layers[HIDDEN].unit.sample(field, pt.random.shared_rng(seed=None))[1]


@_logprob.register(HiddenRV)
def _hidden_logp(op, values, rng, size, v, *parameters, **kwargs):
    """Return log p(h | v) of states of the hidden units, -inf of other values."""
    [value] = values
    check_data_of(values)
    machine = op.machine(*parameters)
    unit, field = machine.layers[HIDDEN].unit, machine.field(HIDDEN, [v, None])
    inside = unit.contains(uncast(value))
    h = pt.where(inside, value, 0)
    log_p = (unit.log_base(h) + h * field).sum(-1) - unit.log_normaliser(field).sum(-1)
    log_p = pt.where(inside.all(-1), log_p, -np.inf)
    return of_rows(maybe_resize(log_p, None if isinstance(size.type, NoneTypeT) else size), value)


def _hidden_labels(v: Any) -> Labels:
    """Return the names of the hidden units of ``v``, in the place of the visible units' names."""
    model = pm.modelcontext(None)
    if v.name not in named_machines(model):
        return Labels()
    labels = labels_in(model, v.name)
    return replace(labels, visible=labels.hidden, hidden=labels.visible)


def _with_hidden(v: Any) -> TensorVariable:
    """Return the RBM variable behind ``v``, which must have hidden units."""
    rv = rbm_of(v)
    if len(rv.owner.op.template.layers) < 2:
        raise ValueError(
            f"{v} has no hidden layer, because its hidden units are masked entries of its own layer. Read them from "
            f"the draws of {v}."
        )
    return rv
