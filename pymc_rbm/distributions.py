"""The PyMC face: a restricted Boltzmann machine and its hidden units as random variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.distribution import Discrete
from pymc.distributions.shape_utils import maybe_resize
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.checks import binary_data, restricted_sizes, shape_of, whole_number
from pymc_rbm.enumeration import symbolic_log_partition
from pymc_rbm.lookup import rbm_of
from pymc_rbm.machine import HIDDEN, VISIBLE, restricted
from pymc_rbm.random_variables import DRAW_SWEEPS, RBMRV, HiddenRV, core_of

__all__ = ["RBM", "Hidden"]


@_logprob.register(RBMRV)
def _rbm_logp(op, values, rng, size, *parameters, **kwargs):
    """``-F(v) - log Z`` on the support, -inf off it."""
    [value] = values
    machine = op.machine(*parameters)
    log_z = core_of(parameters[3]) if len(parameters) == 4 else symbolic_log_partition(machine)
    inside = machine.layers[VISIBLE].unit.contains(value)
    log_p = -machine.free_energy(pt.where(inside, value, 0)) - log_z
    log_p = pt.where(inside.all(-1), log_p, -np.inf)
    return maybe_resize(log_p, None if isinstance(size.type, NoneTypeT) else size)


class RBM(Discrete):
    r"""Restricted Boltzmann machine over binary visible units, hidden units summed out.

    .. math::

        p(v) = \frac{e^{-F(v)}}{Z}, \qquad F(v) = -b^\top v - \sum_j \log\left(1 + e^{c_j + (v^\top W)_j}\right),

    the marginal of :math:`p(v, h) \propto \exp(v^\top W h + b^\top v + c^\top h)` with all units 0 or 1.

    Parameters
    ----------
    name : str
        Name of the variable. (`RBM.dist` takes none.)
    W : tensor_like, shape (visible, hidden)
        Weights. As `b` and `c`: arrays, ``pm.Data`` or other random variables, batch axes first.
    b : tensor_like, shape (visible,)
        Visible biases.
    c : tensor_like, shape (hidden,)
        Hidden biases.
    log_z : float or tensor_like, optional
        log Z, where you know it. It is believed. By default log Z is

        - the exact, differentiable sum where one side has at most 16 units, so that NUTS can sample the weights;
        - zero where all parameters are constants or data and the machine is larger: the log-density is then
          *unnormalised* (as PyMC's CAR is), right for sampling and wrong as a likelihood;
        - otherwise a node that builds but raises `IntractableError` when evaluated or differentiated. `fit` does
          neither.
    sweeps : int, default 1000
        Length of the Markov chain behind one forward draw (``pm.draw``, prior and posterior predictive) of a machine
        that cannot be enumerated. Each row of each draw is a chain of its own from a dispersed start; such draws are
        independent, and as good as the chain is long. Where one side has at most 16 units, draws are exact.
    observed : array_like, DataArray or masked array, shape (visible,) or (rows, visible), optional
        Zeros and ones. Masked entries are sampled. A DataArray brings its dims, and its coords where the model has
        none.
    **kwargs
        ``dims``, ``shape``, ``size``, ``initval`` and the rest as in every PyMC distribution.

    Raises
    ------
    ValueError
        If sizes do not fit, parameters are not finite or data are not binary.

    Notes
    -----
    The support is {0, 1}ⁿ; the log-density is -inf elsewhere. ``pm.sample`` starts each chain from a random state of
    its own whose level of activation is uniform between 0 and 1, so that chains can be seen to disagree.

    References
    ----------
    .. [1] Smolensky, P. (1986). Information processing in dynamical systems: foundations of harmony theory.
    .. [2] Hinton, G. E. (2002). Training products of experts by minimizing contrastive divergence. Neural Computation
       14.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> v = pmr.RBM.dist(np.zeros((6, 3)), np.zeros(6), np.zeros(3))
    >>> pm.draw(v, draws=2, random_seed=1).shape
    (2, 6)
    """

    rv_type = RBMRV

    def __new__(cls, name, W, b, c, *, log_z=None, observed=None, dims=None, **kwargs):
        """Check the data and add the variable to the model on the context stack."""
        n_visible, _ = restricted_sizes(W, b, c)
        if kwargs.get("total_size") is not None:
            raise ValueError("RBM takes no total_size: pymc_rbm.fit makes minibatches itself, see its batch_size.")
        if observed is not None:
            observed, dims = _with_dims(observed, dims)
            observed = binary_data(observed, n_visible)
        if kwargs.get("initval") is not None and not isinstance(kwargs["initval"], str | Variable):
            kwargs["initval"] = binary_data(np.asarray(kwargs["initval"]), n_visible, "initval")
        return super().__new__(cls, name, W, b, c, log_z=log_z, observed=observed, dims=dims, **kwargs)

    @classmethod
    def dist(cls, W, b, c, *, log_z=None, sweeps=DRAW_SWEEPS, shape=None, **kwargs):
        """Create the variable outside of a model. Parameters are those of the class, without a name."""
        n_visible, n_hidden = restricted_sizes(W, b, c)
        if shape is not None:
            lengths = _lengths(shape)
            if lengths and None not in (lengths[-1], n_visible) and lengths[-1] != n_visible:
                raise ValueError(
                    f"The shape {lengths} does not fit W {shape_of(W)}: shape, or dims, must end with the visible "
                    f"axis, of length {n_visible}."
                )
        parameters = [_as_float(p) for p in (W, b, c) + (() if log_z is None else (log_z,))]
        sweeps = whole_number("sweeps", sweeps)
        return super().dist(parameters, shape=shape, n_visible=n_visible, n_hidden=n_hidden, sweeps=sweeps, **kwargs)

    @classmethod
    def rv_op(cls, *parameters, size=None, rng=None, **sizes):
        """Apply the Op; a fourth parameter is log Z."""
        signature = "(v,h),(v),(h),()->(v)" if len(parameters) == 4 else None
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        return RBMRV(signature=signature, **sizes)(*parameters, size=size, rng=rng, return_next_rng=True)[1]

    def support_point(rv, size, *parameters):  # noqa: N805  PyMC calls it with the variable
        """Return a random, dispersed state: the start of a chain."""
        unit = rv.owner.op.machine(*parameters).layers[VISIBLE].unit
        return unit.dispersed(rv.shape, pt.random.shared_rng(seed=None))[1]


class Hidden(Discrete):
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
        Zeros and ones, shape (…, hidden): then v is sampled given these hidden units.
    **kwargs
        ``dims`` and the rest as in every PyMC distribution.

    Raises
    ------
    ValueError
        If ``v`` is not an RBM variable, or the observed data are not binary.
    """

    rv_type = HiddenRV
    rv_op = HiddenRV.rv_op

    def __new__(cls, name, v, *, observed=None, dims=None, **kwargs):
        """Check the data and add the variable to the model on the context stack."""
        if observed is not None:
            observed, dims = _with_dims(observed, dims)
            observed = binary_data(observed, rbm_of(v).owner.op.n_hidden)
            _same_rows(v, shape_of(observed))
        return super().__new__(cls, name, v, observed=observed, dims=dims, **kwargs)

    @classmethod
    def dist(cls, v, **kwargs):
        """Create the variable outside of a model."""
        W, _, c = rbm_of(v).owner.inputs[2:5]
        if kwargs.get("shape") is not None:
            _same_rows(v, _lengths(kwargs["shape"]))
        return super().dist([v, core_of(W, None, None), core_of(c, None)], **kwargs)

    def support_point(rv, size, v, W, c):  # noqa: N805  PyMC calls it with the variable
        """Return the likeliest state given v."""
        field = restricted(W, None, c).field(HIDDEN, [v, None])
        return pt.broadcast_to(pt.gt(field, 0), rv.shape)

    def logp(value, v, W, c):  # noqa: N805  PyMC calls it with the value
        """Return log p(h | v), -inf off the support."""
        machine = restricted(W, None, c)
        unit, field = machine.layers[HIDDEN].unit, machine.field(HIDDEN, [v, None])
        inside = unit.contains(value)
        h = pt.where(inside, value, 0)
        log_p = (unit.log_base(h) + h * field - unit.log_normaliser(field)).sum(-1)
        return pt.where(inside.all(-1), log_p, -np.inf)


def _as_float(x: Any) -> TensorVariable:
    x = pt.as_tensor(x.values if isinstance(x, xr.DataArray) else x)
    return x if x.dtype == pytensor.config.floatX else x.astype(pytensor.config.floatX)


def _lengths(shape: Any) -> list[int | None]:
    """The entries of a ``shape`` argument as ints where they are known."""
    entries = list(shape) if np.iterable(shape) and not isinstance(shape, Variable) else [shape]
    lengths = []
    for entry in entries:
        if isinstance(entry, Variable):
            entry = pt.zeros(pt.atleast_1d(entry), dtype="int8") if entry.ndim == 0 else None
            lengths.append(None if entry is None else shape_of(entry)[0])
        else:
            lengths.append(None if entry is None or entry is Ellipsis else int(entry))
    return lengths


def _same_rows(v: Any, shape: Any) -> None:
    """Refuse hidden units whose rows are not those of v."""
    rows, wanted = tuple(shape[:-1]), shape_of(v)[:-1]
    if len(rows) != len(wanted) or any(None not in (m, n) and m != n for m, n in zip(rows, wanted, strict=True)):
        raise ValueError(
            f"Hidden units of shape {tuple(shape)} do not fit {v}, of shape {shape_of(v)}: each row of v has one row "
            "of hidden units."
        )


def _with_dims(data: Any, dims: Any) -> tuple[Any, Any]:
    """A DataArray in the order of ``dims`` (by default its own), its coords added to the model or compared with it."""
    if not isinstance(data, xr.DataArray):
        return data, dims
    names = tuple(data.dims) if dims is None else (dims,) if isinstance(dims, str) else tuple(dims)
    shared = set(names) & set(data.dims)
    if shared == set(names) == set(data.dims):
        data = data.transpose(*names)
    elif shared or len(names) != data.ndim:
        raise ValueError(f"The data have dims {data.dims}, which dims={names} neither reorders nor renames as a whole.")
    model = pm.modelcontext(None)
    for name, own in zip(names, data.dims, strict=True):
        labels = data.coords[own].values if own in data.coords else np.arange(data.sizes[own])
        if name not in model.coords:
            model.add_coord(name, labels)
        elif name == own and own in data.coords and not np.array_equal(labels, model.coords[name] or labels):
            raise ValueError(
                f"The coordinates of {name!r} in the data are not those of the model: {labels[:4]}… against "
                f"{np.asarray(model.coords[name])[:4]}…. Reindex the data."
            )
    return data, names
